"""How an attempt ends: the LoRA is believed, not the exit code, and the ledger hears it first."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import ForgeError, Interrupted
from lora_forge.findings import Finding, Severity, info, warning
from lora_forge.workflow.run_layout import expected_lora
from lora_forge.workflow.run_task import RunResult, Task

if TYPE_CHECKING:
    from lora_forge.runs.diagnosis_run import Known
    from lora_forge.runs.events import Saved
    from lora_forge.runs.outcome import Outcome


def conclude(task: Task, number: int, outcome: Outcome, undone: tuple[Finding, ...] = ()) -> RunResult:
    """Believe the LoRA, not the exit code: done means that the file is what the plan said."""
    from lora_forge.runs.cause import cause_of, refusal, untidy_end
    from lora_forge.runs.verify import verify_lora

    saved = task.run.attempt(number).output / task.final
    failure = cause_of(outcome, known(task))
    noticed = () if failure else tuple(verify_lora(saved, expected_lora(task.planned), outcome.saved))
    failure = failure or refusal(noticed, known(task))
    _record_end(task, number, outcome, failure)
    if failure:
        raise with_way_on(task, failure, undone)
    commit_final(task, number, outcome.saved)
    return finish(task, (*undone, *noticed, *untidy_end(outcome)), outcome)


def known(task: Task) -> Known:
    """What a diagnosis may draw on: the run's own folder, and what its plan could still give up."""
    from lora_forge.plan.memory import blocks_of
    from lora_forge.runs.record import fold
    from lora_forge.workflow.run_diagnosis import known_of

    gathered = task.planned.gathered
    blocks = blocks_of(gathered.family, gathered.models)
    uuid = fold(task.run.path, task.ledger.records).uuid
    return known_of(task.planned.planned.plan, gathered.family, task.run, blocks, uuid)


def _record_end(task: Task, number: int, outcome: Outcome, failure: ForgeError | None) -> None:
    from lora_forge.runs.identity import without_names
    from lora_forge.runs.record import ATTEMPT_END, fold

    attempt = fold(task.run.path, task.ledger.records).attempts[number - 1]

    task.ledger.append(
        ATTEMPT_END,
        number=number,
        outcome=outcome.outcome,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        stop_signal=outcome.stop_signal,
        killed=outcome.killed,
        to_step=max(attempt.from_step, outcome.last_step),  # stopped while it loaded, it still is where it began
        wall_s=round(outcome.wall_s, 1),
        cause=failure.code if failure else None,
        message=without_names(failure.message, task.run.path) if failure else None,
    )


def with_way_on(task: Task, failure: ForgeError, undone: tuple[Finding, ...]) -> ForgeError:
    """Say what is kept and how to go on, in the failure itself."""
    from lora_forge.runs.record import fold

    states = fold(task.run.path, task.ledger.records).states
    last = max(states, key=lambda state: state.seq) if states else None
    command = shlex.join(["forge", "runs", "resume", task.run.path.name, "--runs", str(task.run.path.parent)])
    kept = f"state kept at step {last.step}" if last else "no state was saved yet: it will begin anew"
    if isinstance(failure, Interrupted):
        failure.message, failure.hint = f"{failure.message}; {kept}", command
        failure.findings = (*failure.findings, *undone)
        return failure
    failure.findings = (*failure.findings, *undone, *((info("state-kept", kept, command),) if last else ()))
    return failure


def commit_final(task: Task, number: int, saved: tuple[Saved, ...]) -> Path:
    """Commit the finished LoRA; it has been verified."""
    from lora_forge.runs.committer import commit_checkpoint
    from lora_forge.runs.disk import unwritable

    event = next(event for event in reversed(saved) if Path(event.file).name == task.final)
    try:
        return commit_checkpoint(task.run, task.ledger, number, event, lambda *_: (), final=True)
    except OSError as problem:
        hint = f"it lies whole in {task.run.attempt(number).output}; then forge train --resume puts it in its place"
        raise unwritable(f"{task.run.output}", problem, hint) from problem


def finish(task: Task, noticed: tuple[Finding, ...], outcome: Outcome | None = None) -> RunResult:
    """The result of a run whose final LoRA is committed."""
    from lora_forge.runs.checkpoints import changed_checkpoints
    from lora_forge.runs.record import fold

    record = fold(task.run.path, task.ledger.records)
    changed = {finding.where: finding for finding in changed_checkpoints(task.run, record)}
    told = {finding.where for finding in (*task.planned.findings, *noticed)}
    noticed = (*noticed, *(finding for where, finding in changed.items() if where not in told))
    lora = task.run.lora(task.name)
    first = outcome.first_step_s if outcome else None
    spent = [attempt.end.get("wall_s") for attempt in record.attempts if attempt.end]
    result = RunResult(
        plan=task.planned,
        dry_run=False,
        noticed=tuple(finding for finding in noticed if finding.severity is not Severity.ERROR),
        lora=lora,
        size_bytes=lora.stat().st_size,
        steps=record.step,
        wall_s=round(sum(wall for wall in spent if isinstance(wall, (int, float))), 1),
        first_step_s=None if first is None else round(first, 2),
        checkpoints=tuple(
            task.run.path / kept.file.path
            for kept in sorted(record.checkpoints, key=lambda kept: (kept.step, kept.seq))
            if not kept.final and str(task.run.path / kept.file.path) not in changed
        ),
        attempts=len(record.attempts),
    )
    return replace(result, noticed=(*result.noticed, *_write_down(task, result)))


def _write_down(task: Task, result: RunResult) -> tuple[Finding, ...]:
    """The last record and result.json: the LoRA is committed already, so a full disk makes no failure of it."""
    from lora_forge.runs.disk import reason
    from lora_forge.runs.record import DONE

    kept = {key: value for key, value in result.data().items() if key not in ("plan", "rendered")}
    try:
        task.ledger.append(DONE, step=result.steps, wall_s=result.wall_s)
        task.run.write_result(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    except ForgeError as problem:
        return (_not_written(problem.message),)
    except OSError as problem:
        return (_not_written(f"result.json could not be written: {reason(problem)}"),)
    return ()


def _not_written(message: str) -> Finding:
    return warning("result-not-written", message, "the LoRA is verified and committed: forge runs show")
