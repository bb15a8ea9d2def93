"""A name that nothing answers to is told at its place, beside every other mistake, and once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lora_forge.cli.app import app

Draw = Any
MISSPELT = """\
families: [flxu, sdxl]
policy: idntity
network:
  rnak: 16
optimizer:
  name: AdamW8bitt
  scheduler: cosin
engine:
  options:
    noise_ofset: 0.1
"""
PLACES = {
    "unknown-key": "4:3",
    "family-unknown": "1:12",
    "policy-unknown": "2:1",
    "optimizer-unknown": "6:3",
    "scheduler-unknown": "7:3",
    "engine-option-unknown": "10:5",
}
MEANT = {
    "unknown-key": "network.rank",
    "family-unknown": "flux",
    "policy-unknown": "identity",
    "optimizer-unknown": "AdamW8bit",
    "scheduler-unknown": "cosine",
    "engine-option-unknown": "noise_offset",
}


def forge(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def errors(answer: dict[str, Any]) -> list[dict[str, str]]:
    return [finding for finding in answer["findings"] if finding["severity"] == "error"]


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_every_misspelt_name_is_told_at_once_with_its_column(command: str, draw_dataset: Draw, in_folder: Path) -> None:
    (in_folder / "mine.yaml").write_text(MISSPELT)
    asked = ("preset", "validate", "mine.yaml")
    if command == "plan":
        asked = ("plan", "--preset", "mine.yaml", "--dataset", str(draw_dataset()))
    code, answer = forge(*asked)
    assert code == 3
    found = errors(answer)
    assert {one["code"]: one["where"] for one in found} == {k: f"mine.yaml:{place}" for k, place in PLACES.items()}
    assert len(found) == len(PLACES)
    assert all(MEANT[one["code"]] in one["hint"] for one in found)


@pytest.mark.parametrize("further", ["", "network: {kind: lohar}\n"])
def test_a_name_is_told_once_whether_or_not_there_is_a_plan(further: str, draw_dataset: Draw, in_folder: Path) -> None:
    text = "extends: identity\noptimizer: {name: AdamW8bitt, scheduler: cosin}\nengine: {options: {noise_ofset: 1}}\n"
    (in_folder / "mine.yaml").write_text(text + further)
    _, answer = forge("plan", "--preset", "mine.yaml", "--dataset", str(draw_dataset()))
    names = ("optimizer-unknown", "scheduler-unknown", "engine-option-unknown")
    found = [one for one in errors(answer) if one["code"] in names]
    assert sorted(one["code"] for one in found) == sorted(names)
    assert all(MEANT[one["code"]] in one["message"] + one["hint"] for one in found)
    assert {one["where"] for one in found} == {"mine.yaml:2:13", "mine.yaml:2:31", "mine.yaml:3:20"}


def test_an_option_of_another_family_of_the_preset_is_none_misspelt(in_folder: Path) -> None:
    (in_folder / "mine.yaml").write_text(
        "extends: identity\nfamilies: [sdxl, flux]\nengine: {options: {t5xxl_max_token_length: 256}}\n"
    )
    assert forge("preset", "validate", "mine.yaml")[0] == 0


def test_a_broken_preset_is_not_said_to_lack_what_cannot_be_read(in_folder: Path) -> None:
    (in_folder / "mine.yaml").write_text("families: [sdxl\n")
    _, answer = forge("preset", "validate", "mine.yaml")
    assert [one["code"] for one in answer["findings"]] == ["yaml-syntax"]


@pytest.mark.parametrize(
    ("text", "code"),
    [("preset: [\n", "yaml-syntax"), ("preset: *mine\n", "yaml-alias"), ("preset: 7\ndataset: 7\n", "project-value")],
)
def test_what_a_broken_file_may_have_named_is_not_missed_as_well(text: str, code: str, in_folder: Path) -> None:
    (in_folder / "forge.yaml").write_text(text)
    _, answer = forge("plan")
    assert {one["code"] for one in errors(answer)} == {code}


def test_a_file_that_names_no_preset_misses_one_whatever_else_is_wrong_in_it(in_folder: Path) -> None:
    (in_folder / "forge.yaml").write_text("trigger: a\ntrigger: b\n")
    _, answer = forge("plan")
    assert {one["code"] for one in errors(answer)} == {"yaml-duplicate-key", "preset-missing", "dataset-missing"}


@pytest.mark.parametrize("word", ["ohwx,", "every", ""])
def test_a_wrong_trigger_is_told_once_whatever_the_captions_say(word: str, draw_dataset: Draw, in_folder: Path) -> None:
    photos = draw_dataset()
    for index, caption in enumerate(photos.glob("*.txt")):
        caption.write_text(f"{word or index} man in scene number {index}")
    _, answer = forge("plan", "--preset", "identity", "--dataset", str(photos), "--trigger", "")
    assert [one["message"] for one in errors(answer)] == ['trigger is ""; expected text that is not empty.']
    assert "trigger-from-captions" not in [one["code"] for one in answer["findings"]]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/dev/null", "is not a regular file"),
        (".", "is a folder"),
        ("no.yaml", "does not exist"),
        ("e.yaml", "is empty"),
    ],
)
def test_what_is_no_preset_file_is_told_as_what_it_is(name: str, said: str, in_folder: Path) -> None:
    (in_folder / "e.yaml").write_text("# nothing yet\n")
    code, answer = forge("preset", "validate", f"{in_folder}/." if name == "." else name)
    (message,) = [one["message"] for one in answer["findings"]] or [answer["error"]["message"]]
    assert (code, said in message) == (3, True)
