"""Stops: SIGINT and SIGTERM in each phase, and many starts at once."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from fault_kills import IN_PHASE, PACE
from fault_tally import Reference, Tally, resumes_to
from fault_watching import PATIENCE_S, POLL_S, has_entered, kill_hard, no_descendant, wait_until
from fault_world import World

from lora_forge.runs.lock import is_held
from lora_forge.runs.record import read_run

SOON_S = 7.5
"""Within this a CI runner has not yet turned to SIGKILL."""
KEEPS_STATE = ("training", "saving", "sampling", "validating")
RESUMED_EVERY = 5
REFUSED_WITHIN_S = 2.0


def stops_in(world: World, reference: Reference, phase: str, count: int) -> Tally:
    """As many of each signal: the right exit code, one JSON object, the state kept, nobody left; some are resumed."""
    tally = Tally(f"SIGINT and SIGTERM while {phase}")
    for number in range(count):
        for signum in (signal.SIGINT, signal.SIGTERM):
            run = world.project / "stops" / f"{phase}-{number}-{signal.Signals(signum).name}"
            problem = _stopped(world, run, signum, phase, number)
            if not problem and number % RESUMED_EVERY == RESUMED_EVERY - 1 and signum == signal.SIGTERM:
                problem = resumes_to(world, run, reference)
            tally.note(problem)
            shutil.rmtree(run, ignore_errors=True)
    return tally


def _stopped(world: World, run: Path, signum: int, phase: str, number: int) -> str:
    """Stopped a little later within the phase from one number to the next."""
    slow = IN_PHASE[phase]
    process = world.train("--run-dir", str(run), **{**PACE, **slow.slow})
    times = 1 + number % slow.times
    wait_until(lambda: has_entered(phase, run, 1, process, times), process)
    time.sleep(slow.lasts_s * (number % 10) / 20)
    process.send_signal(signum)
    began = time.monotonic()
    out, err = process.communicate(timeout=PATIENCE_S)
    took = time.monotonic() - began
    return (
        _said(run, process.returncode, out, err, signum, phase)
        or ("" if took < SOON_S else f"{run.name}: took {took:.1f} s")
        or no_descendant(world)
    )


def _said(run: Path, code: int, out: bytes, err: bytes, signum: int, phase: str) -> str:
    """A signal that comes as the last file is verified may find the run done, and then it is."""
    if not out:
        return f"{run.name}: exit {code} and not a word; {err.decode(errors='replace')[-200:]}"
    told: dict[str, Any] = json.loads(out)
    if code == 0 and (phase == "verifying" or told["data"]["steps"] == read_run(run).steps):
        return "" if told["ok"] and read_run(run).done else f"{run.name}: exit 0 and not done"
    if code != 128 + signum:
        return f"{run.name}: exit {code}, {told['error']}"
    if phase in KEEPS_STATE and not read_run(run).states:
        return f"{run.name}: no state was kept"
    return ""


def starts_at_once(world: World, count: int, within_s: float = REFUSED_WITHIN_S) -> Tally:
    """Many starts on one run directory: one runs, the others exit 11 and name it, soon after all were started."""
    tally, run = Tally(f"{count} starts on one run directory"), world.project / "contended"
    processes = [world.train("--run-dir", str(run), FAKE_STEP_S="60") for _ in range(count)]
    wait_until(lambda: is_held(run))
    began, took = time.monotonic(), dict[int, float]()
    while len(took) < count - 1 and time.monotonic() - began < PATIENCE_S:
        for index, process in enumerate(processes):
            if index not in took and process.poll() is not None:
                took[index] = time.monotonic() - began
        time.sleep(POLL_S)
    for index, process in enumerate(processes):
        tally.note(_refused(process, took[index], within_s) if index in took else _running(process))
    tally.note(no_descendant(world) if len(took) == count - 1 else f"{count - len(took)} run at once")
    tally.note_said = f"the slowest refusal took {max(took.values(), default=0):.1f} s"
    shutil.rmtree(run, ignore_errors=True)
    return tally


def _refused(process: subprocess.Popen[bytes], took_s: float, within_s: float) -> str:
    out, _ = process.communicate()
    if process.returncode != 11 or "held by" not in json.loads(out)["error"]["message"]:
        return f"exit {process.returncode}: {out.decode()[:200]}"
    return "" if took_s <= within_s else f"refused after {took_s:.1f} s, not {within_s:g}"


def _running(process: subprocess.Popen[bytes]) -> str:
    return "" if kill_hard(process) else "the one that was to run had ended"
