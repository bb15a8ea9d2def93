"""Going on with a run: the same training, from the last state that can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from lora_forge.errors import DatasetError, ForgeError, InvalidInput
from lora_forge.findings import Finding, Severity, info, warning
from lora_forge.runs.signals import stop_on_signals
from lora_forge.workflow.invocation import Invocation
from lora_forge.workflow.planning import PlanResult
from lora_forge.workflow.run_choosing import begun_anew, latest, nothing_unfinished, plan_to_go_on
from lora_forge.workflow.run_comparing import compare, named_as_begun
from lora_forge.workflow.run_ending import commit_final, finish
from lora_forge.workflow.run_layout import show_holdout
from lora_forge.workflow.run_task import STOP_GRACE_S, RunResult, Task, Watcher
from lora_forge.workflow.run_training import (
    checkpoint_check,
    looked_plan,
    ready_plan,
    run_attempt,
    start_held,
    start_run,
)

if TYPE_CHECKING:
    from lora_forge.runs.directory import RunDir
    from lora_forge.runs.events import Event
    from lora_forge.runs.record import RunRecord, State


@dataclass(frozen=True)
class AlreadyDone:
    """A finished run: nothing was started, and its LoRA still is what the ledger says."""

    run: Path
    lora: Path
    size_bytes: int
    steps: int
    findings: tuple[Finding, ...] = ()
    exit_code: int = 0

    @property
    def noticed(self) -> tuple[Finding, ...]:
        """Nothing but the findings: no plan was made that could have had others."""
        return self.findings

    def data(self) -> dict[str, object]:
        return {
            "run_dir": str(self.run),
            "already_done": True,
            "verified": True,
            "lora": str(self.lora),
            "size_bytes": self.size_bytes,
            "steps": self.steps,
        }


Result: TypeAlias = "RunResult | AlreadyDone"


@stop_on_signals()
def resume_run(call: Invocation, watcher: Watcher, *, grace_s: float = STOP_GRACE_S) -> Result:
    """Go on with the named run directory, else with the latest unfinished run of this name; without any, begin one.

    One command then serves a job that may be cut off at any time; that it begins is told before it does.

    Raises:
        InvalidInput: what was asked for would be another training, or the run cannot be read.
        Locked: the run is being trained.
        EngineError, OutOfMemory, …: as ``start_run``.
    """
    if call.run_dir is not None:
        folder = call.cwd / call.run_dir
        if not folder.is_dir() or not any(folder.iterdir()):
            return start_run(call, watcher, grace_s=grace_s, notice=lambda _: begun_anew(f"no run in {folder}"))
        return resume_folder(folder, call, watcher, grace_s=grace_s)
    planned = plan_to_go_on(call)
    folder_found = latest(call, planned)
    if folder_found is None:
        nothing = begun_anew(nothing_unfinished(call, planned))
        return start_run(call, watcher, grace_s=grace_s, notice=lambda _: nothing)
    return resume_folder(folder_found, replace(call, run_dir=folder_found), watcher, grace_s=grace_s, asked=planned)


def resume_folder(
    folder: Path, call: Invocation, watcher: Watcher, *, grace_s: float = STOP_GRACE_S, asked: PlanResult | None = None
) -> Result:
    """Go on with one run, held by this process from before its ledger is read."""
    from lora_forge.runs.directory import RunDir
    from lora_forge.runs.ledger import has_ledger, open_ledger
    from lora_forge.runs.lock import holding_run
    from lora_forge.runs.record import read_run

    run = RunDir(folder)
    _refuse_foreign(folder)
    with holding_run(folder):
        if not has_ledger(folder):
            return _begin_again(run, call, watcher, grace_s)
        record = read_run(folder)
        if record.done:
            return already_done(run, record)
        planned = named_as_begun(asked_plan(call, run, record, asked), record)
        task = Task(call, planned, run, open_ledger(folder), watcher, grace_s)
        return _go_on(task, record)


def _refuse_foreign(folder: Path) -> None:
    """A folder that holds other things than a run; nothing of ours is left in it, not even a lock."""
    from lora_forge.runs.directory import never_began
    from lora_forge.runs.ledger import has_ledger
    from lora_forge.runs.lock import LOCK

    if never_began(folder) or has_ledger(folder):  # in this order: another start may begin its ledger just now
        return
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.name != LOCK)
    message = f"{folder} is no run of forge: it holds {foreign[0]!r} and no ledger"
    raise InvalidInput(message, "--run-dir with the folder of a run; forge runs ls")


def _begin_again(run: RunDir, call: Invocation, watcher: Watcher, grace_s: float) -> RunResult:
    """A run that was killed while it was laid out: nothing had begun, so begin."""
    _refuse_foreign(run.path)
    planned = looked_plan(call, watcher, lambda _: begun_anew(f"no run had begun in {run.path}"))
    return start_held(call, planned, run.path, watcher, dry_run=False, grace_s=grace_s)


def already_done(run: RunDir, record: RunRecord) -> AlreadyDone:
    """Say so, once every checkpoint was compared with the ledger and, where it had to be, put back.

    Raises:
        ForgeError: the finished LoRA is no longer what was committed, and no attempt holds it any more.
    """
    from lora_forge.runs.checkpoints import restore_checkpoints

    final = next(kept for kept in record.checkpoints if kept.final)
    lora = run.path / final.file.path
    notes = restore_checkpoints(run, record)
    lost = next((note for note in notes if note.where == str(lora) and note.severity is Severity.WARNING), None)
    if lost is not None:
        others = [note for note in notes if note is not lost]
        raise ForgeError(f"{run.path.name} is done, but {lost.message}", lost.hint, findings=others)
    return AlreadyDone(run.path, lora, final.file.size_bytes, final.step, tuple(notes))


def asked_plan(call: Invocation, run: RunDir, record: RunRecord, asked: PlanResult | None) -> PlanResult:
    """The plan of this call: as asked where a preset was named or found, else the run's own with what was given."""
    from lora_forge.workflow.holdout import stored_holdout
    from lora_forge.workflow.run_request import read_request

    call = replace(call, holdout=stored_holdout(record))
    if asked is not None:
        return ready_plan(replace(call, run_dir=run.path))
    if "preset" in call.flags:
        return ready_plan(call)
    return ready_plan(read_request(call, run, record))


def _go_on(task: Task, record: RunRecord) -> RunResult:
    """Compare, commit what a killed forge left uncommitted, choose the state, train."""
    from lora_forge.runs.caches import cache_removed, forget_caches, remove_damaged_caches
    from lora_forge.runs.prune import drop_states, sweep_states
    from lora_forge.runs.record import fold
    from lora_forge.runs.resume import choose_state

    run, ledger = task.run, task.ledger
    notes = _look_over(task, record)
    finished = adopt(task, record, notes)
    if finished is not None:
        return finished
    choice = choose_state(run.states, fold(run.path, ledger.records))
    for state in choice.damaged:
        message = f"state {state.name} is not what was committed; the one before it is used"
        notes.append(warning("state-damaged", message, where=str(run.states / state.name)))
    drop_states(run, ledger, choice.damaged, "not as committed")
    sweep_states(run, ledger)
    if choice.state is None:
        forget_caches(run)
    notes += [cache_removed(path) for path in remove_damaged_caches(run)]
    notes.append(_from_where(record, choice.state))
    told = replace(task.planned, findings=(*task.planned.findings, *notes))
    return run_attempt(replace(task, planned=told), choice.state)


def _look_over(task: Task, record: RunRecord) -> list[Finding]:
    """Close what was killed, refuse another training, mend what was committed; all that is to be said of it."""
    from lora_forge.runs.checkpoints import restore_checkpoints

    notes = close_killed(task, record) + compare(task, record)
    with suppress(DatasetError):  # a view for people: the ledger holds it
        show_holdout(task.planned, task.run)
    if record.damaged:
        where = str(task.run.path)
        notes.append(warning("ledger-damaged", "the ledger was damaged; its sound copy was taken", where=where))
    return notes + restore_checkpoints(task.run, record)


def close_killed(task: Task, record: RunRecord) -> list[Finding]:
    """Write down the end that forge was not left to write, as far as the attempt's events tell of it."""
    from lora_forge.runs.events import Ended, StepTaken, read_events
    from lora_forge.runs.record import ATTEMPT_END, KILLED
    from lora_forge.runs.samples import commit_samples

    notes: list[Finding] = []
    prompts = task.planned.planned.plan.sampling.prompts.value
    for attempt in record.attempts:
        if attempt.end is not None:
            continue
        notes += commit_samples(task.run, task.ledger, attempt.number, prompts)
        events = read_events(task.run.attempt(attempt.number).events_jsonl)
        steps = [event.step for event in events if isinstance(event, StepTaken)]
        last = round(events[-1].wall, 3) if events else None
        ended = next((event.outcome for event in events if isinstance(event, Ended)), None)
        task.ledger.append(
            ATTEMPT_END,
            number=attempt.number,
            outcome=ended or KILLED,
            exit_code=None,
            signal=None,
            stop_signal=None,
            killed=False,
            to_step=max([attempt.from_step, *steps]),
            wall_s=round(max(0.0, last - attempt.began), 1) if last else 0.0,
            cause=None,
            message=None,
            last_heard=last,
        )
    return notes


def _from_where(record: RunRecord, state: State | None) -> Finding:
    attempt = f"attempt {record.next_attempt} of {record.folder.name}"
    if state is None:
        return info("begun-anew", f"{attempt}: no state was committed yet, so it begins at step 0")
    return info("resumed", f"{attempt}: goes on from step {state.step:,} of {record.steps:,}")


def adopt(task: Task, record: RunRecord, notes: Sequence[Finding] = ()) -> RunResult | None:
    """Commit LoRA files that were saved whole just before forge was killed; a finished one finishes the run.

    States are not adopted: they are pickle, and nobody vouches for them.
    """
    from lora_forge.runs.events import Ended, Saved, read_events

    for attempt in record.attempts:
        if attempt.end is not None and attempt.number != len(record.attempts):
            continue
        events = read_events(task.run.attempt(attempt.number).events_jsonl)
        saved = tuple(event for event in events if isinstance(event, Saved))
        _adopt_checkpoints(task, attempt.number, saved)
        ended = next((event for event in events if isinstance(event, Ended)), None)
        if ended and ended.outcome == "done" and _final_is_sound(task, attempt.number, saved):
            commit_final(task, attempt.number, saved)
            adopted = info("adopted", "the finished LoRA of a killed forge was verified and committed")
            return finish(task, (*notes, adopted))
    return None


def _adopt_checkpoints(task: Task, number: int, saved: Sequence[Event]) -> None:
    from lora_forge.runs.committer import commit_checkpoint
    from lora_forge.runs.events import Saved

    check = checkpoint_check(task)
    for event in saved:
        if isinstance(event, Saved) and Path(event.file).name != task.final:
            try:
                commit_checkpoint(task.run, task.ledger, number, event, check)
            except (OSError, ValueError, ForgeError):
                continue  # not whole: it will be made again


def _final_is_sound(task: Task, number: int, saved: Sequence[Event]) -> bool:
    from lora_forge.runs.cause import refusal
    from lora_forge.runs.events import Saved
    from lora_forge.runs.verify import verify_lora
    from lora_forge.workflow.run_layout import expected_lora

    path = task.run.attempt(number).output / task.final
    own = [event for event in saved if isinstance(event, Saved)]
    return refusal(verify_lora(path, expected_lora(task.planned), own)) is None
