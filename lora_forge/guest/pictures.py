"""Sampled pictures: a stop may come while one is being written."""

from __future__ import annotations

from pathlib import Path

PNG_END = b"IEND\xae\x42\x60\x82"


def drop_cut(folder: Path) -> None:
    """Remove what a save left unfinished: Pillow cleans up after an ``Exception``, which a stop is not."""
    for path in folder.glob("*.png"):
        if not path.read_bytes().endswith(PNG_END):
            path.unlink()
