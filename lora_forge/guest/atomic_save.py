"""Saves that are there whole or not at all.

The engine writes a LoRA in place: killed in the middle it leaves a cut file
under the final name. Here the network's own ``save_weights`` writes beside the
target, and a rename puts the finished file in its place.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

PARTIAL = ".partial"
NEW_FILE_MODE = 0o666
"""What a new file gets, but for the umask."""
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""fsync(2): the filesystem has no such operation for a folder; a failed write is EIO, ENOSPC or EDQUOT."""

SaveWeights = Callable[[str, object, object], None]


def partial_name(file: str) -> str:
    """Name the unfinished file.

    The suffix must stay: the engine picks its format by it.

    >>> partial_name("out/jeff.safetensors")
    'out/jeff.partial.safetensors'
    """
    path = Path(file)
    return str(path.with_name(f"{path.stem}{PARTIAL}{path.suffix}"))


def atomic(save_weights: SaveWeights, before: Callable[[str], None], after: Callable[[str], None]) -> SaveWeights:
    """Wrap ``save_weights`` so that ``file`` appears whole and on disk; ``before`` and ``after`` are told."""

    def save(file: str, dtype: object, metadata: object) -> None:
        before(file)
        partial = partial_name(file)
        try:
            save_weights(partial, dtype, metadata)
            Path(partial).chmod(NEW_FILE_MODE & ~umask())  # safetensors makes it for its owner alone
            sync(partial)
            Path(partial).replace(file)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        sync_folder(str(Path(file).parent))
        after(file)

    return save


def umask() -> int:
    """The process's own, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def sync(path: str) -> None:
    """Force a file to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: str) -> None:
    """Force a folder's entries to disk, where its filesystem can (Samba and gocryptfs cannot)."""
    try:
        sync(path)
    except OSError as problem:
        if problem.errno not in NO_FOLDER_SYNC:
            raise
