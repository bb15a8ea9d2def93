"""Kills: SIGKILL of forge, or of its trainer, in each phase of a run; nothing is lost and nobody is left."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from fault_tally import Reference, Tally, resumes_to
from fault_watching import (
    POLL_S,
    descendants,
    ended,
    engine_pids,
    has_entered,
    kill_hard,
    no_descendant,
)
from fault_world import World

TRIES = 5
"""A run may be over before its kill falls; then it does not count, and is tried again."""


@dataclass(frozen=True)
class Phase:
    """How a phase is made long enough to be hit: the environment, how long it lasts, and how often it comes."""

    slow: dict[str, str]
    lasts_s: float
    times: int = 1


PACE = {"FAKE_STEP_S": "0.02"}
IN_PHASE = {
    "planning": Phase({}, 0.25),
    "loading": Phase({"FAKE_LOAD_S": "0.3"}, 0.3),
    "caching": Phase({"FAKE_LOAD_S": "0.3"}, 0.4),
    "training": Phase({"FAKE_STEP_S": "0.05"}, 0.05, 11),
    "saving": Phase({"FAKE_SAVE_S": "0.12"}, 0.4, 4),
    "sampling": Phase({"FAKE_SAMPLE_S": "0.15"}, 0.15, 4),
    "validating": Phase({"FAKE_VALIDATE_S": "0.15"}, 0.15, 4),
    "verifying": Phase({}, 0.12),
}
TRAINERS = ("loading", "caching", "training", "saving", "sampling", "validating")


def kills_in(world: World, reference: Reference, phase: str, count: int, *, seed: int = 1) -> Tally:
    """SIGKILL at random times within one phase, then resume to the end; every fourth kill hits the trainer alone."""
    tally, chance = Tally(f"SIGKILL while {phase}, then resume"), random.Random(f"{seed}-{phase}")
    for number in range(count):
        run = world.project / "kills" / f"{phase}-{seed}-{number}"
        whom = "trainer" if number % 4 == 3 and phase in TRAINERS else "forge"
        tally.note(_killed_and_resumed(world, reference, run, phase, whom, chance))
        shutil.rmtree(run, ignore_errors=True)
    return tally


def _killed_and_resumed(
    world: World, reference: Reference, run: Path, phase: str, whom: str, chance: random.Random
) -> str:
    """One kill that counts, and on some runs another of the attempt that went on."""
    more = ("--validation", "1") if chance.random() < 0.25 else ()
    problem = _killed(world, run, phase, whom, chance, more)
    if not problem and chance.random() < 0.25:
        problem = _killed(world, run, phase, "forge", chance, ("--resume", *more), must_hit=False)
    return problem or resumes_to(world, run, reference, *more, by_id=chance.random() < 0.5)


def _killed(
    world: World, run: Path, phase: str, whom: str, chance: random.Random, more: tuple[str, ...], must_hit: bool = True
) -> str:
    for _ in range(TRIES if must_hit else 1):
        attempt = len(list(run.glob("attempts/*"))) + 1
        process = world.train(*more, "--run-dir", str(run), **{**PACE, **IN_PHASE[phase].slow})
        if hit(world, process, run, phase, attempt, whom, chance):
            return no_descendant(world)
        if not must_hit:
            return ""
        shutil.rmtree(run, ignore_errors=True)
    return f"{run.name}: no kill hit the phase in {TRIES} tries"


def hit(
    world: World,
    process: subprocess.Popen[bytes],
    run: Path,
    phase: str,
    attempt: int,
    whom: str,
    chance: random.Random,
) -> bool:
    """Wait for the phase, then any moment within it; whether there was somebody alive to kill."""
    times = chance.randint(1, IN_PHASE[phase].times)
    while not has_entered(phase, run, attempt, process, times):
        if process.poll() is not None:
            process.communicate()
            return False
        time.sleep(POLL_S)
    time.sleep(chance.uniform(0, IN_PHASE[phase].lasts_s))
    return kill_hard(process) if whom == "forge" else _kill_trainer(world, process)


def _kill_trainer(world: World, process: subprocess.Popen[bytes]) -> bool:
    """Kill the trainer under its launcher; forge must say so and end, in its own words."""
    pids = engine_pids(world)
    if len(pids) < 2:
        process.communicate()
        return False
    os.kill(pids[-1], signal.SIGKILL)
    code, told = ended(process)
    if code == 0:
        return False
    assert told["error"]["code"] in ("killed", "killed-for-memory"), told["error"]
    return True


def orphans(world: World, count: int, seed: int = 1) -> Tally:
    """SIGKILL of forge while its trainer has a child in a session of its own: nobody lives 10 s later."""
    tally, chance = Tally("SIGKILL of forge: no descendant after 10 s, daemons included"), random.Random(seed)
    slowest = 0.0
    for number in range(count):
        run = world.project / "orphans" / str(number)
        process = world.train("--run-dir", str(run), FAKE_STEP_S="0.3", FAKE_DAEMON="1")
        phase = chance.choice(("loading", "training", "saving"))
        struck = hit(world, process, run, phase, 1, "forge", chance)
        began, left = time.monotonic(), len(descendants(world))
        problem = no_descendant(world)
        slowest = max(slowest, time.monotonic() - began)
        tally.note(problem if struck else f"{number}: forge had ended, {left} left")
        shutil.rmtree(run, ignore_errors=True)
    tally.note_said = f"the slowest took {slowest:.1f} s"
    return tally
