"""The shell scripts for CI runners, around a forge that ends as it is told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes
ROOT = Path(__file__).parents[2]


def planned(folder: Path, *, forge: str | None, out: str = "plan.json") -> tuple[int, str]:
    """Run ``plan.sh`` where ``forge`` is this shell text, or nothing at all; its exit code and all it said."""
    path = folder / "bin"
    path.mkdir()
    if forge is not None:
        (path / "forge").write_text(f"#!/bin/sh\n{forge}\n")
        (path / "forge").chmod(0o755)
    argv = ["/bin/sh", str(ROOT / "scripts/ci/plan.sh"), "--preset", "identity"]
    ended = subprocess.run(
        argv, cwd=folder, env={"PATH": str(path), "PLAN_JSON": out}, capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_a_sound_plan_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    assert planned(tmp_path, forge='echo "$@"', out="mine.json") == (0, "plan written to mine.json\n")
    assert (tmp_path / "mine.json").read_text() == "plan --preset identity --json\n"


@pytest.mark.parametrize(
    ("forge", "code", "said"),
    [
        ("echo '{}'; exit 3", 3, "forge plan failed with exit code 3; its findings are in plan.json\n"),
        ("exit 1", 1, "forge plan failed with exit code 1; it left nothing in plan.json\n"),
        (None, 127, "forge is not on PATH: ./scripts/setup run makes .venv/bin/forge\n"),
    ],
)
def test_findings_are_promised_only_where_forge_left_some(
    tmp_path: Path, forge: str | None, code: int, said: str
) -> None:
    assert planned(tmp_path, forge=forge) == (code, said)


def test_a_place_that_cannot_be_written_is_named_before_forge_is_started(tmp_path: Path) -> None:
    code, said = planned(tmp_path, forge=": >started", out="nowhere/plan.json")
    assert (code, said) == (
        2,
        "PLAN_JSON cannot be written: nowhere/plan.json; name a file in a folder that is there\n",
    )
    assert not (tmp_path / "started").exists()


def test_the_example_workflow_asks_for_the_pythons_that_forge_runs_on() -> None:
    assert 'requires-python = ">=3.10,<3.14"' in (ROOT / "pyproject.toml").read_text()
    assert "The runner needs Python 3.10 to 3.13" in (ROOT / "scripts/ci/github-workflow.yml").read_text()
