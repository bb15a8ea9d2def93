"""Watching a run from outside: its events, its phases, and every process that it left."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from lora_forge.runs.lock import read_holder

if TYPE_CHECKING:
    from fault_world import World

PATIENCE_S = 120.0
POLL_S = 0.005
NO_DESCENDANT_AFTER_S = 10.0
MARK = "FAULT_WORLD"
"""In the environment of everything that a world starts, and so of all that those start."""

PHASES = ("planning", "loading", "caching", "training", "saving", "sampling", "validating", "verifying")


def ended(process: subprocess.Popen[bytes]) -> tuple[int, dict[str, Any]]:
    """The exit code, and the one JSON object on stdout."""
    out, err = process.communicate(timeout=PATIENCE_S)
    assert out, (process.returncode, err.decode(errors="replace"))
    told = json.loads(out)
    assert isinstance(told, dict)
    return process.returncode, told


def events_of(attempt: Path) -> list[dict[str, Any]]:
    """Every whole event of one attempt, in order."""
    file = attempt / "events.jsonl"
    lines = file.read_bytes().split(b"\n") if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"}")]


def steps_taken(run: Path) -> list[dict[str, Any]]:
    """Every step event of every attempt, in order."""
    attempts = sorted(run.glob("attempts/*"))
    return [event for attempt in attempts for event in events_of(attempt) if event["event"] == "step"]


def has_entered(phase: str, run: Path, attempt: int, process: subprocess.Popen[bytes], times: int = 1) -> bool:
    """Whether this attempt is in a phase, or was; planning begins as forge holds the run, verifying as the guest ends.

    The training is at it from the first step on.
    """
    if phase == "planning":
        holder = read_holder(run)
        return holder is not None and holder.pid == process.pid
    seen = events_of(run / "attempts" / f"{attempt:02d}")
    if phase == "verifying":
        return any(event["event"] == "end" for event in seen)
    if phase == "training":
        return sum(event["event"] == "step" for event in seen) >= times
    return sum(event["event"] == "phase" and event["phase"] == phase for event in seen) >= times


def wait_until(true: Callable[[], object], process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        assert process is None or process.poll() is None, process.communicate()  # type: ignore[union-attr]
        time.sleep(POLL_S)


def descendants(world: World) -> list[int]:
    """Every living process of this world, whatever it is called and whosever child it is by now."""
    return [process.pid for process in _living(world)]


def engine_pids(world: World) -> list[int]:
    """The living processes of the fake engine, the launcher first."""
    return [process.pid for process in _living(world) if "fake_engine.py" in " ".join(_words(process))]


def no_descendant(world: World, within_s: float = NO_DESCENDANT_AFTER_S) -> str:
    """Wait for all to be gone; the problem in words, and nobody is left for the next case."""
    deadline = time.monotonic() + within_s
    while left := _living(world):
        if time.monotonic() > deadline:
            names = [" ".join(_words(process))[:80] for process in left]
            for process in left:
                process.kill()
            return f"still alive after {within_s:g} s: {names}"
        time.sleep(0.05)
    return ""


def kill_hard(process: subprocess.Popen[bytes]) -> bool:
    """SIGKILL; whether it was alive to be killed."""
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):  # a child that lives on would hold them open
        if stream:
            stream.close()
    return alive and process.returncode == -signal.SIGKILL


def _living(world: World) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _is_of(process, str(world.root))]


def _is_of(process: psutil.Process, root: str) -> bool:
    try:
        return process.environ().get(MARK) == root and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def peak_mb_of(process: subprocess.Popen[bytes]) -> float:
    """Wait for the end; the process's own peak of resident memory, its children's not counted."""
    peak = 0.0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        for line in _lines(status):
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) / 1024
        time.sleep(0.02)
    process.communicate()
    return peak


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
