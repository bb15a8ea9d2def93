"""Looking back at what failed: a run of forge's, or any log of the engine."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import Interrupted, InvalidInput
from lora_forge.findings import Finding, warning
from lora_forge.runs.diagnosis import Diagnosis, diagnose_lines
from lora_forge.runs.diagnosis_log import ended_well, read_log
from lora_forge.runs.diagnosis_run import Known, evidence_findings, refine
from lora_forge.runs.directory import RunDir

if TYPE_CHECKING:
    from lora_forge.families.family import Family
    from lora_forge.plan.model import Plan
    from lora_forge.plan.symptoms import Symptom
    from lora_forge.runs.outcome import Heard, Outcome
    from lora_forge.runs.record import Attempt, RunRecord

TOP_BYTES = 4096
"""As much of a file as shows whether it is a text, in which no zero byte stands."""


@dataclass(frozen=True)
class Diagnosed:
    """What was found; without a diagnosis ``state`` says why.

    That is ended well, still running, stopped by a signal, empty, not a text, or not recognised.
    """

    source: Path
    state: str
    diagnosis: Diagnosis | None = None
    run: RunDir | None = None
    noticed: tuple[Finding, ...] = ()
    exit_code: int = 0

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.noticed

    def data(self) -> dict[str, object]:
        found = self.diagnosis
        return {
            "source": str(self.source),
            "run": str(self.run.path) if self.run else None,
            "state": self.state,
            "diagnosis": found
            and {
                "code": found.code,
                "cause": found.sentence,
                "evidence": found.evidence,
                "try": found.hint,
                "exit_code": found.exit_code,
                "file": found.file,
                "step": found.step,
                "steps": found.total,
            },
        }


def diagnose(target: str, cwd: Path, runs: Path, *, mend: bool = False) -> Diagnosed:
    """Say why a run or a log failed; ``runs`` is the folder that a bare name is looked for in.

    ``mend`` removes damaged caches, in a run's own staging folder only.

    Raises:
        InvalidInput: there is no such run or log, or nothing was started in it.
    """
    path = find_target(target, cwd, runs)
    if not path.is_dir():
        return diagnose_log(path)
    return diagnose_run(RunDir(path), mend=mend)


def find_target(target: str, cwd: Path, runs: Path) -> Path:
    """A path as given, else a run by its folder's name or the beginning of its UUID."""
    from lora_forge.runs.shelf import find_run

    named = next((path for path in (cwd / target, runs / target) if path.exists()), None)
    if named:
        return named
    try:
        return find_run(runs, target).folder
    except InvalidInput as unknown:
        raise InvalidInput(
            f"there is neither a log nor a run named {target!r}", f"a path, or a folder's name under {runs}"
        ) from unknown


def is_run(name: str, cwd: Path, runs: Path) -> bool:
    return any((folder / name / "plan.json").is_file() for folder in (cwd, runs))


def diagnose_log(path: Path) -> Diagnosed:
    """Diagnose any log of the engine; a staged picture in it still leads to the person's own."""
    lines = read_log(path)
    found = None if ended_well(lines) else diagnose_lines(lines)
    if found is None:
        return Diagnosed(path, "ended well" if ended_well(lines) else _what_it_is(path, lines))
    return Diagnosed(path, "failed", refine(found, Known()))


def _what_it_is(path: Path, lines: list[str]) -> str:
    """Why nothing was recognised: a log that a power cut filled with zeros still may have told something before."""
    if not any(line.strip() for line in lines):
        return "empty"
    with path.open("rb") as file:
        return "not a text" if b"\0" in file.read(TOP_BYTES) else "not recognised"


def diagnose_run(run: RunDir, *, mend: bool = False) -> Diagnosed:
    """Diagnose the last attempt of a run, from its ledger, its events and its log."""
    from lora_forge.runs.cause import cause_of, diagnosis_of
    from lora_forge.runs.lock import is_held

    if is_held(run.path):
        return Diagnosed(run.path, "still running", run=run)
    record = _record(run)
    if record is not None and record.done:
        return Diagnosed(run.path, "ended well", run=run, noticed=_caches(run, mend=mend))
    outcome, noticed = outcome_of(run, record), _caches(run, mend=mend)
    refused = record and _refused(record)
    if refused:
        return Diagnosed(run.path, "failed", refused, run, noticed)
    if isinstance(cause_of(outcome), Interrupted):
        return Diagnosed(run.path, "stopped by a signal", run=run, noticed=noticed)
    if outcome.outcome == "done":
        return Diagnosed(run.path, "ended well", run=run, noticed=noticed)
    found = diagnosis_of(outcome, known_of_run(run, record))
    return Diagnosed(run.path, "failed", found, run, (*evidence_findings(found), *noticed))


def known_of(plan: Plan, family: Family, run: RunDir, blocks: tuple[int, int], uuid: str | None = None) -> Known:
    """What a run's plan could still give up, beside its folder."""
    from lora_forge.plan.smaller import next_smaller, next_smaller_in_host

    return Known(run, next_smaller(plan, family, blocks), next_smaller_in_host(plan, blocks), uuid, calmer(plan))


def calmer(plan: Plan) -> str:
    """What to set after NaN: half the plan's own learning rate, and the wider exponent where it has the narrow one."""
    rate = f"--set optimizer.learning_rate={plan.optimizer.learning_rate.value / 2:.3g} (half of it)"
    return f"{rate}, or --set precision.mixed=bf16" if plan.precision.mixed.value == "fp16" else rate


def known_of_run(run: RunDir, record: RunRecord | None) -> Known:
    """The same from a run's folder; a plan of another version of forge tells nothing."""
    from pydantic import ValidationError

    from lora_forge.families import load_family
    from lora_forge.plan.model import Plan

    try:
        plan = Plan.model_validate_json(run.plan_json.read_bytes())
        family = load_family(plan.family.value)
    except (OSError, ValidationError, KeyError):
        return Known(run)
    return known_of(plan, family, run, family.blocks, record.uuid if record else None)


def outcome_of(run: RunDir, record: RunRecord | None) -> Outcome:
    """Put the last attempt's outcome together again."""
    from lora_forge.runs.outcome import told_by
    from lora_forge.runs.record import KILLED

    last = record.attempts[-1] if record and record.attempts else None
    folder = run.attempt(last.number).path if last else run.path
    log, events = folder / "engine.log", folder / "events.jsonl"
    if not log.exists() and not events.exists():
        raise InvalidInput(f"nothing was started in {run.path}: it holds no engine.log", "forge train")
    lines = tuple(read_log(log)) if log.exists() else ()
    with_forge = last is not None and last.outcome == KILLED
    outcome = replace(told_by(_heard(events), 0.0), evidence=lines, with_forge=with_forge)
    return _as_recorded(outcome, last) if last and last.end else outcome


def _as_recorded(outcome: Outcome, attempt: Attempt) -> Outcome:
    end = attempt.end or {}
    for_memory = int(end.get("cause") == "killed-for-memory")
    codes = {key: value for key in ("exit_code", "signal", "stop_signal") if isinstance(value := end.get(key), int)}
    return replace(outcome, killed=bool(end.get("killed")), memory_kills=for_memory, **codes)  # type: ignore[arg-type]


def _heard(events: Path) -> Heard:
    """The events of the last start alone: an earlier end is none of this one's."""
    from lora_forge.runs.events import EventTail, Started
    from lora_forge.runs.outcome import Heard

    heard = Heard()
    for event in EventTail(events).new_events():
        heard = Heard() if isinstance(event, Started) else heard
        heard.take(event)
    return heard


def _refused(record: RunRecord) -> Diagnosis | None:
    """What verification said: the log of an engine that ended well knows nothing of it."""
    from lora_forge.runs.cause import REFUSALS

    end = (record.attempts[-1].end if record.attempts else None) or {}
    error = REFUSALS.get(str(end.get("cause"))) if end.get("outcome") == "done" else None
    if error is None:
        return None
    return Diagnosis(str(end["cause"]), error, str(end["message"]), "train again", "")


def _record(run: RunDir) -> RunRecord | None:
    """The run's ledger, if there is one that can be believed: a log tells much without it."""
    from lora_forge.runs.record import read_run

    try:
        return read_run(run.path)
    except InvalidInput:
        return None


def _caches(run: RunDir, *, mend: bool) -> tuple[Finding, ...]:
    from lora_forge.runs.caches import cache_removed, damaged_caches, remove_damaged_caches

    if mend:
        return tuple(cache_removed(path) for path in remove_damaged_caches(run))
    hint = f"forge diagnose {shlex.quote(str(run.path))} --mend; going on with the run removes it too"
    return tuple(
        warning("cache-damaged", f"{path.name} is damaged", hint, where=str(path)) for path in damaged_caches(run)
    )


@dataclass(frozen=True)
class Disappointing:
    """The rows of the table that were asked for, with a run's own figures where one is given."""

    symptoms: tuple[Symptom, ...]
    figures: Mapping[str, str]
    settings: Mapping[str, tuple[str, ...]]
    hint: str = ""
    run: Path | None = None
    findings: tuple[Finding, ...] = ()
    exit_code: int = 0

    def data(self) -> dict[str, object]:
        return {
            "run": self.run and str(self.run),
            "symptoms": [
                {
                    "word": row.word,
                    "seen": row.seen,
                    "cause": row.cause,
                    "try": row.remedy,
                    "settings": list(self.settings.get(row.word, row.settings)),
                    "figures": {name: self.figures[name] for name in row.figures if name in self.figures},
                }
                for row in self.symptoms
            ],
            "loss_hint": self.hint,
        }


def symptoms(word: str | None, target: str | None, cwd: Path, runs: Path) -> Disappointing:
    """What likely caused what is seen, and what to try.

    Raises:
        InvalidInput: no row knows the word, or there is no such run.
    """
    from lora_forge.plan.symptoms import SYMPTOMS, symptoms_like

    rows = symptoms_like(word)
    if not rows:
        known = ", ".join(row.word for row in SYMPTOMS)
        raise InvalidInput(f"no row of the table speaks of {word!r}", f"forge diagnose --symptom WORD: {known}")
    if target is None:
        return Disappointing(rows, {}, {})
    return _beside_run(rows, RunDir(find_target(target, cwd, runs)))


def _beside_run(rows: tuple[Symptom, ...], run: RunDir) -> Disappointing:
    from pydantic import ValidationError

    from lora_forge.families import load_family
    from lora_forge.plan.model import Plan
    from lora_forge.plan.symptoms import loss_hint, run_figures, settings_for

    try:
        plan = Plan.model_validate_json(run.plan_json.read_bytes())
        family = load_family(plan.family.value)
    except (OSError, ValidationError, KeyError) as problem:
        raise InvalidInput(f"{run.path} holds no plan of this version of forge", "name a run's folder") from problem
    loss = smoothed_loss(run)
    settings = {row.word: settings_for(row, plan) for row in rows}
    return Disappointing(rows, run_figures(plan, family, loss), settings, loss_hint(family, loss), run.path)


def smoothed_loss(run: RunDir) -> float | None:
    """The loss as it was smoothed at the run's last step; None where no step was taken."""
    from lora_forge.runs.events import EventTail
    from lora_forge.runs.progress import Progress, advance

    progress = Progress()
    for event in EventTail(run.events_jsonl).new_events():
        progress = advance(progress, event)
    return progress.smoothed_loss
