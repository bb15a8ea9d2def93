"""Laws of the shipped locks: every file by hash, from no named index, one torch apart from each other."""

from __future__ import annotations

import re

import pytest

from lora_forge.engine.home import LOCKS, variants

ONLY_TORCH = {"torch", "torchvision"}


def pins(name: str) -> dict[str, str]:
    """Package to version, markers and extras left out."""
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", (LOCKS / name).read_text(), re.MULTILINE)
    return dict(found)


def requirements(variant: str) -> list[str]:
    """The lock cut into one text a requirement."""
    text = re.sub(r"^\s*#.*\n", "", (LOCKS / f"{variant}.txt").read_text(), flags=re.MULTILINE)
    return [part for part in re.split(r"\n(?=\S)", text.strip()) if part]


@pytest.mark.parametrize("variant", sorted(variants()))
def test_every_requirement_is_pinned_and_hashed(variant: str) -> None:
    for requirement in requirements(variant):
        assert re.match(r"[A-Za-z0-9._-]+==\S+", requirement), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), requirement


@pytest.mark.parametrize("variant", sorted(variants()))
def test_a_lock_names_no_index_and_no_address(variant: str) -> None:
    for name in (f"{variant}.in", f"{variant}.txt"):
        assert not re.search(r"://|--index|--find-links|--trusted", (LOCKS / name).read_text())


@pytest.mark.parametrize("variant", sorted(variants()))
def test_a_lock_holds_what_its_source_asks_for(variant: str) -> None:
    asked, locked = pins(f"{variant}.in"), pins(f"{variant}.txt")
    assert asked.items() <= locked.items()


def test_the_variants_differ_in_torch_alone() -> None:
    older, newer = pins("cu124.in"), pins("cu128.in")
    assert older.keys() == newer.keys()
    assert {name for name in older if older[name] != newer[name]} == ONLY_TORCH
