"""What people and files are called is text: no name is read as markup, loses a bracket or steers a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lora_forge.cli.app import app
from lora_forge.cli.output import Facts, show

Draw = Any
ODD = "heads [/flux] only [bold] \\\\ :smile: \\e[31m"
"""In double quotes in YAML: a closing tag, an opening one, a backslash, an emoji's name and a colour."""
ODD_SHOWN = "heads [/flux] only [bold] \\ :smile:"


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
    return " ".join(result.stdout.split())


@pytest.fixture
def odd_preset(in_folder: Path) -> str:
    presets = in_folder / "presets"
    presets.mkdir()
    (presets / "odd.yaml").write_text(f'extends: identity\nname: "{ODD}"\nabout: "{ODD}"\nseed: 7  # [/why]\n')
    return "odd"


def test_an_odd_about_does_not_end_the_list(odd_preset: str) -> None:
    assert f"{odd_preset} {ODD_SHOWN}" in said("preset", "ls")


def test_an_odd_preset_is_shown_and_explained(odd_preset: str, draw_dataset: Draw) -> None:
    assert "# [/why]" in said("preset", "show", odd_preset)
    arguments = ("plan", "--preset", odd_preset, "--dataset", str(draw_dataset()), "--family", "sdxl")
    told = said(*arguments, "--explain", "--rendered", "--set", "optimizer.name=x.[bold]", "--trust-code")
    assert told.startswith(f"{ODD_SHOWN} on sdxl")
    assert "x.[bold], learning rate" in told
    assert "[/why]" in told


@pytest.mark.parametrize("name", ["[v2].yaml", "a[/b].yaml"])
def test_a_path_keeps_its_brackets(name: str, in_folder: Path) -> None:
    file = in_folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("extends: identity\n")
    assert said("preset", "validate", name) == f"{name}: valid"
    assert said("preset", "cp", name, f"copy/{name}") == str(in_folder / "copy" / name)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_result_that_cannot_be_drawn_is_told_as_a_defect(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    class Undrawable(Facts):
        def data(self) -> object:
            raise ValueError("cannot be drawn")

    def as_text(_result: Facts, _out: object) -> None:
        raise ValueError("cannot be drawn")

    with pytest.raises(typer.Exit) as ended:
        show(lambda: Undrawable({}), as_text, as_json=as_json)
    out, err = capsys.readouterr()
    assert ended.value.exit_code == 1
    assert "Traceback" in err
    told = json.loads(out)["error"]["message"] if as_json else err
    assert "ValueError: cannot be drawn" in told


def test_a_reader_that_has_seen_enough_is_no_defect(capsys: pytest.CaptureFixture[str]) -> None:
    def as_text(_result: Facts, _out: object) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        show(lambda: Facts({}), as_text, as_json=False)
    assert capsys.readouterr().err == ""


@pytest.mark.processes
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_a_stdout_that_is_not_utf8_takes_every_answer(in_folder: Path, encoding: str, as_json: bool) -> None:
    (in_folder / "presets").mkdir()
    (in_folder / "presets" / "mine.yaml").write_text('extends: identity\nabout: "für 猫 ✓"\n', encoding="utf-8")
    forge = Path(sys.executable).with_name("forge")
    done = subprocess.run(
        [forge, "preset", "ls", *(["--json"] if as_json else [])],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    assert b"Traceback" not in done.stderr
    if as_json:
        about = {row["name"]: row["about"] for row in json.loads(done.stdout.decode("ascii"))["data"]}
        assert about["mine"] == "für 猫 ✓"
    else:
        assert "\\u732b" in done.stdout.decode(encoding)
