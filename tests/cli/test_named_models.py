"""What is named for a run is there and is used, or it is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lora_forge.cli.app import app
from lora_forge.families import load_family
from lora_forge.models.locating import tokenizer_folder

Draw = Any


def plan(photos: Path, family: str, *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    asked = ["plan", "-p", "identity", "-d", str(photos), "--family", family, *arguments, "--json"]
    result = CliRunner().invoke(app, asked)
    return result.exit_code, {finding["code"]: finding for finding in json.loads(result.stdout)["findings"]}


def test_a_folder_of_tokenizers_that_is_not_there_is_an_error(draw_dataset: Draw, in_folder: Path) -> None:
    code, found = plan(draw_dataset(), "flux", "--tokenizers", "nodir")
    assert (code, found["tokenizers-unusable"]["where"]) == (3, "--tokenizers")
    assert f"{in_folder / 'nodir'} does not exist" in found["tokenizers-unusable"]["message"]
    assert "DIR/google_t5-v1_1-xxl" in found["tokenizers-unusable"]["hint"]
    assert "tokenizers-missing" not in found
    (in_folder / "nodir").write_text("")
    assert (
        "is not a folder"
        in plan(draw_dataset(name="b"), "flux", "--tokenizers", "nodir")[1]["tokenizers-unusable"]["message"]
    )


def test_what_a_folder_of_tokenizers_lacks_is_named(draw_dataset: Draw, in_folder: Path) -> None:
    photos, folder = draw_dataset(), in_folder / "tokens"
    first, second = (folder / tokenizer_folder(name) for name in load_family("flux").tokenizers)
    first.mkdir(parents=True)
    code, found = plan(photos, "flux", "--tokenizers", "tokens")
    missing = found["tokenizers-missing"]
    assert (code, missing["severity"], missing["where"]) == (0, "warning", "--tokenizers")
    assert f"{folder} lacks {second.name}:" in missing["message"]
    assert missing["hint"].endswith(str(second))
    second.mkdir()
    assert "tokenizers-missing" not in plan(photos, "flux", "--tokenizers", "tokens")[1]


@pytest.mark.parametrize(
    ("family", "flag"), [("sdxl", "--clip-l"), ("sd15", "--t5xxl"), ("sdxl", "--ae"), ("flux", "--vae")]
)
def test_a_file_that_the_family_does_not_take_is_told(
    family: str, flag: str, draw_dataset: Draw, in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, variable = draw_dataset(), f"FORGE_{flag[2:].upper().replace('-', '_')}"
    code, found = plan(photos, family, flag, "nofile")
    assert (code, found["model-unused"]["severity"], found["model-unused"]["where"]) == (0, "warning", flag)
    assert f"{flag} {in_folder / 'nofile'} is not used" in found["model-unused"]["message"]
    monkeypatch.setenv(variable, "nofile")
    assert plan(photos, family)[1]["model-unused"]["where"] == variable


def test_a_line_of_the_project_may_be_there_for_another_family(draw_dataset: Draw, in_folder: Path) -> None:
    (in_folder / "forge.yaml").write_text("models: {clip_l: nofile, vae: nofile}\n")
    assert "model-unused" not in plan(draw_dataset(), "sdxl")[1]
