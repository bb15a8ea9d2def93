"""Damage to what lies on the disk: cut files and flipped bits are noticed, and what was sound is used."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fault_tally import Reference, Tally, as_reference, resume
from fault_watching import ended, steps_taken, wait_until
from fault_world import World

from lora_forge.runs.caches import damaged_caches
from lora_forge.runs.directory import RunDir
from lora_forge.runs.ledger import LEDGER, MIRROR
from lora_forge.runs.record import RunRecord, read_run
from lora_forge.runs.resume import choose_state

VIEWS = ("plan.json", "request.json", "preset.yaml")
"""Written for people, or for convenience: the ledger, or the whole command again, stands in for each."""


SHARED_FROM_BYTES = 100_000


def stopped_run(world: World, name: str = "stopped-001") -> Path:
    """A run that was stopped with two states committed."""
    run = world.project / "runs" / name
    process = world.train("--run-dir", str(run), FAKE_STEP_S="0.25")
    wait_until(lambda: len(steps_taken(run)) >= 8, process)
    process.send_signal(signal.SIGTERM)
    code, told = ended(process)
    assert code == 143, told
    assert "state kept at step" in told["error"]["message"]
    return run


def copied(run: Path, to: Path) -> Path:
    """A copy to break; forge replaces files and never writes into one, so the big ones may be shared."""

    def copy(source: str, target: str) -> None:
        (os.link if os.path.getsize(source) > SHARED_FROM_BYTES else shutil.copy2)(source, target)

    shutil.copytree(run, to, symlinks=True, copy_function=copy)
    return to


def mutations(
    world: World, reference: Reference, stopped: Path, folder: Path, count: int, *, resumed: int, seed: int = 1
) -> Tally:
    """Cut files and flipped bits in every kind of file in turn; the first ``resumed`` are gone on with to the end."""
    tally = Tally("truncations and bit flips of ledger, states, caches, plan, request")
    chance, before, names = random.Random(seed), read_run(stopped), mutated_names(stopped)
    for number in range(count):
        run, name = copied(stopped, folder / f"mutated-{number}"), names[number % len(names)]
        mutate(run / name, chance)
        problem = noticed(run, name, before)
        if not problem and number < resumed:
            problem = _went_on(world, run, name, reference)
        tally.note(f"{name}: {problem}" if problem else "")
        shutil.rmtree(run)
    return tally


def mutated_names(stopped: Path) -> list[str]:
    """Ledger and mirror as often as each other kind, in a fair round."""
    newest = max(read_run(stopped).states, key=lambda state: state.seq)
    caches = sorted(path.relative_to(stopped).as_posix() for path in stopped.rglob("*.npz"))
    assert caches, "the fake engine caches to disk"
    return [LEDGER, caches[0], *VIEWS, MIRROR, *(f"states/{newest.name}/{file.path}" for file in newest.files)]


def mutate(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    path.unlink()  # it may be shared with the run that it was copied from
    if chance.getrandbits(1):
        path.write_bytes(content[: chance.randrange(len(content))])
    else:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)


def noticed(run: Path, name: str, before: RunRecord) -> str:
    """What reading alone must notice; views are compared when the run goes on."""
    checks: dict[str, Callable[[], str]] = {LEDGER: lambda: _ledger(run, before), MIRROR: lambda: _ledger(run, before)}
    checks |= dict.fromkeys(VIEWS, lambda: "")
    return checks.get(name, lambda: _cache(run, name) if name.endswith(".npz") else _state(run, before))()


def _ledger(run: Path, before: RunRecord) -> str:
    record = read_run(run)
    harmless = (run / LEDGER).read_bytes().startswith((run / MIRROR).read_bytes())
    if not (record.damaged or harmless):
        return "not noticed"
    same = (record.checkpoints, record.states, record.attempts) == (before.checkpoints, before.states, before.attempts)
    chosen = choose_state(run / "states", record).state
    newest = max(before.states, key=lambda state: state.seq)
    return "" if same and chosen and chosen.step == newest.step else "the sound copy was not used"


def _state(run: Path, before: RunRecord) -> str:
    chosen = choose_state(run / "states", read_run(run))
    newest = max(before.states, key=lambda state: state.seq)
    return "" if chosen.state and chosen.state.step < newest.step and chosen.damaged else f"{chosen}"


def _cache(run: Path, name: str) -> str:
    """Found damaged; or the flip hit what holds no number, and every array still is what it was."""
    if run / name in damaged_caches(RunDir(run)):
        return ""
    sound = next(path for path in sorted((run / name).parent.glob("*.npz")) if path != run / name)
    try:
        with np.load(run / name) as found, np.load(sound) as other:
            same = sorted(found.files) == sorted(other.files) and all(found[key].size for key in found.files)
    except Exception as problem:  # noqa: BLE001
        return f"not noticed, and it cannot be read: {problem!r}"
    return "" if same else "not noticed"


def _went_on(world: World, run: Path, name: str, reference: Reference) -> str:
    """The run's own resume; where a request is unreadable it may be refused by name, and the whole command goes on."""
    code, told = resume(world, run, by_id=True)
    if code == 3 and name in VIEWS[1:] and name in json.dumps([told["error"], told["findings"]]):
        code, told = resume(world, run)
    if code:
        return f"resume ended with {code}: {told['error']}"
    return as_reference(run, reference)
