"""Committed LoRA files that somebody moved or a disk damaged: noticed, put back where an attempt still has them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import fault_cases as faults
import pytest
from fault_damage import stopped_run
from fault_world import NAME, World

from lora_forge.runs.commit import is_as_recorded
from lora_forge.runs.record import read_run

pytestmark = pytest.mark.processes
NUMBERED, FINAL = f"{NAME}-step00000006.safetensors", f"{NAME}.safetensors"


@pytest.fixture(scope="module")
def stopped(world: World) -> Path:
    return stopped_run(world)


def copied(run: Path, runs: Path) -> Path:
    shutil.copytree(run, runs / run.name, symlinks=True)
    return runs / run.name


def codes(told: dict[str, Any]) -> list[tuple[str, str]]:
    wanted = "checkpoint-"
    return [(each["code"], Path(each["where"]).name) for each in told["findings"] if each["code"].startswith(wanted)]


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()  # its other name keeps what it was
    path.write_bytes(content[:-1000])


def shown(world: World, run: Path) -> dict[str, Any]:
    code, told = world.forge("runs", "show", run.name, "--runs", str(run.parent), "--json")
    assert code == 0, told
    return told


def test_a_damaged_checkpoint_is_told_by_show_and_put_back_by_a_resume(
    world: World, undisturbed: faults.Reference, stopped: Path, tmp_path: Path
) -> None:
    run = copied(stopped, tmp_path)
    cut(run / "output" / NUMBERED)
    assert codes(shown(world, run)) == [("checkpoint-damaged", NUMBERED)]
    code, told = faults.resume(world, run)
    assert code == 0, told
    assert codes(told) == [("checkpoint-restored", NUMBERED)]
    assert all(is_as_recorded(run, kept.file) for kept in read_run(run).checkpoints)
    assert codes(shown(world, run)) == []
    assert faults.as_reference(run, undisturbed) == ""


def test_a_flipped_bit_is_found_by_a_resume(world: World, stopped: Path, tmp_path: Path) -> None:
    run = copied(stopped, tmp_path)
    lora = run / "output" / NUMBERED
    content = bytearray(lora.read_bytes())
    content[len(content) // 2] ^= 1
    lora.unlink()
    lora.write_bytes(content)
    code, told = faults.resume(world, run)
    assert (code, codes(told)) == (0, [("checkpoint-restored", NUMBERED)])


def test_what_no_attempt_holds_any_more_is_said_and_listed_no_longer(
    world: World, stopped: Path, tmp_path: Path
) -> None:
    run = copied(stopped, tmp_path)
    (run / "output" / NUMBERED).unlink()
    cut(run / "attempts" / "01" / "output" / NUMBERED)
    code, told = faults.resume(world, run)
    assert code == 0, told
    assert codes(told) == [("checkpoint-missing", NUMBERED)]
    assert NUMBERED not in [Path(path).name for path in told["data"]["checkpoints"]]
    assert codes(shown(world, run)) == [("checkpoint-missing", NUMBERED)]


def test_what_was_lost_and_is_made_once_more_is_committed_once_more(
    world: World, undisturbed: faults.Reference, stopped: Path, tmp_path: Path
) -> None:
    run = copied(stopped, tmp_path)
    for folder in ("output", "attempts/01/output"):
        cut(run / folder / NUMBERED)
    for state in read_run(run).states:  # so that the training passes step 6 again
        (run / "states" / state.name / "optimizer.bin").write_bytes(b"")
    code, told = faults.resume(world, run)
    assert code == 0, told
    assert [kept.attempt for kept in read_run(run).checkpoints if kept.step == 6] == [2]
    assert codes(shown(world, run)) == []
    assert faults.as_reference(run, undisturbed) == ""


def test_a_finished_lora_that_was_moved_away_is_put_back(
    world: World, undisturbed: faults.Reference, tmp_path: Path
) -> None:
    run = copied(world.project / "undisturbed", tmp_path)
    (run / "output" / FINAL).rename(tmp_path / "mine.safetensors")
    assert codes(shown(world, run)) == [("checkpoint-missing", FINAL)]
    code, told = faults.resume(world, run)
    assert (code, told["data"]["already_done"], codes(told)) == (0, True, [("checkpoint-restored", FINAL)]), told
    assert faults.as_reference(run, undisturbed) == ""


def test_a_finished_lora_that_is_lost_is_said_with_a_command_that_trains_again(
    world: World, undisturbed: faults.Reference, tmp_path: Path
) -> None:
    run = copied(world.project / "undisturbed", tmp_path)
    for folder in ("output", "attempts/01/output"):
        (run / folder / FINAL).unlink()
    code, told = faults.resume(world, run)
    assert (code, "is gone" in told["error"]["message"]) == (1, True), told
    command = told["error"]["hint"].split("train anew: ")[1].split()
    assert command[:3] == ["forge", "runs", "reproduce"]
    code, told = world.forge(*command[1:], "--json")
    assert (code, told["data"]["verified"]) == (0, True), json.dumps(told["error"])
