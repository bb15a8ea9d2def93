"""Links that lead in a circle, pipes, and other things that only look like the file that was asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lora_forge.cli.app import app

Draw = Any


def forge(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Call forge with --json; its exit code and its one object."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def errors(answer: dict[str, Any]) -> list[str]:
    return [finding["message"] for finding in answer["findings"] if finding["severity"] == "error"]


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "-p", "identity", "-d", "photos"),
        ("models", "ls"),
        ("models", "locate"),
        ("init",),
    ],
)
def test_a_link_that_leads_in_a_circle_beside_the_project_stops_no_command(
    words: tuple[str, ...], draw_dataset: Draw, in_folder: Path
) -> None:
    draw_dataset(8, name="project/photos")
    os.symlink("x", "x")
    assert forge(*words)[0] == 0


def test_a_model_file_that_leads_in_a_circle_is_one_finding(draw_dataset: Draw, in_folder: Path) -> None:
    os.symlink("x.safetensors", "x.safetensors")
    code, answer = forge("plan", "-p", "identity", "-d", str(draw_dataset(8)), "--model", "x.safetensors")
    assert code == 3
    (said,) = errors(answer)
    assert "x.safetensors: Too many levels of symbolic links" in said


@pytest.mark.parametrize("flag", ["--model", "--clip-l", "--prompts"])
def test_a_pipe_is_refused_not_waited_for(flag: str, draw_dataset: Draw, in_folder: Path) -> None:
    os.mkfifo("pipe.safetensors")
    open_for_writing = os.open("pipe.safetensors", os.O_RDWR)  # else a defect would hang the test for ever
    os.write(open_for_writing, b"8 bytes, and a header that never comes")
    try:
        code, answer = forge("plan", "-p", "identity", "-d", str(draw_dataset(8)), flag, "pipe.safetensors")
    finally:
        os.close(open_for_writing)
    assert code == 3
    (said,) = errors(answer)
    assert "pipe.safetensors" in said
    assert "not a regular file" in said


def test_a_pipe_among_models_is_refused_by_every_reader(in_folder: Path) -> None:
    os.mkfifo("pipe.safetensors")
    code, answer = forge("models", "set", "model", "pipe.safetensors")
    assert code == 3
    assert "not a regular file" in answer["error"]["message"]
