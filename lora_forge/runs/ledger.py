"""The ledger: what happened to a run, one record a line, and nothing happened that is not in it.

Each line ends with the SHA-256 of itself and of the digest before it, so a
changed, cut or missing line is noticed where it stands. A commit writes the
whole text anew (temporary file, fsync, rename, fsync of the folder), then the
same again as a mirror. So at any moment one of the two is whole, and the longer
sound one is the truth. Order is ``seq``; times are for people. ADR 0005.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Union

from lora_forge.errors import ForgeError, InvalidInput
from lora_forge.runs.commit import write_whole
from lora_forge.runs.disk import unwritable

VERSION = 1
LEDGER = "ledger.jsonl"
MIRROR = ".ledger.mirror.jsonl"
_TAIL = b',"digest":"'
_DIGEST_CHARS = 64

Json = Union[None, bool, int, float, str, "list[Json]", "dict[str, Json]"]
Fields = Mapping[str, Json]


class _Newer(Exception):
    """A sound line of a version that this forge does not know: no damage, and not to be written over."""


class Record(NamedTuple):
    """One line: its place, what kind of thing happened, when (epoch seconds), and the rest."""

    seq: int
    kind: str
    at: float
    fields: Fields


class Reading(NamedTuple):
    """The records that can be believed, their text, and whether one of the two files was found damaged."""

    records: tuple[Record, ...]
    text: bytes
    damaged: bool


class Ledger:
    """An open ledger; only the holder of the run's lock may append. Threads may append together."""

    def __init__(self, folder: Path, reading: Reading, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.records = reading.records
        self.damaged = reading.damaged
        self._text = reading.text
        self._clock = clock
        self._turn = threading.Lock()

    def append(self, kind: str, **fields: Json) -> Record:
        """Commit one record: it is on disk when this returns.

        Raises:
            ForgeError: it could not be written; the ledger is as it was.
        """
        with self._turn:
            record = Record(len(self.records) + 1, kind, round(self._clock(), 3), fields)
            text = self._text + _line(record, _last_digest(self._text))
            try:
                write_whole(self.folder / LEDGER, text)
                self.records, self._text = (*self.records, record), text
                write_whole(self.folder / MIRROR, text)
            except OSError as problem:
                raise ledger_unwritable(self.folder, problem) from problem
            return record


def ledger_unwritable(folder: Path, problem: OSError) -> ForgeError:
    return unwritable(f"the ledger of {folder}", problem, "what was committed before is intact: forge train --resume")


def has_ledger(folder: Path) -> bool:
    return (folder / LEDGER).exists() or (folder / MIRROR).exists()


def read_ledger(folder: Path) -> Reading:
    """Read what can be believed: the longer of the two sound beginnings.

    Raises:
        InvalidInput: no ledger lies here, a newer forge wrote it, or not even its first record is sound.
    """
    texts = [_read(folder / name) for name in (LEDGER, MIRROR)]
    if all(text is None for text in texts):
        raise InvalidInput(f"{folder} is no run of forge: it has no ledger", "forge runs ls")
    try:
        sound = [_sound(text or b"") for text in texts]
    except _Newer as newer:
        message = f"the ledger of {folder} was written by a newer forge: version {newer}, this one knows {VERSION}"
        raise InvalidInput(message, "use the forge that wrote it; nothing was changed") from newer
    best = max(sound, key=lambda found: len(found[0]))
    records, length = best
    if not records:
        hint = "its files are still there: output/ holds what was committed"
        raise InvalidInput(f"the ledger of {folder} is damaged beyond its first line", hint)
    text = (texts[sound.index(best)] or b"")[:length]
    main = texts[0] or b""
    mirror = texts[1]
    one_behind = b"".join(text.splitlines(keepends=True)[:-1]) or None  # killed between the two writes
    return Reading(records, text, damaged=main != text or mirror not in (text, one_behind))


def open_ledger(folder: Path) -> Ledger:
    return Ledger(folder, read_ledger(folder))


def new_ledger(folder: Path) -> Ledger:
    """An empty ledger; nothing is on disk before its first record."""
    return Ledger(folder, Reading((), b"", damaged=False))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _sound(text: bytes) -> tuple[tuple[Record, ...], int]:
    """The records of the sound beginning, and its length in bytes."""
    records: list[Record] = []
    digest, length = b"", 0
    for line in text.splitlines(keepends=True):
        record = _parsed(line, digest, len(records) + 1)
        if record is None:
            break
        records.append(record)
        digest, length = _stated_digest(line), length + len(line)
    return tuple(records), length


def _parsed(line: bytes, before: bytes, seq: int) -> Record | None:
    if not line.endswith(b'"}\n') or _digest(_body(line), before) != _stated_digest(line):
        return None
    try:
        told = json.loads(line)
        version = told.pop("v")
        if version != VERSION:
            raise _Newer(version)
        if told["seq"] != seq:
            return None
        told.pop("digest")
        return Record(told.pop("seq"), told.pop("kind"), told.pop("at"), told)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _line(record: Record, before: bytes) -> bytes:
    told = {"v": VERSION, "seq": record.seq, "kind": record.kind, "at": record.at, **record.fields}
    body = json.dumps(told, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()[:-1]
    return body + _TAIL + _digest(body, before) + b'"}\n'


def _body(line: bytes) -> bytes:
    return line[: -(len(_TAIL) + _DIGEST_CHARS + 3)]


def _stated_digest(line: bytes) -> bytes:
    return line[-(_DIGEST_CHARS + 3) : -3]


def _last_digest(text: bytes) -> bytes:
    return _stated_digest(text) if text else b""


def _digest(body: bytes, before: bytes) -> bytes:
    return hashlib.sha256(before + body).hexdigest().encode()
