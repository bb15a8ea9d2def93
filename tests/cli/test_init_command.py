"""``forge init``: a project file that works as written, and as its examples say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from lora_forge.cli.app import app
from lora_forge.families import family_names
from lora_forge.presets.loader import load_preset_layers, preset_folders
from lora_forge.presets.merge import merge_layers
from lora_forge.project.request import gather_request
from tests.model_files import write_flux

Draw = Any


def forge(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def findings_of(folder: Path) -> list[object]:
    _, overrides, findings = gather_request({}, {}, folder, user_file=folder / "none.yaml")
    layers, problems = load_preset_layers("identity", folders=preset_folders(folder), cwd=folder)
    return [*findings, *problems, *merge_layers([*layers, *overrides])[2]]


def test_every_family_is_named_where_a_person_chooses_one(in_folder: Path) -> None:
    """In the help and in the new file, from the folder of families: a new one needs no second line."""
    forge("init")
    names = ", ".join(family_names())
    assert f"family: {names};" in (in_folder / "forge.yaml").read_text()
    assert "chroma" in names
    (option,) = [each for each in get_command(app).commands["plan"].params if each.name == "family"]  # type: ignore[attr-defined]
    assert option.help == f"{names}."


@pytest.mark.parametrize("family", [None, *family_names()])
def test_the_file_loads_as_written_and_with_every_example_used(family: str | None, in_folder: Path) -> None:
    assert forge("init", *(("--family", family) if family else ()))[0] == 0
    file = in_folder / "forge.yaml"
    assert findings_of(in_folder) == []
    used, count = re.subn(r"^( *)#(?=\S)", r"\1", file.read_text(), flags=re.MULTILINE)
    assert count >= 10
    file.write_text(used)
    assert findings_of(in_folder) == []
    request, overrides, _ = gather_request({}, {}, in_folder, user_file=in_folder / "none.yaml")
    assert request.text("trigger") == "ohwx"
    assert request.count("gpus") == 1
    assert request.path("tokenizers") == Path("/models/tokenizers")
    assert overrides[0].values["network.rank"].value == 24


def test_what_lies_here_is_filled_in(draw_dataset: Draw, in_folder: Path) -> None:
    draw_dataset(4, name="project/my photos", trigger="zyx")
    models = write_flux(in_folder)
    (in_folder / "runs").mkdir()
    code, answer = forge("init")
    assert code == 0
    assert answer["data"]["filled"] == {
        "preset": "identity",
        "dataset": "my photos",
        "trigger": "zyx",
        **{f"models.{name}": str(path) for name, path in models.items()},
    }
    request, _, findings = gather_request({}, {}, in_folder, user_file=in_folder / "none.yaml")
    assert findings == []
    assert request.path("dataset") == in_folder / "my photos"
    assert request.path("t5xxl") == models["t5xxl"]


def test_after_it_train_with_a_preset_alone_has_all_it_needs(
    draw_dataset: Draw, in_folder: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("FORGE_HOME", str(in_folder.parent / "nowhere"))
    draw_dataset(20, name="project/20_zyx")
    write_flux(in_folder)
    forge("init")
    code, answer = forge("train", "--preset", "identity")
    assert (code, answer["error"]["code"]) == (4, "engine"), answer  # the engine alone is missing here
    assert "model-missing" not in {finding["code"] for finding in answer["findings"]}


def test_a_file_that_is_there_stays_without_force(in_folder: Path) -> None:
    file = in_folder / "forge.yaml"
    file.write_text("trigger: mine\n")
    code, answer = forge("init")
    assert (code, answer["error"]["code"]) == (3, "invalid-project")
    assert file.read_text() == "trigger: mine\n"
    assert forge("init", "--force", "--trigger", "theirs")[0] == 0
    assert "trigger: theirs\n" in file.read_text()
    assert [path.name for path in in_folder.iterdir()] == ["forge.yaml"]


def test_several_folders_of_images_are_left_to_the_person(draw_dataset: Draw, in_folder: Path) -> None:
    draw_dataset(2, name="project/a")
    draw_dataset(2, name="project/b")
    _, answer = forge("init")
    assert "dataset" not in answer["data"]["filled"]
    assert "a, b" in answer["findings"][0]["message"]
