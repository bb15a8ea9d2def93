"""What a name in a folder leads to, and how it is opened, whatever lies behind it.

A link may lead back to itself or where nobody may look, and a pipe never ends:
none of these may take down a listing or hold up a plan.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def leads_to_file(entry: os.DirEntry[str]) -> bool:
    """Whether a regular file is there; ``DirEntry`` by itself raises on a link that leads in a circle."""
    try:
        return entry.is_file()
    except OSError:
        return False


def leads_to_folder(entry: os.DirEntry[str]) -> bool:
    """Whether a folder is there; an entry that cannot be asked is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def open_regular(path: Path) -> BinaryIO:
    """Open a file to be read; what is no regular file is refused before it is opened, since a pipe would never answer.

    Raises:
        OSError: there is no such file, or it is something else.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a folder, opening it says so
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return path.open("rb")
