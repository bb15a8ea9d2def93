"""Disks that refuse."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable


def folders_fail(number: int) -> Callable[[int], None]:
    """An ``os.fsync`` that brings files to disk and fails with ``number`` where it is given a folder."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    return fsync
