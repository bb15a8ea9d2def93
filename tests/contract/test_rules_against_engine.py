"""The engine's own answer to every wrong case, and that forge speaks first.

Renew the fixture with ``scripts/show_rules --engine --write``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engine_answers import ask_engine
from rule_cases import BREAKS, asked_codes, cases_for_engine, plan_case

from lora_forge.engine.pin import COMMIT
from lora_forge.plan.optimizers import BUILT_IN, FROM_TORCH
from lora_forge.plan.rules import all_rules

FIXTURE: dict[str, Any] = json.loads((Path(__file__).parent / "fixtures" / "rules.json").read_text(encoding="utf-8"))
ANSWERS: dict[str, str] = FIXTURE["answers"]
SILENT = ("accepted", "ends without training")
FATES = {rule.code: rule.engine for rule in all_rules()}
PLACES = {
    **dict.fromkeys(("AdamW", "Adam", "SGDNesterov", *FROM_TORCH), "torch.optim"),
    **dict.fromkeys(("Adafactor",), "transformers.optimization"),
    **dict.fromkeys(("Lion",), "lion_pytorch"),
    **dict.fromkeys(("Prodigy",), "prodigyopt"),
    **dict.fromkeys((name for name in BUILT_IN if name.endswith("ScheduleFree")), "schedulefree"),
}
CLASSES = {"SGDNesterov": "SGD", "SGDNesterov8bit": "SGD8bit"}


def test_the_answers_are_those_of_the_pinned_engine() -> None:
    assert FIXTURE["engine_commit"] == COMMIT
    assert sorted(ANSWERS) == sorted(asked_codes())


@pytest.mark.parametrize("code", asked_codes())
def test_forge_speaks_before_the_engine_would(code: str) -> None:
    found = [finding for finding in plan_case(BREAKS[code]).findings if finding.code == code]
    stops = FATES.get(code) in ("refuses", "fails")
    assert found and (found[0].severity == "error" or not stops)


@pytest.mark.parametrize("code", asked_codes())
def test_the_engine_does_what_the_table_says(code: str) -> None:
    silent = ANSWERS[code].startswith(SILENT)
    assert silent != (FATES.get(code, "ignores") in ("refuses", "fails"))


@pytest.mark.processes
def test_the_engine_still_answers_so(engine_checkout: Path, engine_python: Path) -> None:
    answers = ask_engine(engine_python, engine_checkout, {"cases": cases_for_engine(), "optimizers": True})
    assert answers["answers"] == ANSWERS
    taken = answers["optimizers"]
    for name, arguments in {**FROM_TORCH, **BUILT_IN}.items():
        place = f"{PLACES.get(name, 'bitsandbytes.optim')}.{CLASSES.get(name, name)}"
        assert set(arguments) <= set(taken[place]), place
        assert set(taken[place]) - set(arguments) <= {"nesterov"}, place
