"""The runs that there are: list, tell, compare, stop, remove, make anew."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import ForgeError, InvalidInput
from lora_forge.findings import Finding, info, warning

if TYPE_CHECKING:
    from lora_forge.runs.ledger import Fields
    from lora_forge.runs.record import Attempt, RunRecord
    from lora_forge.runs.resume import Difference
    from lora_forge.runs.shelf import ShelvedRun
    from lora_forge.runs.staging import StagedFile
    from lora_forge.workflow.invocation import Invocation
    from lora_forge.workflow.planning import PlanResult
    from lora_forge.workflow.run_task import RunResult, Watcher

LOSS_STEPS = 50
TAIL_BYTES = 64 * 1024
POLL_S = 0.1
MADE_WITH = ("software", "engine", "machine")
_TOLD_ELSEWHERE = ("uuid", "steps", "name", "dataset", "plan", "request")


@dataclass(frozen=True)
class Told:
    """An answer that is plain data, with what was noticed beside it."""

    content: dict[str, object]
    findings: tuple[Finding, ...] = ()
    exit_code: int = 0

    def data(self) -> object:
        return self.content


def list_runs(runs: Path) -> Told:
    """Every run in the folder; that there is no such folder is no problem.

    Raises:
        InvalidInput: it is a file.
    """
    from lora_forge.runs.shelf import shelved

    if runs.exists() and not runs.is_dir():
        raise InvalidInput(f"{runs} is a file, not a folder of runs", "--runs DIR")
    found = shelved(runs)
    findings = tuple(warning("run-damaged", run.problem, where=str(run.folder)) for run in found if run.problem)
    return Told({"runs": [summary(run) for run in found], "folder": str(runs)}, findings)


def summary(run: ShelvedRun) -> dict[str, object]:
    """One run in one row."""
    record = run.record
    row: dict[str, object] = {"run": run.folder.name, "status": run.status}
    if record is None:
        return {**row, "uuid": None, "step": None, "steps": None, "loss": None, "lora_bytes": None, "age_s": None}
    step, loss = _last_heard(record)
    final = next((kept for kept in record.checkpoints if kept.final), None)
    return {
        **row,
        "uuid": record.uuid,
        "step": max(record.step, step) if run.status == "running" else record.step,
        "steps": record.steps,
        "loss": loss,
        "lora_bytes": final.file.size_bytes if final else None,
        "age_s": round(max(0.0, time.time() - record.began)),
    }


def show_run(runs: Path, wanted: str) -> Told:
    """A run's story: its attempts, why each ended, and what was kept."""
    from lora_forge.runs.checkpoints import changed_checkpoints
    from lora_forge.runs.directory import RunDir
    from lora_forge.runs.shelf import find_run

    run = find_run(runs, wanted)
    record = _believed(run)
    facts = {key: value for key, value in record.facts.items() if key not in _TOLD_ELSEWHERE}
    findings = (warning("ledger-damaged", "the ledger was damaged; its sound copy is shown"),) if record.damaged else ()
    told = {
        **summary(run),
        "folder": str(run.folder),
        "attempts": [attempt_row(attempt, record) for attempt in record.attempts],
        "checkpoints": [
            {"step": kept.step, "attempt": kept.attempt, "final": kept.final, **kept.file._asdict()}
            for kept in record.checkpoints
        ],
        "states": [{"step": state.step, "name": state.name} for state in record.states],
        "samples": [file._asdict() for file in record.samples],
        "base_models_sha256": {name: model.sha256 for name, model in record.models.items()},
        "images": len(_files(record)),
        "plan": dict(record.plan),
        "made_of": facts,
    }
    return Told(told, (*findings, *changed_checkpoints(RunDir(run.folder), record)))


def attempt_row(attempt: Attempt, record: RunRecord) -> dict[str, object]:
    """One attempt; of one that nobody could close yet, how far it got is read from its events."""
    end = attempt.end or {}
    heard = _heard_in(record, attempt)[0] if attempt.end is None else 0
    return {
        "number": attempt.number,
        "began": attempt.began,
        "ended": attempt.ended,
        "from_step": attempt.from_step,
        "to_step": attempt.to_step if attempt.to_step is not None else max(heard, attempt.from_step),
        "outcome": attempt.outcome,
        "exit_code": end.get("exit_code"),
        "signal": end.get("stop_signal") or end.get("signal"),
        "cause": end.get("cause"),
        "message": end.get("message"),
        **{section: attempt.fields.get(section) for section in MADE_WITH},
    }


def diff_runs(runs: Path, first: str, second: str) -> Told:
    """What differs between two runs: plan, data, and everything they were made with."""
    from lora_forge.runs.resume import dataset_differences, plan_differences
    from lora_forge.runs.shelf import find_run

    one, other = (_believed(find_run(runs, wanted)) for wanted in (first, second))
    plans = plan_differences(_plan(one), _plan(other))
    data = dataset_differences(_files(one), _files(other))
    made = list(_fact_differences(one, other))
    sections = {"plan": plans, "data": data, "environment": made}
    return Told({name: [_as_row(each) for each in found] for name, found in sections.items()})


def stop_run(runs: Path, wanted: str, *, wait_s: float) -> Told:
    """Ask the process that holds the run to stop, as Ctrl-C would, and wait until it has.

    Raises:
        ForgeError: it runs on another machine, or did not end in time.
    """
    from lora_forge.runs.lock import is_held, read_holder
    from lora_forge.runs.shelf import find_run, read_shelved

    run = find_run(runs, wanted)
    holder = read_holder(run.folder)
    if not is_held(run.folder) or holder is None:
        return Told(summary(run), (info("not-running", f"{run.folder.name} is not running"),))
    if not holder.lives():
        hint = "stop it there" if holder.is_foreign() else "look with: forge runs show"
        raise ForgeError(f"{run.folder.name} is held by process {holder.pid}, which is not on this machine", hint)
    os.kill(holder.pid, signal.SIGTERM)
    deadline = time.monotonic() + wait_s
    while is_held(run.folder):
        if time.monotonic() > deadline:
            message = f"{run.folder.name} was asked to stop, but process {holder.pid} still runs after {wait_s:g} s"
            raise ForgeError(message, "ask again: a second request ends it at once")
        time.sleep(POLL_S)
    return Told(summary(read_shelved(run.folder)))


def remove_run(runs: Path, wanted: str, *, keep_lora: bool) -> Told:
    """Delete one run, named exactly, that nobody holds and that lies in the runs folder itself.

    Raises:
        Locked: it is being trained.
        InvalidInput: there is no such run, or it only is a link to one.
        ForgeError: the disk does not let go of it.
    """
    from lora_forge.runs.disk import reason
    from lora_forge.runs.lock import holding_run
    from lora_forge.runs.shelf import find_run

    run = find_run(runs, wanted, exact=True)
    if run.folder.is_symlink() or run.folder.resolve().parent != runs.resolve():
        raise InvalidInput(f"{run.folder} is a link out of {runs}", "remove the link by hand")
    with holding_run(run.folder):
        try:
            kept = _kept_loras(run) if keep_lora else []
            _remove(run.folder, kept)
        except OSError as problem:
            message = f"{run.folder.name} cannot be removed: {reason(problem)}"
            raise ForgeError(message, "mend that, and remove it again") from problem
    return Told({"removed": run.folder.name, "kept": [str(path) for path in kept]})


def reproduce_call(call: Invocation, runs: Path, wanted: str) -> tuple[Invocation, RunRecord]:
    """The call that asks for the same run once more, as its child."""
    from lora_forge.runs.directory import RunDir
    from lora_forge.runs.shelf import find_run
    from lora_forge.workflow.holdout import stored_holdout
    from lora_forge.workflow.run_request import read_request

    record = _believed(find_run(runs, wanted))
    again = read_request(call, RunDir(record.folder), record)
    flags, holdout = {**again.flags, "runs": str(runs)}, stored_holdout(record)
    return replace(again, flags=flags, run_dir=None, parent=record.uuid, holdout=holdout), record


def train_again(call: Invocation, runs: Path, wanted: str, watcher: Watcher) -> RunResult:
    """Train a run anew, as its child; what cannot be matched is said before the training, and with its end.

    Raises:
        ForgeError: as ``start_run``.
    """
    from lora_forge.workflow.run_training import start_run

    again, record = reproduce_call(call, runs, wanted)
    said: list[Finding] = []

    def notice(planned: PlanResult) -> list[Finding]:
        said[:] = (_not_matched(each) for each in _unmatched(planned, record))
        return said

    try:
        return start_run(again, watcher, notice=notice)
    except ForgeError as failure:
        failure.findings = (*failure.findings, *said)
        raise


def reproduce_run(call: Invocation, runs: Path, wanted: str) -> Told:
    """Build the same plan from a ledger, and say what cannot be matched here and now.

    Raises:
        InvalidInput: its request cannot be read, or there is no dataset or preset to plan with any more.
    """
    from lora_forge.workflow.planning import plan_run

    again, record = reproduce_call(call, runs, wanted)
    planned = plan_run(again)
    unmatched = list(_unmatched(planned, record))
    findings = tuple(map(_not_matched, unmatched))
    told = {
        "reproduces": record.uuid,
        "matched": not unmatched,
        "unmatched": [_as_row(each) for each in unmatched],
        **planned.data(),
    }
    return Told(told, (*planned.findings, *findings))


def _not_matched(difference: Difference) -> Finding:
    return warning("not-matched", f"cannot be matched: {difference}")


def _unmatched(planned: PlanResult, record: RunRecord) -> Iterator[Difference]:
    from lora_forge.runs.directory import RunDir
    from lora_forge.runs.resume import dataset_differences, plan_differences
    from lora_forge.runs.staging import measure_dataset
    from lora_forge.workflow.run_comparing import model_changes, named_as_begun
    from lora_forge.workflow.run_layout import made_with, plan_facts, staged_subsets

    yield from plan_differences(_plan(record), plan_facts(planned, RunDir(record.folder)))
    subsets = staged_subsets(named_as_begun(planned, record).gathered)
    yield from dataset_differences(_files(record), measure_dataset(subsets))
    yield from model_changes(planned.gathered, record)
    for section, facts in made_with(planned.gathered).items():
        yield from _table_differences(section, record.made_with(section), facts)


def _fact_differences(one: RunRecord, other: RunRecord) -> Iterator[Difference]:
    for section in ("preset", "base_models"):
        yield from _table_differences(section, one.facts.get(section), other.facts.get(section))
    for section in MADE_WITH:
        yield from _table_differences(section, one.made_with(section), other.made_with(section))
    mine, theirs = (record.attempts[-1].fields["environment"] if record.attempts else {} for record in (one, other))
    yield from _table_differences("environment", mine, theirs)


def _table_differences(section: str, before: object, after: object) -> Iterator[Difference]:
    from lora_forge.runs.resume import Difference

    old, new = (table if isinstance(table, dict) else {} for table in (before, after))
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield Difference(f"{section}.{key}", old.get(key), new.get(key), breaks=False)


def _believed(run: ShelvedRun) -> RunRecord:
    if run.record is None:
        raise InvalidInput(run.problem, "its files are still there; output/ holds what was committed")
    return run.record


def _plan(record: RunRecord) -> Fields:
    from lora_forge.workflow.run_comparing import stored_plan

    return stored_plan(record)


def _files(record: RunRecord) -> list[StagedFile]:
    from lora_forge.workflow.run_comparing import stored_files

    return stored_files(record)


def _as_row(difference: Difference) -> dict[str, object]:
    return {"key": difference.key, "before": difference.before, "after": difference.after}


def _kept_loras(run: ShelvedRun) -> list[Path]:
    """Every LoRA of the run, in ``output/``, once nothing that is whole lies in an attempt's folder alone."""
    from lora_forge.runs.checkpoints import gather_loras
    from lora_forge.runs.directory import RunDir

    gather_loras(RunDir(run.folder), run.record)
    return sorted(RunDir(run.folder).output.glob("*.safetensors"))


def _remove(folder: Path, kept: Sequence[Path]) -> None:
    """The name goes first, then the ledger, so that half a removed run is none; or all goes but ``kept``."""
    going = folder if kept else folder.with_name(f".{folder.name}.removing")
    if not kept:
        _delete(going)  # what a removal that was killed left
        folder.rename(going)
    for entry in sorted(going.iterdir(), key=lambda entry: "ledger" not in entry.name):
        if not kept or entry.name != "output":
            _delete(entry)
    if not kept:
        going.rmdir()


def _delete(path: Path) -> None:
    """A folder with all that is in it, or a file, or a link itself; nothing where there is nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _last_heard(record: RunRecord) -> tuple[int, float | None]:
    """The last step and the mean loss up to it, of the last attempt that took any step."""
    attempts = reversed(record.attempts)  # by the ledger: whatever else lies in their folder is none
    return next((heard for attempt in attempts if (heard := _heard_in(record, attempt))[0]), (0, None))


def _heard_in(record: RunRecord, attempt: Attempt) -> tuple[int, float | None]:
    from lora_forge.runs.directory import RunDir
    from lora_forge.runs.events import StepTaken, parse_event

    try:
        with RunDir(record.folder).attempt(attempt.number).events_jsonl.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            events = [parse_event(line) for line in file.read().split(b"\n")]
    except OSError:
        return 0, None
    steps = [event for event in events if isinstance(event, StepTaken)][-LOSS_STEPS:]
    if not steps:
        return 0, None
    return steps[-1].step, round(sum(step.loss for step in steps) / len(steps), 4)
