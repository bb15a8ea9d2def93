"""Supervision with real processes: a stand-in for forge, a fake trainer, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lora_forge.runs.events import Event, StepTaken, read_events
from lora_forge.runs.signals import StopRequests
from lora_forge.runs.supervise import supervise

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent
PATIENCE_S = 30.0


class Forge:
    """A forge under test: a process of its own that supervises the fake trainer."""

    def __init__(self, folder: Path, *trainer: str, grace_s: float = 20.0) -> None:
        self.folder = folder
        command = [
            sys.executable,
            str(HERE / "fake_trainer.py"),
            "--descendants",
            str(folder / "pids"),
            *trainer,
        ]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "forge_stand_in.py"), str(folder), str(grace_s), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        )

    def wait_for_step(self, step: int) -> None:
        self._wait_until(lambda: any(isinstance(e, StepTaken) and e.step >= step for e in self.events()))

    def wait_for_pids(self, count: int) -> None:
        self._wait_until(lambda: len(self.pids()) >= count)

    def events(self) -> list[Any]:
        return list(read_events(self.folder / "events.jsonl"))

    def pids(self) -> list[int]:
        path = self.folder / "pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def log(self) -> str:
        return (self.folder / "engine.log").read_text()

    def result(self) -> dict[str, Any]:
        out, err = self.process.communicate(timeout=PATIENCE_S)
        assert out, err.decode()
        told = json.loads(out)
        assert isinstance(told, dict)
        return told

    def living(self) -> list[int]:
        return [pid for pid in self.pids() if lives(pid)]

    def wait_until_all_dead(self) -> None:
        self._wait_until(lambda: not self.living())

    def _wait_until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline, "it did not come to that"
            time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def forge(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Forge]:
    def start(*trainer: str, grace_s: float = 20.0) -> Forge:
        started = Forge(tmp_path, *trainer, grace_s=grace_s)
        request.addfinalizer(lambda: _clean_up(started))
        return started

    return start


def _clean_up(forge: Forge) -> None:
    forge.process.kill()
    forge.process.communicate()
    for pid in forge.living():
        os.kill(pid, signal.SIGKILL)


def test_a_run_to_its_end_is_done_and_names_what_it_saved(forge: Callable[..., Forge], tmp_path: Path) -> None:
    started = forge("--launcher", "--steps", "7", "--output", str(tmp_path / "it.safetensors"))
    result = started.result()
    assert (result["outcome"], result["exit_code"], result["last_step"], result["error"]) == (
        "done",
        0,
        7,
        None,
    )
    assert result["saved"] == [str(tmp_path / "it.safetensors")]
    assert 0 < result["first_step_s"] < result["wall_s"]
    assert result["events"].count("StepTaken") == 7
    assert result["events"][-1] == "Ended"
    assert not started.living()


@pytest.mark.parametrize("launcher", [(), ("--launcher",)], ids=["alone", "launched"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_the_training_at_its_next_step(
    forge: Callable[..., Forge], signum: int, launcher: tuple[str, ...]
) -> None:
    started = forge(*launcher, "--steps", "100000", "--step-s", "0.05")
    started.wait_for_step(2)
    started.process.send_signal(signum)
    result = started.result()
    assert result["outcome"] == "stopped"
    assert result["error"]["exit"] == 128 + signum
    assert not result["killed"]
    assert result["last_step"] < 1000
    assert not started.living()


def test_the_second_signal_ends_a_hanging_training_at_once(forge: Callable[..., Forge]) -> None:
    started = forge("--launcher", "--cue", "hang", grace_s=600)
    started.wait_for_step(2)
    started.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert started.process.poll() is None, "one signal leaves a step its time"
    started.process.send_signal(signal.SIGINT)
    result = started.result()
    assert result["killed"]
    assert result["error"]["exit"] == 130
    assert not started.living()


@pytest.mark.parametrize("cue", ["hang", "deaf"])
def test_a_training_that_does_not_stop_in_its_grace_is_ended_by_force(forge: Callable[..., Forge], cue: str) -> None:
    started = forge("--launcher", "--cue", cue, grace_s=0.5)
    started.wait_for_step(2)
    started.process.send_signal(signal.SIGTERM)
    result = started.result()
    assert result["killed"]
    assert result["error"]["exit"] == 143
    assert not started.living()


def test_a_stop_while_loading_does_not_wait_for_a_step(forge: Callable[..., Forge]) -> None:
    started = forge("--launcher", "--cue", "slow-load", grace_s=600)
    started._wait_until(lambda: len(started.events()) >= 2)
    started.process.send_signal(signal.SIGTERM)
    result = started.result()
    assert result["outcome"] == "stopped"
    assert result["error"]["exit"] == 143


@pytest.mark.parametrize("cue", ["fork", "stray", "daemon"])
def test_no_descendant_outlives_the_training(forge: Callable[..., Forge], cue: str) -> None:
    started = forge("--launcher", "--cue", cue)
    result = started.result()
    assert result["outcome"] == "done"
    assert len(started.pids()) == 2
    assert not started.living()


@pytest.mark.parametrize("launcher", [(), ("--launcher",)], ids=["alone", "launched"])
def test_the_trainer_dies_with_a_killed_forge(forge: Callable[..., Forge], launcher: tuple[str, ...]) -> None:
    started = forge(*launcher, "--cue", "fork", "--steps", "100000", "--step-s", "0.05")
    started.wait_for_step(2)
    family = psutil.Process(started.process.pid).children(recursive=True)
    trainer = started.pids()[0]
    started.process.kill()
    started._wait_until(lambda: not lives(trainer))
    others = {process.pid for process in family} - set(started.pids())
    started._wait_until(lambda: not any(lives(pid) for pid in others))


@pytest.mark.parametrize("cue", ["fork", "stray", "daemon"])
def test_no_descendant_outlives_a_killed_forge(forge: Callable[..., Forge], cue: str) -> None:
    started = forge("--launcher", "--cue", cue, "--steps", "100000", "--step-s", "0.05")
    started.wait_for_step(2)
    family = {process.pid for process in psutil.Process(started.process.pid).children(recursive=True)}
    family |= set(started.pids())
    assert len(family) >= 3, "the launcher, the trainer and its child at least"
    started.process.kill()
    started._wait_until(lambda: not any(lives(pid) for pid in family))


def test_no_descendant_outlives_a_killed_tether(forge: Callable[..., Forge]) -> None:
    started = forge("--launcher", "--cue", "stray", "--steps", "100000", "--step-s", "0.05")
    started.wait_for_step(2)
    (tether,) = psutil.Process(started.process.pid).children()
    tether.kill()
    assert started.result()["error"]["code"] == "killed"
    assert not started.living()


def test_the_trainer_dies_with_its_launcher(forge: Callable[..., Forge]) -> None:
    started = forge("--launcher", "--steps", "100000", "--step-s", "0.05")
    started.wait_for_step(2)
    (tether,) = psutil.Process(started.process.pid).children()
    (launcher,) = tether.children()
    launcher.kill()
    result = started.result()
    assert result["outcome"] == "vanished"
    assert result["error"]["code"] == "killed", "a kill that forge did not send"
    assert not started.living()


def test_a_signal_to_the_whole_group_leaves_the_launcher_standing(forge: Callable[..., Forge]) -> None:
    started = forge("--launcher", "--steps", "100000", "--step-s", "0.05")
    started.wait_for_step(2)
    os.killpg(os.getpgid(started.pids()[0]), signal.SIGTERM)
    result = started.result()
    assert result["outcome"] == "stopped"
    assert result["exit_code"] == 1, "the launcher lived to report it"


@pytest.mark.parametrize(
    ("cue", "code", "exit_code", "said"),
    [
        ("crash", "failed", 1, "shape mismatch in block 3"),
        ("gpu-oom", "gpu-out-of-memory", 5, "the GPU ran out of memory at step 2 of 5"),
        ("host-oom", "host-out-of-memory", 5, "the machine ran out of memory"),
        ("kernel-kill", "killed", 33, "killed from outside (SIGKILL) at step 2 of 5"),
        ("no-data", "no-data", 7, "found no images"),
        ("diverge", "diverged", 6, "the loss is nan at step 2"),
        ("silent-exit", "silent", 1, "exit code 1 before the first step"),
    ],
)
def test_each_misfortune_ends_in_its_own_error(
    forge: Callable[..., Forge], cue: str, code: str, exit_code: int, said: str
) -> None:
    started = forge("--launcher", "--cue", cue)
    error = started.result()["error"]
    assert (error["code"], error["exit"]) == (code, exit_code)
    assert said in error["message"]
    assert started.process.returncode == exit_code


@pytest.fixture
def small_memory(tmp_path: Path) -> Iterator[Path]:
    """A control group of 200 MB, where this machine lets us make one."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line.split(":", 2)[2] for line in lines if ":memory:" in line), None)
    group = Path(f"/sys/fs/cgroup/memory{own}/forge-test-{os.getpid()}")
    try:
        if own is None:
            raise OSError("there is no such hierarchy")
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text("200M")
    except OSError as problem:
        pytest.skip(f"no control group with a memory limit can be made here: {problem}")
    yield group
    group.rmdir()


def test_a_kill_by_the_kernel_for_want_of_memory_is_told_from_any_other(tmp_path: Path, small_memory: Path) -> None:
    trainer = [sys.executable, str(HERE / "fake_trainer.py"), "--launcher", "--cue", "devour"]
    stand_in = [sys.executable, str(HERE / "forge_stand_in.py"), str(tmp_path), "9", *trainer]
    within = ["sh", "-c", f'echo $$ > {small_memory}/cgroup.procs && exec "$@"', "sh", *stand_in]
    env = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(within, stdout=subprocess.PIPE, env=env, timeout=PATIENCE_S)
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["exit"]) == ("killed-for-memory", 5), error


def test_the_log_holds_the_whole_output_and_forge_does_not(forge: Callable[..., Forge]) -> None:
    small = forge("--launcher", "--steps", "1").result()["peak_kib"]
    lines = 10_240
    started = forge("--launcher", "--cue", "flood", "--steps", str(lines), "--step-s", "0")
    result = started.result()
    assert started.log().count("x" * 1023 + "\n") == lines
    assert f"{lines}/{lines}" in started.log()
    assert result["peak_kib"] - small < 10 * 1024


def test_a_command_that_cannot_be_started_is_an_error_with_its_name(tmp_path: Path) -> None:
    stand_in = [
        sys.executable,
        str(HERE / "forge_stand_in.py"),
        str(tmp_path),
        "1",
        str(tmp_path / "no-python"),
    ]
    env = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    told = json.loads(subprocess.run(stand_in, stdout=subprocess.PIPE, env=env, timeout=PATIENCE_S).stdout)
    assert told["error"]["exit"] == 1
    assert "no-python cannot be started" in told["error"]["message"]


def test_an_error_in_forge_itself_leaves_no_trainer_behind(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    trainer = [sys.executable, str(HERE / "fake_trainer.py"), "--cue", "fork", "--descendants", str(pids)]

    def fail(event: Event) -> None:
        if isinstance(event, StepTaken):
            raise RuntimeError("the view broke")

    with pytest.raises(RuntimeError, match="the view broke"):
        supervise(
            [*trainer, "--launcher", "--steps", "100000"],
            env=os.environ,
            cwd=tmp_path,
            log=tmp_path / "engine.log",
            events=tmp_path / "events.jsonl",
            on_event=fail,
            stop=StopRequests(),
            grace_s=600,
        )
    assert len(pids.read_text().split()) == 2
    assert not [pid for pid in pids.read_text().split() if lives(int(pid))]
