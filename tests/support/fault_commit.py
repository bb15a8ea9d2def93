"""One commit, broken at each of its calls into the system: what is found afterwards is old or new, never mixed."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fault_tally import Tally

from lora_forge.runs.commit import describe_file, is_as_recorded
from lora_forge.runs.committer import commit_checkpoint, commit_state
from lora_forge.runs.directory import RunDir
from lora_forge.runs.events import Saved, StateFile, StateSaved
from lora_forge.runs.ledger import new_ledger, open_ledger, read_ledger
from lora_forge.runs.record import read_run
from lora_forge.runs.resume import choose_state, is_sound

NAME = "a-run"
BEFORE, LAST = 2, 3
"""Steps that are committed before, and the one whose commit is broken; with it, a state is pruned."""
CALLS = ("open", "write", "fsync", "close", "replace", "rename", "link", "symlink", "unlink", "mkdir", "rmdir")
_HEADER = b'{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}'
_SAFETENSORS = len(_HEADER).to_bytes(8, "little") + _HEADER


def make_committable(folder: Path) -> RunDir:
    """A run with two committed checkpoints and states, and a third of each just saved."""
    run = RunDir(folder)
    run.attempt(1).make()
    run.output.mkdir()
    for step in range(1, LAST + 1):
        (run.attempt(1).output / lora_name(step)).write_bytes(_SAFETENSORS + bytes([step]) * 8)
        state = run.states / f"step{step:08d}"
        state.mkdir(parents=True)
        (state / "optimizer.bin").write_bytes(bytes([step]) * 5000)
    new_ledger(folder).append("run", uuid="0" * 8, name=NAME, steps=12, plan_sha256="")
    for step in range(1, LAST):
        commit_both(run, step)
    return run


def lora_name(step: int) -> str:
    return f"{NAME}-step{step:08d}.safetensors"


def commit_both(run: RunDir, step: int) -> None:
    """What the committer does for one step: the checkpoint, then the state, which lets an older one go."""
    ledger = open_ledger(run.path)
    lora = run.attempt(1).output / lora_name(step)
    commit_checkpoint(run, ledger, 1, Saved(0.0, 0.0, str(lora), step, lora.stat().st_size), lambda *_: ())
    state = run.states / f"step{step:08d}"
    files = tuple(StateFile(*describe_file(path, state)) for path in sorted(state.iterdir()))
    commit_state(run, ledger, 1, StateSaved(0.0, 0.0, state.name, step, files))


def old_or_new(run: RunDir) -> str:
    """Whether the run is exactly as before the commit, or as after any of its records, and can go on."""
    reading = read_ledger(run.path)
    least = 1 + 2 * BEFORE
    if reading.damaged or not least <= len(reading.records) <= least + 3:
        return f"the ledger holds {len(reading.records)} records, damaged {reading.damaged}"
    record = read_run(run.path)
    torn = [kept.file.path for kept in record.checkpoints if not is_as_recorded(run.path, kept.file)]
    torn += [state.name for state in record.states if not is_sound(run.states / state.name, state)]
    chosen = choose_state(run.states, record)
    if torn or chosen.damaged or chosen.state is None:
        return f"torn: {torn}, {chosen}"
    commit_both(run, LAST)
    again = read_run(run.path)
    went_on = [kept.step for kept in again.checkpoints] == [1, 2, 3] and again.states[-1].step == LAST
    return "" if went_on else "the next commit did not succeed"


@contextmanager
def calls_counted(act: Callable[[int, str], None]) -> Iterator[list[int]]:
    """Let ``act`` see each call into the system that a commit makes, before it is made."""
    count, real = [0], {name: getattr(os, name) for name in CALLS}

    def watched(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            count[0] += 1
            act(count[0], name)
            return real[name](*arguments, **named)

        return call

    for name in CALLS:
        setattr(os, name, watched(name))
    try:
        yield count
    finally:
        for name in CALLS:
            setattr(os, name, real[name])


def kill_each_call(folder: Path) -> Tally:
    """SIGKILL before the N-th call of a commit, for all N."""
    tally = Tally("SIGKILL at every call of a commit and its pruning")
    for moment in range(1, 1000):
        run = make_committable(folder / f"at-{moment}")
        child = os.fork()
        if child == 0:
            _commit_and_die(run, moment)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return tally
        tally.note(old_or_new(run))
    raise AssertionError("the commit has no end")


def _commit_and_die(run: RunDir, moment: int) -> None:
    def act(count: int, _name: str) -> None:
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        with calls_counted(act):
            commit_both(run, LAST)
    finally:
        os._exit(0)


def fail_each_call(folder: Path, number: int) -> Tally:
    """ENOSPC or EIO at the N-th call of a commit, for all N: an error in words, what was there before intact."""
    tally = Tally(f"{errno.errorcode[number]} at every call of a commit and its pruning")
    for moment in range(1, 1000):
        run = make_committable(folder / f"{number}-{moment}")
        problem, reached = _commit_and_fail(run, moment, number)
        if not reached:
            return tally
        unsaid = problem is not None and os.strerror(number) not in str(problem)
        tally.note(f"call {moment}: {problem!r} does not say it" if unsaid else old_or_new(run))
    raise AssertionError("the commit has no end")


def _commit_and_fail(run: RunDir, moment: int, number: int) -> tuple[Exception | None, bool]:
    """The error, if it came to one, and whether the commit has that many calls."""

    def act(count: int, _name: str) -> None:
        if count == moment:
            raise OSError(number, os.strerror(number))

    with calls_counted(act) as count:
        try:
            commit_both(run, LAST)
        except Exception as problem:  # noqa: BLE001
            return problem, True
    return None, count[0] >= moment
