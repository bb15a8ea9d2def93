"""``forge diagnose`` on run directories that real processes left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from fault_world import World, ended, steps_taken, wait_until

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
