"""Files that are there whole or not at all, whatever kills the writer.

Temporary name, fsync, rename, fsync of the folder. The temporary name is fixed:
what a killed writer left under it is overwritten by the next one, never collected.
Every call into the system goes through ``os``, so that a test can fail each in turn.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PENDING = ".pending"
"""Ends the name of a file that is not whole yet; the engine's saves use another."""
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""fsync(2): the filesystem has no such operation for a folder; a failed write is EIO, ENOSPC or EDQUOT."""
_LONGEST_NAME = 200
"""Bytes; most file systems allow 255."""


def write_whole(path: Path, content: bytes, *, keep_mode: bool = False) -> None:
    """Replace the file by ``content``, or leave it as it was; ``keep_mode`` leaves its permissions too.

    Raises:
        OSError: the disk is full or broken; the old file stands.
    """
    with replacing(path) as pending:
        descriptor = os.open(pending, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            _write_all(descriptor, content)
            if keep_mode:
                _take_mode(descriptor, path)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Hand out the name to write under; what is whole and synced there takes the file's place, what failed is gone."""
    pending = pending_path(path)
    try:
        yield pending
        pending.replace(path)
    except BaseException:
        with suppress(OSError):
            pending.unlink()
        raise
    sync_directory(path.parent)


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make renames inside the folder survive a power cut, where its filesystem can (Samba and gocryptfs cannot)."""
    try:
        sync_file(path)
    except OSError as problem:
        if problem.errno not in NO_FOLDER_SYNC:
            raise


def pending_path(path: Path) -> Path:
    """Where a file is written before it takes its name; a name as long as a folder allows leaves no room for more."""
    name = os.fsencode(path.name)
    short = path.name if len(name) <= _LONGEST_NAME else hashlib.blake2b(name, digest_size=16).hexdigest()
    return path.with_name(f".{short}{PENDING}")


def _write_all(descriptor: int, content: bytes) -> None:
    """Write to the end: the kernel may take less than it was offered."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _take_mode(descriptor: int, path: Path) -> None:
    if path.is_file():
        os.fchmod(descriptor, path.stat().st_mode & 0o7777)
