"""One caption file, read as the engine reads it: UTF-8, first line only, stripped.

Mirrors ``read_caption`` in the engine's ``library/train_util.py``, which fails
on a file of no bytes and on anything that is not UTF-8, and would take a byte
order mark for the first letter of the trigger.
"""

from __future__ import annotations

import os
from typing import NamedTuple

_MAX_BYTES = 65_536
_FACE_SUFFIX_PARTS = 4


class CaptionRead(NamedTuple):
    """``text`` is None where the engine would stop; the flags say what it would overlook."""

    text: str | None
    problem: str = ""
    has_bom: bool = False
    has_more_lines: bool = False


def read_caption(path: str) -> CaptionRead:
    """Read the one line that counts; what is wrong is told, not raised."""
    try:
        data = _read_bounded(path)
        text = data.decode("utf-8")
    except OSError as wrong:
        return CaptionRead(None, wrong.strerror or str(wrong))
    except UnicodeDecodeError as wrong:
        return CaptionRead(None, f"it is not UTF-8 (byte {wrong.start})")
    if not data:
        return CaptionRead(None, "it is empty")
    if "\0" in text:
        return CaptionRead(None, "it holds NUL bytes")
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    more = any(line.strip() for line in lines[1:])
    return CaptionRead(lines[0].strip(), "", text.startswith("\ufeff"), more)


def caption_stems(stem: str) -> tuple[str, ...]:
    """The names an image's caption may have, the engine's second choice included.

    An image cut out by kohya's face detection ends in four numbers; the engine
    then looks for the caption of the picture that it was cut from.

    >>> caption_stems("ann"), caption_stems("ann_0001_10_20_30")
    (('ann',), ('ann_0001_10_20_30', 'ann'))
    """
    parts = stem.split("_")
    if len(parts) <= _FACE_SUFFIX_PARTS:
        return (stem,)
    return stem, "_".join(parts[:-_FACE_SUFFIX_PARTS])


def _read_bounded(path: str) -> bytes:
    """The beginning of the file, cut where a character ends."""
    opened = os.open(path, os.O_RDONLY)
    try:
        data = os.read(opened, _MAX_BYTES)
    finally:
        os.close(opened)
    if len(data) < _MAX_BYTES:
        return data
    return data[: data.rfind(b"\n") + 1] or data.decode("utf-8", errors="ignore").encode()
