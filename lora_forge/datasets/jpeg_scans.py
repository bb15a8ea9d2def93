"""How many scans a JPEG has, which decides what decoding it costs.

A JPEG of one scan is decoded row by row and may be shrunk on the way. One of
several (progressive, or a colour at a time) is kept whole, as coefficients, and
gone over once for each scan, of which nothing bounds the number: a few bytes
each make a file that decodes for hours. Mirrors ``initial_setup`` in libjpeg's
jdinput.c: several scans are there if the first names fewer colours than the
frame, or the frame is progressive.
"""

from __future__ import annotations

from typing import BinaryIO

MOST_SCANS = 500
MOST_SCANNED = 2_000_000_000
"""Pixels times scans, about twenty seconds; a photograph has about ten scans, a camera's of 60 million pixels also."""
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_FRAMES = (0xC0, 0xC1, *_PROGRESSIVE, 0xC3, 0xC5, 0xC7, 0xC9, 0xCB, 0xCD, 0xCF)
_ALONE = (0x01, *range(0xD0, 0xD9))
"""Markers without a segment behind them."""
_SCAN = 0xDA
_CHUNK = 1 << 20


def count_scans(path: str) -> int:
    """1 for a JPEG that is read row by row; else how many scans it has, those of an embedded preview included.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:  # noqa: PTH123  a str, for its speed
        if _is_single(file):
            return 1
        file.seek(0)
        return max(2, _count(file))


def are_too_many(scans: int, pixels: int) -> bool:
    """Whether decoding would take too long."""
    return scans > MOST_SCANS or (scans > 1 and scans * pixels > MOST_SCANNED)


def _is_single(file: BinaryIO) -> bool:
    """Go from segment to segment up to the first scan; whatever is unclear counts as several."""
    colours = 0
    if file.read(2) != b"\xff\xd8":
        return False
    while (marker := _next_marker(file)) is not None:
        if marker in _ALONE:
            continue
        body = file.read(int.from_bytes(file.read(2), "big") - 2)
        if marker in _PROGRESSIVE:
            return False
        if marker in _FRAMES and len(body) > 5:
            colours = body[5]
        elif marker == _SCAN:
            return bool(body) and 0 < colours <= body[0]
    return False


def _next_marker(file: BinaryIO) -> int | None:
    """None at the end, or where something else than a marker stands."""
    if file.read(1) != b"\xff":
        return None
    while (byte := file.read(1)) == b"\xff":  # padding
        pass
    return byte[0] if byte else None


def _count(file: BinaryIO) -> int:
    """Within coded data FF is always followed by 0 or a restart, so the two bytes stand for a scan alone."""
    count, last = 0, b""
    while chunk := file.read(_CHUNK):
        count += (last + chunk).count(b"\xff\xda")
        last = chunk[-1:]
    return count
