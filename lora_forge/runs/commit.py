"""Writes that are there whole or not at all, whatever kills the writer.

Temporary name, fsync, rename, fsync of the folder. The temporary name is fixed:
what a killed writer left under it is overwritten by the next one, never collected.
Every call into the system goes through ``os``, so that a test can fail each in turn.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

CHUNK_BYTES = 1 << 20
PENDING = ".pending"
"""Ends the name of a file that is not whole yet; the engine's saves use another."""


class FileRecord(NamedTuple):
    """One file as it was committed; ``path`` is relative to the folder that the record speaks of."""

    path: str
    size_bytes: int
    sha256: str


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file by ``content``, or leave it as it was.

    Raises:
        OSError: the disk is full or broken; the old file stands.
    """
    pending = _pending(path)
    try:
        descriptor = os.open(pending, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            _write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        pending.replace(path)
    except BaseException:
        with suppress(OSError):
            pending.unlink()
        raise
    sync_directory(path.parent)


def place_file(source: Path, target: Path) -> None:
    """Give a finished file a second name, by a hard link where the filesystem knows them, else by a copy."""
    pending = _pending(target)
    with suppress(FileNotFoundError):
        pending.unlink()
    try:
        try:
            os.link(source, pending)
        except OSError as problem:
            if problem.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.EACCES):
                raise
            shutil.copyfile(source, pending)
        sync_file(pending)
        pending.replace(target)
    except BaseException:
        with suppress(OSError):
            pending.unlink()
        raise
    sync_directory(target.parent)


def describe_file(path: Path, folder: Path) -> FileRecord:
    """Read the whole file once: its size and SHA-256, under its name as seen from ``folder``."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileRecord(path.relative_to(folder).as_posix(), size, digest.hexdigest())


def is_as_recorded(folder: Path, record: FileRecord) -> bool:
    """Whether the file still is what was committed; a link in its place is not."""
    path = folder / record.path
    try:
        if path.is_symlink() or path.stat().st_size != record.size_bytes:
            return False
        return describe_file(path, folder).sha256 == record.sha256
    except OSError:
        return False


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make renames inside the folder survive a power cut."""
    sync_file(path)


def _pending(path: Path) -> Path:
    return path.with_name(f".{path.name}{PENDING}")


def _write_all(descriptor: int, content: bytes) -> None:
    """Write to the end: the kernel may take less than it was offered."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
