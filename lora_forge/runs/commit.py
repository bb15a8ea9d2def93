"""Finished files of a run: given a second name, and known again by size and digest."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lora_forge.whole_file import replacing, sync_directory, sync_file, write_whole

CHUNK_BYTES = 1 << 20
NO_HARD_LINK = (errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.EACCES)


class FileRecord(NamedTuple):
    """One file as it was committed; ``path`` is relative to the folder that the record speaks of."""

    path: str
    size_bytes: int
    sha256: str


def place_file(source: Path, target: Path) -> None:
    """Give a finished file a second name, by a hard link where the filesystem knows them, else by a copy."""
    with replacing(target) as pending:
        with suppress(FileNotFoundError):
            pending.unlink()
        try:
            os.link(source, pending)
        except OSError as problem:
            if problem.errno not in NO_HARD_LINK:
                raise
            shutil.copyfile(source, pending)
        sync_file(pending)


def describe_file(path: Path, folder: Path) -> FileRecord:
    """Read the whole file once: its size and SHA-256, under its name as seen from ``folder``."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileRecord(path.relative_to(folder).as_posix(), size, digest.hexdigest())


def has_size(path: Path, record: FileRecord) -> bool:
    """Whether a file is there that may be what was committed, by its size alone; a link in its place is not."""
    try:
        return not path.is_symlink() and path.stat().st_size == record.size_bytes
    except OSError:
        return False


def is_as_recorded(folder: Path, record: FileRecord) -> bool:
    """Whether the file still is what was committed, read to its end."""
    path = folder / record.path
    try:
        return has_size(path, record) and describe_file(path, folder).sha256 == record.sha256
    except OSError:
        return False


__all__ = [
    "CHUNK_BYTES",
    "FileRecord",
    "describe_file",
    "has_size",
    "is_as_recorded",
    "place_file",
    "sync_directory",
    "sync_file",
    "write_whole",
]
