"""Events: what the guest says, read back line by line.

The file is written by another process and may be read at any moment: a cut last
line waits for its rest, and a line that makes no sense is passed over, never
fatal. Vocabulary: ``guest/watch.py``, ``guest/mixin.py`` and ``guest/train.py``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

Json: TypeAlias = Mapping[str, object]
MOST = 2**53
"""Whole numbers above it are not exact in JSON as most programs read it, and none is a step, a size or a pid."""


@dataclass(frozen=True)
class Event:
    """``wall`` is epoch seconds; ``mono`` a monotonic clock of the guest's machine, for differences only."""

    wall: float
    mono: float


@dataclass(frozen=True)
class Started(Event):
    """The guest runs: ``pid`` is where a stop request goes."""

    pid: int
    engine: str


@dataclass(frozen=True)
class PhaseEntered(Event):
    phase: str


@dataclass(frozen=True)
class BucketCount:
    """One filled bucket; ``images`` counts repeats, as the engine batches them."""

    width: int
    height: int
    images: int
    batches: int


@dataclass(frozen=True)
class Counted(Event):
    """The engine's own counts, taken from its dataset and data loader before the first step."""

    batches_per_epoch: int
    epochs: int
    max_train_steps: int
    train_images: int
    reg_images: int
    buckets: tuple[BucketCount, ...]


@dataclass(frozen=True)
class StepTaken(Event):
    """One optimizer step; ``loss`` is the mean over its micro-batches, ``lr`` what this step used."""

    step: int
    total: int
    epoch: int
    loss: float
    lr: Mapping[str, float] = field(default_factory=dict)
    peak_gib: float | None = None
    reserved_gib: float | None = None


@dataclass(frozen=True)
class Saved(Event):
    """A whole file is on disk under its final name."""

    file: str
    step: int
    size_bytes: int


@dataclass(frozen=True)
class StateFile:
    """One file of a state directory, ``guest.json`` included, with the digest the guest saw on disk."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class StateSaved(Event):
    """A whole state directory is on disk under its final name, ``dir``, a name and no path."""

    dir: str
    step: int
    files: tuple[StateFile, ...]


@dataclass(frozen=True)
class Resumed(Event):
    """The attempt continues after ``step`` from the state directory of that name."""

    dir: str
    step: int


@dataclass(frozen=True)
class Validated(Event):
    """The mean loss on the held-out images, by the weights of ``step``; ``losses`` is how many it is the mean of."""

    step: int
    loss: float
    losses: int


@dataclass(frozen=True)
class TextEncoderFrozen(Event):
    """A continuation past the switch says it again, with the step of the switch."""

    step: int


@dataclass(frozen=True)
class Ended(Event):
    """The guest's last word; ``outcome`` is done, stopped, diverged, out-of-memory, no-data, bad-state or failed."""

    outcome: str
    message: str
    step: int
    traceback_tail: tuple[str, ...]


def parse_event(line: bytes) -> Event | None:
    """Read one line; None for what is not an event that this version knows.

    >>> parse_event(b'{"event": "phase", "wall": 2.5, "mono": 1.0, "phase": "caching"}')
    PhaseEntered(wall=2.5, mono=1.0, phase='caching')
    >>> parse_event(b"not json") is None
    True
    """
    try:
        told = json.loads(line)
        return _READERS[told["event"]](told)
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None


class EventTail:
    """Reads a growing events file from where it stopped; a cut last line waits for its rest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""

    def new_events(self) -> Iterator[Event]:
        """Yield what came since the last call; a file that is not there yet holds nothing."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                fresh = file.read()
        except FileNotFoundError:
            return
        self._offset += len(fresh)
        *lines, self._rest = (self._rest + fresh).split(b"\n")
        yield from (event for line in lines if (event := parse_event(line)) is not None)


def read_events(path: Path) -> list[Event]:
    return list(EventTail(path).new_events())


def _number(told: Json, key: str) -> float:
    """A finite number: JSON knows no other, but Python reads 1e999 and NaN, which no ledger could take."""
    value = told[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{key} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{key} is {value}")
    return float(value)


def _when(told: Json) -> tuple[float, float]:
    return _number(told, "wall"), _number(told, "mono")


def _whole(told: Json, key: str) -> int:
    value = _number(told, key)
    if abs(value) > MOST:
        raise ValueError(f"{key} is {value}")
    return int(value)


def _optional(told: Json, key: str) -> float | None:
    return None if told.get(key) is None else _number(told, key)


def _text(told: Json, key: str) -> str:
    value = told[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is not text")
    return value


def _rates(told: Json) -> dict[str, float]:
    rates = told.get("lr", {})
    return {name: _number(rates, name) for name in rates} if isinstance(rates, dict) else {}


def _buckets(told: Json) -> tuple[BucketCount, ...]:
    held = told["buckets"]
    if not isinstance(held, list):
        raise TypeError("buckets is not a list")
    return tuple(BucketCount(**{key: _whole(each, key) for key in each}) for each in held)


def _started(told: Json) -> Event:
    return Started(*_when(told), _whole(told, "pid"), _text(told, "engine"))


def _phase(told: Json) -> Event:
    return PhaseEntered(*_when(told), _text(told, "phase"))


def _counted(told: Json) -> Event:
    return Counted(
        *_when(told),
        batches_per_epoch=_whole(told, "batches_per_epoch"),
        epochs=_whole(told, "epochs"),
        max_train_steps=_whole(told, "max_train_steps"),
        train_images=_whole(told, "train_images"),
        reg_images=_whole(told, "reg_images"),
        buckets=_buckets(told),
    )


def _step(told: Json) -> Event:
    return StepTaken(
        *_when(told),
        step=_whole(told, "step"),
        total=_whole(told, "total"),
        epoch=_whole(told, "epoch"),
        loss=_number(told, "loss"),
        lr=_rates(told),
        peak_gib=_optional(told, "peak_gib"),
        reserved_gib=_optional(told, "reserved_gib"),
    )


def _saved(told: Json) -> Event:
    return Saved(
        *_when(told),
        file=_text(told, "file"),
        step=_whole(told, "step"),
        size_bytes=_whole(told, "size_bytes"),
    )


def _state(told: Json) -> Event:
    held = told["files"]
    if not isinstance(held, list):
        raise TypeError("files is not a list")
    return StateSaved(
        *_when(told),
        dir=_text(told, "dir"),
        step=_whole(told, "step"),
        files=tuple(StateFile(_text(each, "name"), _whole(each, "size_bytes"), _text(each, "sha256")) for each in held),
    )


def _resumed(told: Json) -> Event:
    return Resumed(*_when(told), _text(told, "dir"), _whole(told, "step"))


def _validated(told: Json) -> Event:
    return Validated(
        *_when(told),
        step=_whole(told, "step"),
        loss=_number(told, "loss"),
        losses=_whole(told, "losses"),
    )


def _frozen(told: Json) -> Event:
    return TextEncoderFrozen(*_when(told), _whole(told, "step"))


def _ended(told: Json) -> Event:
    tail = told.get("traceback_tail")
    return Ended(
        *_when(told),
        outcome=_text(told, "outcome"),
        message=_text(told, "message"),
        step=_whole(told, "step"),
        traceback_tail=tuple(str(line) for line in tail) if isinstance(tail, list) else (),
    )


_READERS: dict[str, Callable[[Json], Event]] = {
    "start": _started,
    "phase": _phase,
    "counts": _counted,
    "step": _step,
    "saved": _saved,
    "state": _state,
    "resumed": _resumed,
    "validation": _validated,
    "text-encoder-frozen": _frozen,
    "end": _ended,
}
