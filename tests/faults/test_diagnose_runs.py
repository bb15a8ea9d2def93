"""``forge diagnose`` on run directories that real processes left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from fault_world import World, ended, kill_hard, steps_taken, wait_until

pytestmark = pytest.mark.processes

TROUBLED = Path(__file__).with_name("troubled_engine.py")
Diagnosed = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("diagnosed"))
    world.use_engine(TROUBLED)
    return world


@pytest.fixture
def diagnosed(world: World) -> Diagnosed:
    def ask(name: str) -> dict[str, Any]:
        code, told = world.forge("diagnose", name, "--json")
        assert code == 0, told
        data = told["data"]
        assert isinstance(data, dict)
        return data

    return ask


def test_a_run_that_is_done_has_nothing_to_diagnose(world: World, diagnosed: Diagnosed) -> None:
    assert ended(world.train("--run-dir", "runs/done", TROUBLE="room=9"))[0] == 0
    assert diagnosed("done")["state"] == "ended well"


def test_an_engine_that_says_done_and_leaves_nothing_is_no_output(world: World, diagnosed: Diagnosed) -> None:
    code, told = ended(world.train("--run-dir", "runs/empty", TROUBLE="empty"))
    assert (code, told["error"]["code"]) == (7, "no-output")
    found = diagnosed("empty")["diagnosis"]
    assert (found["code"], found["exit_code"]) == ("no-output", 7)


def test_a_trainer_that_crashes_once_it_is_done_costs_no_lora(world: World, diagnosed: Diagnosed) -> None:
    code, told = ended(world.train("--run-dir", "runs/untidy", TROUBLE="untidy"))
    assert (code, told["ok"]) == (0, True)
    assert [finding["message"] for finding in told["findings"] if finding["code"] == "untidy-end"] == [
        "the engine was done and then left with exit code 1: the LoRA was looked at all the same, and is whole"
    ]
    assert diagnosed("untidy")["state"] == "ended well"


def test_forge_and_its_trainer_killed_together_is_a_kill(world: World, diagnosed: Diagnosed) -> None:
    process = world.train("--run-dir", "runs/both", TROUBLE="room=9", FAKE_STEP_S="0.2")
    wait_until(lambda: steps_taken(world.project / "runs" / "both"), process)
    kill_hard(process)
    wait_until(lambda: diagnosed("both")["state"] != "still running")
    assert diagnosed("both")["diagnosis"]["code"] == "killed"


@pytest.mark.parametrize("times", [1, 2])
def test_what_a_person_ended_by_force_was_stopped_and_did_not_fail(
    world: World, diagnosed: Diagnosed, times: int
) -> None:
    """Once before the guest's first word, twice in a step that takes long."""
    name = f"forced-{times}"
    run = world.project / "runs" / name
    process = world.train("--run-dir", str(run), TROUBLE="room=9", FAKE_STEP_S="9" if times == 2 else "0")
    begun = (lambda: steps_taken(run)) if times == 2 else (run / "attempts/01/engine.log").exists
    wait_until(begun, process)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    assert ended(process)[0] == 130
    assert diagnosed(name)["state"] == "stopped by a signal"
    listed = world.forge("runs", "ls", "--json")[1]["data"]["runs"]
    assert next(each["status"] for each in listed if each["run"] == name) == "stopped"


def test_a_killed_trainer_is_told_from_what_the_kernel_did(world: World, diagnosed: Diagnosed) -> None:
    process = world.train("--run-dir", "runs/killed", TROUBLE="room=9", FAKE_STEP_S="0.2")
    run = world.project / "runs" / "killed"
    wait_until(lambda: len(steps_taken(run)) >= 2, process)
    for child in psutil.Process(process.pid).children(recursive=True):
        os.kill(child.pid, signal.SIGKILL)
    code, told = ended(process)
    assert (code, told["error"]["code"]) == (33, "killed")
    assert diagnosed("killed")["diagnosis"]["code"] == "killed"


def test_a_running_and_then_a_stopped_run_are_no_failures(world: World, diagnosed: Diagnosed) -> None:
    process = world.train("--run-dir", "runs/stopped", TROUBLE="room=9", FAKE_STEP_S="0.3")
    run = world.project / "runs" / "stopped"
    wait_until(lambda: steps_taken(run), process)
    assert diagnosed("stopped")["state"] == "still running"
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 143
    assert diagnosed("stopped")["state"] == "stopped by a signal"


def test_going_on_with_a_run_removes_a_damaged_cache_and_says_so(world: World) -> None:
    process = world.train("--run-dir", "runs/cached", TROUBLE="room=9", FAKE_STEP_S="0.2")
    run = world.project / "runs" / "cached"
    wait_until(lambda: steps_taken(run), process)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 143
    cache = next((run / "dataset").iterdir()) / "00001-0123456789ab_0512x0512_sdxl.npz"
    cache.write_bytes(b"junk")
    code, told = ended(world.train("--run-dir", "runs/cached", "--resume", TROUBLE="room=9"))
    assert code == 0, told
    assert [finding["where"] for finding in told["findings"] if finding["code"] == "cache-removed"] == [str(cache)]
    assert not cache.exists()
