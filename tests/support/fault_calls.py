"""Real system calls of a commit, a save, a ledger's life and a changed resume: killed or failed, one after another."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from fault_commit import LAST, lora_name, make_committable, old_or_new
from fault_damage import copied
from fault_injection import ALL_CALLS, CHANGES, NO_STRACE, moments_in, some_of, strace, strace_works, was_injected
from fault_tally import Reference, Tally, as_reference, resume, resumes_to
from fault_watching import ended, has_entered, no_descendant, wait_until
from fault_world import EVERY, NAME, World, lora_content

from lora_forge.runs.commit import is_as_recorded
from lora_forge.runs.directory import RunDir
from lora_forge.runs.ledger import LEDGER, MIRROR, has_ledger
from lora_forge.runs.lock import read_holder
from lora_forge.runs.record import read_run

COMMITS = """
import sys; sys.path[:0] = {places!r}
from pathlib import Path
from fault_commit import LAST, RunDir, commit_both
commit_both(RunDir(Path({run!r})), LAST)
"""
FAILS = (*(call for call in CHANGES if call != "copy_file_range"), "rename", "renameat", "renameat2", "mkdir")
WAYS = {errno.ENOSPC: ("disk-full", 1), errno.EIO: ("mount-lost", 33)}


def kill_each_system_call(folder: Path, at_most: int | None = None) -> Tally:
    """SIGKILL at the N-th of each system call of a commit and its pruning, on the run's own files."""
    tally = Tally("SIGKILL at every system call of a commit and its pruning")
    if not strace_works():
        tally.not_tried = NO_STRACE
        return tally
    log = folder / "calls"
    _commit_traced(make_committable(folder / "whole"), log)
    for call, moment in some_of(moments_in(log), at_most):
        run = make_committable(folder / f"{call}-{moment}")
        code = _commit_traced(run, Path(os.devnull), (call,), f"signal=SIGKILL:when={moment}")
        tally.note(old_or_new(run) if code else f"{call} {moment}: nobody was killed")
        shutil.rmtree(run.path)
    return tally


def _commit_traced(run: RunDir, log: Path, calls: tuple[str, ...] = ALL_CALLS, inject: str = "") -> int:
    places = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    code = COMMITS.format(places=places, run=str(run.path))
    command = [*strace(log, _touched(run), calls, inject), sys.executable, "-B", "-c", code]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), done.stderr.decode()
    return done.returncode


def _touched(run: RunDir) -> list[Path]:
    """Every path that the last commit touches."""
    lora = lora_name(LAST)
    names = [run.path / name for name in (LEDGER, MIRROR, f".{LEDGER}.pending", f".{MIRROR}.pending")]
    names += [run.path, run.output, run.output / lora, run.output / f".{lora}.pending", run.attempt(1).output / lora]
    states = [run.states / f"step{step:08d}" for step in (1, LAST)]
    return [*names, run.states, *states, *(state / "optimizer.bin" for state in states)]


def fail_each_save(world: World, reference: Reference, number: int, at_most: int | None = None) -> Tally:
    """A full or broken disk at the N-th write of a checkpoint's LoRA and state, as the trainer saves them."""
    tally = Tally(f"{errno.errorcode[number]} at every write of a LoRA's and a state's save")
    if not strace_works():
        tally.not_tried = NO_STRACE
        return tally
    log = world.root / "save-calls"
    run = world.project / "saves-whole"
    _train_behind(world, run, _saved_paths(run), log)
    shutil.rmtree(run)
    for call, moment in some_of([each for each in moments_in(log) if each[0] in FAILS], at_most):
        run = world.project / f"save-{errno.errorcode[number]}-{call}-{moment}"
        tally.note(_save_failed(world, reference, run, number, call, moment))
        shutil.rmtree(run, ignore_errors=True)
    return tally


def _saved_paths(run: Path) -> list[Path]:
    """What the save of the second checkpoint touches, so that there is a first one to lose."""
    step, output = f"step{2 * EVERY:08d}", run / "attempts" / "01" / "output"
    files = ("model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl", "guest.json")
    partial = run / "states" / f".{step}.partial"
    loras = [output / f"{NAME}-{step}.partial.safetensors", output / f"{NAME}-{step}.safetensors"]
    return [*loras, partial, *(partial / file for file in files), run / "states" / step]


def _train_behind(
    world: World, run: Path, paths: list[Path], log: Path, calls: tuple[str, ...] = ALL_CALLS, inject: str = ""
) -> tuple[int, dict[str, Any]]:
    """A run whose trainer is traced, and nothing else."""
    behind = json.dumps(strace(log, paths, calls, inject))
    return ended(world.train("--run-dir", str(run), FAKE_STRACE=behind))


def _save_failed(world: World, reference: Reference, run: Path, number: int, call: str, moment: int) -> str:
    """A full disk stays full; a broken one strikes once."""
    where = f"{call} {moment}"
    log = world.root / "save-log"
    when = f"{moment}+" if number == errno.ENOSPC else str(moment)
    code, told = _train_behind(
        world, run, _saved_paths(run), log, (call,), f"error={errno.errorcode[number]}:when={when}"
    )
    if not was_injected(log):
        return f"{where}: it was not tried"
    if code and (told["error"]["code"], code) != WAYS[number]:
        return f"{where}: exit {code}, {told['error']}"
    record = read_run(run)
    if not any(kept.step == EVERY and is_as_recorded(run, kept.file) for kept in record.checkpoints):
        return f"{where}: the checkpoint before it is not intact"
    return f"{where}: {problem}" if (problem := resumes_to(world, run, reference)) else ""


def fail_each_record(world: World, reference: Reference, number: int, at_most: int | None = None) -> Tally:
    """A full or broken disk at the N-th write of forge's own files, from the ledger's first record to its last."""
    tally = Tally(f"{errno.errorcode[number]} at every write of a run's ledger and result")
    if not strace_works():
        tally.not_tried = NO_STRACE
        return tally
    log, run = world.root / "record-calls", world.project / "records-whole"
    ended(world.start(*world.arguments("--run-dir", str(run)), behind=strace(log, _records(run), FAILS)))
    shutil.rmtree(run)
    for call, moment in some_of(moments_in(log), at_most):
        run = world.project / f"record-{errno.errorcode[number]}-{call}-{moment}"
        tally.note(_record_failed(world, reference, run, number, call, moment))
        shutil.rmtree(run, ignore_errors=True)
    return tally


def _records(run: Path) -> list[Path]:
    files = [run / name for name in (LEDGER, MIRROR, "result.json")]
    return [*files, *(path.with_name(f".{path.name}.pending") for path in files)]


def _record_failed(world: World, reference: Reference, run: Path, number: int, call: str, moment: int) -> str:
    """Whatever failed, it ends in words that say so, and goes on once there is room again."""
    where, log = f"{call} {moment}", world.root / "record-log"
    when = f"{moment}+" if number == errno.ENOSPC else str(moment)
    inject = f"error={errno.errorcode[number]}:when={when}"
    behind = strace(log, _records(run), (call,), inject)
    process = world.start(*world.arguments("--run-dir", str(run)), behind=behind)
    out, err = process.communicate()
    if not out or b"Traceback" in err:
        return f"{where}: exit {process.returncode} and no answer; {err.decode(errors='replace')[-300:]}"
    told = json.loads(out)
    if not was_injected(log):
        return f"{where}: it was not tried"
    said = json.dumps([told["error"], told["findings"]])
    if process.returncode and (os.strerror(number) not in said or "(None)" in said):
        return f"{where}: exit {process.returncode}, {told['error']}"
    if number == errno.ENOSPC and process.returncode and told["error"]["code"] != "disk-full":
        return f"{where}: full disk told as {told['error']['code']}"
    if problem := no_descendant(world):
        return f"{where}: {problem}"
    return f"{where}: {problem}" if (problem := resumes_to(world, run, reference)) else ""


def kill_changed_resume(
    world: World, reference: Reference, stopped: Path, at_most: int | None = None, change: str = "2"
) -> Tally:
    """SIGKILL of forge at every call by which a resume with another cadence writes it down; then resume unaided."""
    tally = Tally("SIGKILL at every write of a changed resume, then resume")
    if not strace_works():
        tally.not_tried = NO_STRACE
        return tally
    log, run = world.root / "changed-calls", world.project / "runs" / "changed-whole"
    copied(stopped, run)
    process = _changed(world, run, change, strace(log, _plans(run), ALL_CALLS))
    wait_until(lambda: has_entered("loading", run, 2, process), process)
    holder = read_holder(run)
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)  # what comes later are commits, and have rows of their own
    process.communicate()
    shutil.rmtree(run)
    for call, moment in some_of(moments_in(log), at_most):
        run = copied(stopped, world.project / "runs" / f"changed-{call}-{moment}")
        tally.note(_changed_and_killed(world, reference, run, change, call, moment))
        shutil.rmtree(run, ignore_errors=True)
    return tally


def _plans(run: Path) -> list[Path]:
    files = [run / name for name in ("plan.json", "request.json", "preset.yaml", LEDGER, MIRROR)]
    return [*files, *(path.with_name(f".{path.name}.pending") for path in files)]


def _changed(world: World, run: Path, change: str, behind: list[str]) -> subprocess.Popen[bytes]:
    more = ("--resume", "--run-dir", str(run), "--set", f"schedule.checkpoint_every={change}")
    return world.start(*world.arguments(*more), behind=behind)


def _changed_and_killed(world: World, reference: Reference, run: Path, change: str, call: str, moment: int) -> str:
    inject = f"signal=SIGKILL:when={moment}"
    process = _changed(world, run, change, strace(Path(os.devnull), _plans(run), (call,), inject))
    process.communicate()
    if problem := no_descendant(world):
        return f"{call} {moment}: {problem}"
    assert has_ledger(run)
    code, told = resume(world, run, by_id=True)
    if code:
        return f"{call} {moment}: resume ended with {code}: {told['error']}"
    lora = f"{NAME}.safetensors"
    same = lora_content(run / "output" / lora) == reference.loras[lora]
    return "" if same else f"{call} {moment}: {as_reference(run, reference)}"
