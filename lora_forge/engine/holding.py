"""One installer at a time: an advisory lock on a file, with the holder's name in it.

The kernel drops the lock when its last holder ends, so it is never stale. A
child that gets the descriptor handed down keeps it held: when forge is killed,
the next installer waits for a package installer that is still writing. It waits
as long as that takes, for then it finds the work done; Ctrl-C ends the waiting.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_forge.errors import EngineError
from lora_forge.holder import myself, read_json


@contextmanager
def holding(path: Path, report: Callable[[str], None]) -> Iterator[int]:
    """Hold ``path`` while the block runs, waiting for whoever holds it; yields the descriptor."""
    descriptor = _open(path)
    try:
        _acquire(descriptor, path, report)
        _sign(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as problem:
        raise EngineError(
            f"cannot write in {path.parent}: {problem.strerror}",
            "make the folder writable, or set FORGE_HOME to one that is",
        ) from problem


def _acquire(descriptor: int, path: Path, report: Callable[[str], None]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        report(_waiting_for(path))
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as problem:
        raise EngineError(
            f"cannot lock {path}: {problem.strerror}", "set FORGE_HOME to a folder on a local disk"
        ) from problem


def _sign(descriptor: int) -> None:
    """Write who holds the lock; only people read it, so a torn line does no harm."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, myself().as_json(), 0)


def _waiting_for(path: Path) -> str:
    try:
        holder = read_json(path.read_bytes())
    except OSError:
        holder = None
    if holder is None:
        return "waiting for another install"
    if holder.lives():
        return f"waiting for pid {holder.pid}, installing since {holder.since}"
    if holder.is_foreign():
        return f"waiting for an install on another machine, there pid {holder.pid}, since {holder.since}"
    return f"waiting for what the interrupted install of pid {holder.pid} left running"
