"""Saves that are there whole or not at all.

The engine writes a LoRA in place: killed in the middle it leaves a cut file
under the final name. Here the network's own ``save_weights`` writes beside the
target, and a rename puts the finished file in its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

PARTIAL = ".partial"

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
            sync(partial)
            Path(partial).replace(file)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        sync(str(Path(file).parent))
        after(file)

    return save


def sync(path: str) -> None:
    """Force a file, or a directory's entries, to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
