"""A run as its ledger tells it: attempts, checkpoints, states, and how it stands. Pure folding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from lora_forge.errors import Interrupted, InvalidInput
from lora_forge.runs.commit import FileRecord
from lora_forge.runs.ledger import Fields, Json, Record, read_ledger

KILLED = "killed"
"""The outcome of an attempt that nobody was left to close."""

# What a record is of; the vocabulary of the ledger.
RUN, PLAN, ATTEMPT, ATTEMPT_END = "run", "plan", "attempt", "attempt-end"
CHECKPOINT, STATE, STATE_DROPPED, MODEL, DONE = "checkpoint", "state", "state-dropped", "model", "done"
SAMPLES = "samples"


@dataclass(frozen=True)
class Attempt:
    """One start of the trainer; without an end it was killed together with forge, and the next one will say so."""

    number: int
    began: float
    from_step: int
    state: str | None
    fields: Fields
    end: Fields | None = None
    ended: float | None = None

    @property
    def outcome(self) -> str:
        return KILLED if self.end is None else str(self.end["outcome"])

    @property
    def was_stopped(self) -> bool:
        """Whether somebody ended it, by a signal or together with forge: nothing is wrong with the training."""
        return self.outcome in ("stopped", KILLED) or (self.end or {}).get("cause") == Interrupted.code

    @property
    def to_step(self) -> int | None:
        """The last step that was heard of; None where nobody was left to write it down."""
        return None if self.end is None else _whole(self.end["to_step"])


@dataclass(frozen=True)
class Checkpoint:
    """One LoRA file that was verified before it was recorded."""

    seq: int
    step: int
    attempt: int
    file: FileRecord
    final: bool


@dataclass(frozen=True)
class State:
    """One state folder: all that the engine needs to go on from ``step``."""

    seq: int
    step: int
    attempt: int
    name: str
    files: tuple[FileRecord, ...]


class ModelHash(NamedTuple):
    """A base-model file, read to its end; the times are those it had then."""

    sha256: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True)
class RunRecord:
    """All that the ledger says. ``facts`` is its first record: what the run is made of."""

    folder: Path
    began: float
    facts: Fields
    attempts: tuple[Attempt, ...]
    checkpoints: tuple[Checkpoint, ...]
    states: tuple[State, ...]
    models: Mapping[str, ModelHash]
    """By the family's name of each file, in a folder also by its place; empty before the first step."""
    samples: tuple[FileRecord, ...]
    done: bool
    damaged: bool
    plan: Fields
    """Every decided value with its source, as the last attempt was to follow it; reasons are in plan.json alone."""

    @property
    def uuid(self) -> str:
        return str(self.facts["uuid"])

    @property
    def name(self) -> str:
        return str(self.facts["name"])

    @property
    def steps(self) -> int:
        return _whole(self.facts["steps"])

    @property
    def step(self) -> int:
        """The furthest step that is known of: heard, or proved by a committed file."""
        heard = [attempt.to_step or attempt.from_step for attempt in self.attempts]
        kept = [kept.step for kept in self.checkpoints] + [state.step for state in self.states]
        return max([0, *heard, *kept])

    @property
    def next_attempt(self) -> int:
        return len(self.attempts) + 1

    def made_with(self, section: str) -> Json:
        """Software, engine or machine, as the last attempt found them, or else the beginning."""
        last = self.attempts[-1].fields if self.attempts else self.facts
        return last.get(section, self.facts.get(section))

    def checkpoint_at(self, path: str) -> Checkpoint | None:
        """The checkpoint that was committed under this name, relative to the run directory."""
        return next((kept for kept in self.checkpoints if kept.file.path == path), None)


def read_run(folder: Path) -> RunRecord:
    """Read and fold.

    Raises:
        InvalidInput: there is no ledger, or nothing of it can be believed.
    """
    reading = read_ledger(folder)
    try:
        return fold(folder, reading.records, damaged=reading.damaged)
    except (KeyError, TypeError, ValueError) as problem:
        message = f"the ledger of {folder} was not written by this version of forge"
        raise InvalidInput(message, "use the version that wrote it") from problem


def fold(folder: Path, records: Sequence[Record], *, damaged: bool = False) -> RunRecord:
    first = records[0]
    dropped = {str(record.fields["name"]): record.seq for record in records if record.kind == STATE_DROPPED}
    latest = {state.name: state for state in map(_state, (record for record in records if record.kind == STATE))}
    pictures = [file for record in records if record.kind == SAMPLES for file in _files(record.fields["files"])]
    samples = {file.path: file for file in pictures}  # of a picture that was made twice, the later
    kept = {each.file.path: each for each in map(_checkpoint, (one for one in records if one.kind == CHECKPOINT))}
    plans = [record.fields.get("plan") for record in records if record.kind in (RUN, PLAN)]
    return RunRecord(
        folder=folder,
        began=first.at,
        facts=first.fields,
        attempts=tuple(_attempts(records)),
        checkpoints=tuple(kept.values()),
        states=tuple(state for state in latest.values() if dropped.get(state.name, 0) < state.seq),
        models=dict(_model(record) for record in records if record.kind == MODEL),
        samples=tuple(samples[path] for path in sorted(samples)),
        done=any(record.kind == CHECKPOINT and record.fields["final"] is True for record in records),
        damaged=damaged,
        plan=cast("dict[str, Json]", plans[-1] or {}),
    )


def as_json(files: Iterable[FileRecord]) -> list[Json]:
    return [{"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256} for file in files]


def _attempts(records: Sequence[Record]) -> Iterable[Attempt]:
    ends = {_whole(record.fields["number"]): record for record in records if record.kind == ATTEMPT_END}
    for record in records:
        if record.kind == ATTEMPT:
            number, state = _whole(record.fields["number"]), record.fields["state"]
            end = ends.get(number)
            yield Attempt(
                number=number,
                began=record.at,
                from_step=_whole(record.fields["from_step"]),
                state=None if state is None else str(state),
                fields=record.fields,
                end=end and end.fields,
                ended=end and _ended_at(end),
            )


def _ended_at(end: Record) -> float | None:
    """An end that the next attempt wrote down came late: what counts is when the trainer was heard last, if ever."""
    last = end.fields.get("last_heard", end.at)
    return float(last) if isinstance(last, (int, float)) else None


def _checkpoint(record: Record) -> Checkpoint:
    fields = record.fields
    (file,) = _files(fields["files"])
    step, attempt = _whole(fields["step"]), _whole(fields["attempt"])
    return Checkpoint(record.seq, step, attempt, file, final=bool(fields["final"]))


def _model(record: Record) -> tuple[str, ModelHash]:
    fields = record.fields
    numbers = (_whole(fields[key]) for key in ("size_bytes", "mtime_ns", "ctime_ns"))
    return str(fields["name"]), ModelHash(str(fields["sha256"]), *numbers)


def _state(record: Record) -> State:
    fields = record.fields
    step, attempt = _whole(fields["step"]), _whole(fields["attempt"])
    return State(record.seq, step, attempt, str(fields["name"]), _files(fields["files"]))


def _files(told: Json) -> tuple[FileRecord, ...]:
    listed = cast("list[dict[str, Json]]", told)
    return tuple(FileRecord(str(f["path"]), _whole(f["size_bytes"]), str(f["sha256"])) for f in listed)


def _whole(value: Json) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value
