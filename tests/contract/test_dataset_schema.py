"""The dataset schema against the engine's own reader: the same keys and types, the same verdicts."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from lora_forge.engine.dataset_schema import GENERAL, STYLES, check_dataset_document

pytestmark = pytest.mark.processes

# Runs in the engine's Python: its schemas as text, and its verdict on every document.
ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from library.config_util import ConfigSanitizer
asked = json.load(sys.stdin)

def named(kind):
    partial = getattr(kind, "args", None)
    if hasattr(kind, "validators"):
        return "float"
    if partial:
        return {float: "two_floats", int: "size"}[partial[0]]
    return {dict: "table", float: "exact_float"}.get(kind, getattr(kind, "__name__", ""))

def table(schema):
    return {str(key): named(kind) for key, kind in schema.items() if key != "subsets"}

def accepts(document, masked):
    try:
        ConfigSanitizer(True, True, masked, True).user_config_validator(document)
    except Exception:
        return False
    return True

s = ConfigSanitizer(True, True, True, True)
schemas = {"general": table(s.general_schema)}
for name, style in (("folder", "db"), ("metadata", "ft"), ("masked", "cn")):
    schemas[name] = [table(getattr(s, f"{style}_{level}_schema")) for level in ("dataset", "subset")]
print("\\nANSWER" + json.dumps([schemas, [accepts(d, m) for d, m in asked]]))
"""

VALUES: tuple[object, ...] = (
    True,
    False,
    0,
    1,
    512,
    0.0,
    0.5,
    "x",
    ".txt",
    [512, 768],
    [1.0, 3.0],
    [1, 2.0],
    {},
    {"a": 1},
    [],
    [True, 2],
)


def random_documents(count: int) -> list[tuple[dict[str, object], bool]]:
    """Documents of which about half should pass: few keys each, mostly real ones, often of the right type."""
    dice = random.Random(20)
    return [(_document(dice), dice.random() < 0.3) for _ in range(count)]


def _document(dice: random.Random) -> dict[str, object]:
    datasets = []
    for _ in range(dice.randint(0, 2)):
        subsets = [_subset(dice) for _ in range(dice.randint(0, 2))]
        datasets.append({**_table(dice), "subsets": subsets})
    document: dict[str, object] = {"general": _table(dice), "datasets": datasets}
    return {**document, **({"datsets": []} if dice.random() < 0.03 else {})}


def _subset(dice: random.Random) -> dict[str, object]:
    places = {"image_dir": 0.9, "metadata_file": 0.15, "conditioning_data_dir": 0.3, "is_reg": 0.1, "alpha_mask": 0.1}
    named: dict[str, object] = {key: "/d" for key, share in places.items() if dice.random() < share}
    return {**_table(dice), **named} | ({"is_reg": True} if "is_reg" in named else {})


def _table(dice: random.Random) -> dict[str, object]:
    keys = dice.sample([*GENERAL, "prior_loss_weight", "max_token_length"], dice.choice([0, 0, 1, 1, 2]))
    return {key: _value(dice, GENERAL.get(key, "int")) for key in keys}


RIGHT: Mapping[str, object] = {
    "bool": True, "int": 4, "float": 0.5, "str": "x", "size": [512, 768], "two_floats": [1.0, 3.0],
    "exact_float": 0.5, "table": {"a": 1},
}  # fmt: skip


def _value(dice: random.Random, kind: str) -> object:
    return RIGHT[kind] if dice.random() < 0.85 else dice.choice(VALUES)


@pytest.fixture(scope="module")
def answers(engine_checkout: Path, engine_python: Path) -> tuple[dict[str, object], list[bool]]:
    ran = subprocess.run(
        [str(engine_python), "-B", "-c", ASK, str(engine_checkout)],
        input=json.dumps(random_documents(2000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    schemas, verdicts = json.loads(ran.stdout.rpartition("ANSWER")[2])
    return schemas, verdicts


def test_keys_and_types_are_the_engines(answers: tuple[dict[str, object], list[bool]]) -> None:
    ours: dict[str, object] = {"general": dict(GENERAL)}
    ours |= {style: [dict(dataset), dict(subset)] for style, (dataset, subset, _) in STYLES.items()}
    assert answers[0] == ours


def test_verdicts_are_the_engines_save_for_truth_as_a_number(
    answers: tuple[dict[str, object], list[bool]],
) -> None:
    verdicts = answers[1]
    assert 400 < sum(verdicts) < 1600
    for (document, masked), accepted in zip(random_documents(2000), verdicts, strict=True):
        findings = check_dataset_document(document, masked_loss=masked)
        stricter = [f for f in findings if f.message.endswith(("not True", "not False", "not [True, 2]"))]
        assert findings or accepted, document
        assert not accepted or findings == stricter, (document, findings)
