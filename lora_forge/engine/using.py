"""The engine in use: many trainings may share it, and nobody takes it from under one.

Trainings hold a shared lock beside what they use, and an installer that has to
replace it wants that lock for itself alone. What is asked is the kernel; the
lines in the file only name who holds it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from lora_forge.engine.home import EngineHome
from lora_forge.errors import Locked
from lora_forge.holder import myself, read_json

TRIES, RETRY_S = 6, 0.05
"""Somebody who ends takes the lock alone for a blink, to tidy the file."""


@contextmanager
def using_engine(home: EngineHome, run: Path) -> Iterator[None]:
    """Use the engine's source and environment for a run while the block lasts; never waits.

    Raises:
        Locked: an installer is replacing one of them.
    """
    with _using(home.checkout, run), _using(home.environment, run):
        yield


@contextmanager
def replacing(place: Path) -> Iterator[None]:
    """Replace a part of the engine while the block lasts; the caller holds the install lock.

    Raises:
        Locked: a training uses it.
    """
    descriptor = _open(lock_of(place))
    try:
        if descriptor is not None and not _taken(descriptor, fcntl.LOCK_EX):
            raise _in_use(place)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def lock_of(place: Path) -> Path:
    return place.with_name(f".{place.name}.use.lock")


@contextmanager
def _using(place: Path, run: Path) -> Iterator[None]:
    descriptor = _open(lock_of(place))
    if descriptor is None:
        yield
        return
    try:
        if not _taken(descriptor, fcntl.LOCK_SH):
            raise Locked(f"{place} is just being installed", "try again when that is done; forge engine status")
        line = json.dumps({**asdict(myself()), "run": str(run)}) + "\n"
        with suppress(OSError):  # another account's engine: used without a name
            os.write(descriptor, line.encode("utf-8", "surrogateescape"))
        yield
        _tidy(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int | None:
    """Open for appending; where only others may write, for reading; None where there is nothing to lock."""
    for flags in (os.O_RDWR | os.O_APPEND | os.O_CREAT, os.O_RDONLY):
        with suppress(OSError):
            return os.open(path, flags | os.O_CLOEXEC, 0o666)
    return None


def _taken(descriptor: int, kind: int) -> bool:
    """Take the lock, tried for a moment; a filesystem without locks protects nothing and forbids nothing."""
    for left in reversed(range(TRIES)):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if left:
                time.sleep(RETRY_S)
        except OSError:
            return True
        else:
            return True
    return False


def _tidy(descriptor: int) -> None:
    """The last one out empties the file."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)


def _in_use(place: Path) -> Locked:
    users = list(_users(lock_of(place)))
    if not users:
        return Locked(f"{place} is in use by a training of another account or machine", "wait until it has ended")
    pid, since, run = users[0]
    more = f", and by {len(users) - 1} more" if len(users) > 1 else ""
    stop = shlex.join(["forge", "runs", "stop", run.name, "--runs", str(run.parent)])
    return Locked(
        f"{place} is in use by the training in {run} (process {pid}, since {since}){more}", f"wait for it, or: {stop}"
    )


def _users(path: Path) -> Iterator[tuple[int, str, Path]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        holder = read_json(line)
        if holder is not None and holder.lives():
            run = json.loads(line).get("run", "")
            yield holder.pid, holder.since, Path(run)
