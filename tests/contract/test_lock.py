"""The shipped locks against the engine's own requirements: equal, save for the departures that ADR 0003 lists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lora_forge.engine.home import LOCKS, variants
from lora_forge.plan.rules_options import WANTS

# Asked for by the engine → what the lock holds instead; each is justified in docs/adr/0003-engine-lock.md.
DEPARTURES = {
    ("opencv-python", "4.10.0.84"): ("opencv-python-headless", "4.10.0.84"),
    ("safetensors", "0.4.5"): ("safetensors", "0.8.0"),
    ("schedulefree", "1.4"): ("schedulefree", "1.4.1"),
}

# Beside the engine's own requirements.
ADDED = {"torch", "torchvision", "lycoris-lora", "setuptools"}


def pins(path: Path) -> dict[str, str]:
    """Package to version; an empty version where none is pinned. The engine's own `-e .` is no package."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    found = (re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[\w,]+\])?(?:==(\S+))?", line) for line in lines)
    return {match[1]: match[2] or "" for match in found if match}


@pytest.mark.parametrize("variant", sorted(variants()))
def test_a_lock_follows_the_engine_save_for_the_departures(engine_checkout: Path, variant: str) -> None:
    asked = pins(engine_checkout / "requirements.txt")
    expected = dict(DEPARTURES.get(pin, pin) for pin in asked.items())
    held = pins(LOCKS / f"{variant}.in")
    assert held.keys() == expected.keys() | ADDED
    assert {name: held[name] for name, version in expected.items() if version} == {
        name: version for name, version in expected.items() if version
    }


@pytest.mark.parametrize("variant", sorted(variants()))
def test_no_lock_holds_a_package_that_the_plan_says_it_lacks(variant: str) -> None:
    assert not {wants.package for wants in WANTS} & set(pins(LOCKS / f"{variant}.in"))


def test_each_departure_is_still_one(engine_checkout: Path) -> None:
    """When the engine moves its own pin, the departure has to be thought over again."""
    asked = pins(engine_checkout / "requirements.txt")
    assert DEPARTURES.keys() <= set(asked.items())


def test_each_departure_is_justified() -> None:
    adr = (Path(__file__).parents[2] / "docs" / "adr" / "0003-engine-lock.md").read_text(encoding="utf-8")
    assert all(name in adr and version in adr for name, version in DEPARTURES.values())
