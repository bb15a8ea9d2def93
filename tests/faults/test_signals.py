"""A signal at any time: before the training, between its stations, and while its result is looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fault_watching import descendants, has_entered
from fault_world import World, ended, steps_taken, wait_until

from lora_forge.errors import Interrupted
from lora_forge.runs.record import read_run
from lora_forge.runs.signals import StopNow, stop_on_signals

pytestmark = pytest.mark.processes

SLOWED = """
import importlib, pathlib, sys, time
place, marker, seconds = sys.argv[1:4]
module, name = place.split(":")
module = importlib.import_module(module)
act = getattr(module, name)
def slowed(*given, **named):
    pathlib.Path(marker).touch()
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        time.sleep(0.01)
    return act(*given, **named)
setattr(module, name, slowed)
sys.argv = ["forge", *sys.argv[4:]]
from lora_forge.cli.app import run
run()
"""
"""forge with one function that says when it begins and takes its time."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("signals"))


class Slowed:
    """A forge that stands in one function for a while."""

    def __init__(self, world: World, place: str, run: str, seconds: float = 1.5, **env: str) -> None:
        self.marker = world.root / f"{run}.marker"
        self.run = world.project / "runs" / run
        self.marker.unlink(missing_ok=True)
        words = [sys.executable, "-c", SLOWED, place, str(self.marker), str(seconds)]
        self.process = subprocess.Popen(
            [*words, *world.arguments("--run-dir", str(self.run))],
            cwd=world.project,
            env={**world.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def signalled(self, *signums: int) -> tuple[int, dict[str, Any]]:
        wait_until(self.marker.exists, self.process)
        for signum in signums:
            self.process.send_signal(signum)
            time.sleep(0.1)  # two at once are handled in the order of their numbers
        return ended(self.process)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "place", ["lora_forge.datasets.scan:scan_dataset", "lora_forge.runs.staging:measure_dataset"], ids=["plan", "lay"]
)
def test_a_signal_before_the_training_ends_at_once_with_one_object(world: World, place: str, signum: int) -> None:
    run = f"{place.rpartition(':')[2]}-{signum}"
    slowed = Slowed(world, place, run, seconds=30)
    code, told = slowed.signalled(signum)
    assert code == 128 + signum
    assert told["error"]["code"] == "interrupted"
    assert world.forge(*world.arguments("--resume", "--run-dir", str(slowed.run)))[0] == 0


@pytest.mark.parametrize("phase", ["training", "saving"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_every_process_of_a_training_is_one_request(world: World, signum: int, phase: str) -> None:
    """As a service manager or a CI cancel sends it: the guest hears it twice, once from forge."""
    run = world.project / "runs" / f"tree-{phase}-{signum}"
    process = world.train("--run-dir", str(run), FAKE_STEP_S="0.4", FAKE_SAVE_S="1")
    wait_until(lambda: has_entered(phase, run, 1, process), process)
    for pid in descendants(world):
        with suppress(ProcessLookupError):
            os.kill(pid, signum)
    assert ended(process)[0] == 128 + signum
    record = read_run(run)
    assert record.attempts[-1].outcome == "stopped"
    assert [state.step for state in record.states][-1] == record.attempts[-1].to_step
    assert (phase == "saving") == bool(record.checkpoints)


def listens(pid: int) -> bool:
    """Whether forge has begun: the interpreter alone does not catch SIGTERM."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_of_a_plan_has_one_of_two_ends(world: World, signum: int) -> None:
    """Either it was heard, or the plan was told before."""
    command = ["plan", *world.arguments()[1:]]
    for moment in range(8):
        process = world.start(*command)
        wait_until(lambda: listens(process.pid), process)  # noqa: B023
        time.sleep(moment * 0.06)
        process.send_signal(signum)
        out, err = process.communicate()
        assert process.returncode in (0, 128 + signum), err.decode()
        assert json.loads(out)["ok"] == (process.returncode == 0)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_result_is_verified_does_not_cost_the_result(world: World, signum: int) -> None:
    slowed = Slowed(world, "lora_forge.workflow.run_ending:expected_lora", f"verified-{signum}", FAKE_STEP_S="0.2")
    code, told = slowed.signalled(signum)
    assert code == 0, told
    assert read_run(slowed.run).done


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_trainer_leaves_does_not_cost_the_result(world: World, signum: int) -> None:
    """It has said that it is done; the signal finds it without its handlers, and ends it with exit code 1."""
    run = world.project / "runs" / f"left-{signum}"
    process = world.train("--run-dir", str(run), FAKE_LEAVE_S="5")
    wait_until(lambda: has_entered("verifying", run, 1, process), process)
    time.sleep(0.2)
    process.send_signal(signum)
    code, told = ended(process)
    assert code == 0, told
    assert read_run(run).done


def test_a_second_signal_while_the_result_is_verified_ends_at_once(world: World) -> None:
    slowed = Slowed(world, "lora_forge.workflow.run_training:conclude", "hurried", seconds=30)
    code, _ = slowed.signalled(signal.SIGTERM, signal.SIGINT)
    assert code == 143
    code, told = world.forge(*world.arguments("--resume", "--run-dir", str(slowed.run)))
    assert code == 0, told


def test_signals_that_keep_coming_do_not_cost_the_state_that_is_being_committed(world: World) -> None:
    slowed = Slowed(world, "lora_forge.runs.committer:commit_state", "committed", FAKE_STEP_S="0.4")
    wait_until(lambda: steps_taken(slowed.run), slowed.process)
    slowed.process.send_signal(signal.SIGINT)
    code, told = slowed.signalled(signal.SIGINT, signal.SIGTERM)
    assert code == 130
    assert "state kept at step" in told["error"]["message"]
    assert read_run(slowed.run).states


def test_the_same_requests_are_heard_within_and_end_the_next_block_as_it_begins() -> None:
    with pytest.raises(Interrupted) as raised, stop_on_signals() as outer:
        with stop_on_signals() as inner, inner.noting():
            assert inner is outer
            os.kill(os.getpid(), signal.SIGTERM)
            assert outer.count == 1
        with stop_on_signals():
            raise AssertionError("the block has begun")
    assert raised.value.exit_code == 143
    assert isinstance(raised.value.__cause__, StopNow)


@pytest.mark.parametrize("turned", [ValueError("of a library"), None], ids=["another error", "nothing"])
def test_what_a_library_makes_of_the_interruption_does_not_hide_it(turned: Exception | None) -> None:
    with pytest.raises(Interrupted), stop_on_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except StopNow:
            if turned:
                raise turned from None


def test_an_error_beside_a_request_that_was_only_noted_stays_that_error() -> None:
    with pytest.raises(ValueError, match="its own"), stop_on_signals() as stop, stop.noting():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("its own")


def test_one_more_signal_than_is_noted_ends_the_block() -> None:
    with pytest.raises(Interrupted) as raised, stop_on_signals() as stop, stop.noting(most=1):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the block went on")
    assert raised.value.exit_code == 130, "the first signal names the end"
