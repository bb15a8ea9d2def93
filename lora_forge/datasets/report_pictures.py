"""Thumbnails for the report: small, bounded in bytes, and true to what the engine trains on.

The engine opens a file with Pillow and converts it to RGB: EXIF orientation is
ignored, transparency is dropped and whatever colour lay beneath it appears.
Nothing of the file but its pixels gets into the page; a photograph's EXIF data
may hold where it was taken.
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from lora_forge.datasets.jpeg_scans import are_too_many, count_scans
from lora_forge.datasets.look import Progress, Watch
from lora_forge.datasets.pixels import FORMATS
from lora_forge.datasets.report_data import Thumbnail

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES_CHARACTERS = 7_000_000
"""What all thumbnails of a page may take together, so that a page stays below 10 MB."""
MOST_CHARACTERS = 30_000
LONGEST_SIDE, LEAST_SIDE = 384, 96
QUALITIES = (82, 70, 55, 40, 25)
WORKERS = 2
LARGE_PIXELS = 40_000_000
"""Images above this are decoded one at a time, so that two of them never stand in memory together."""

_ORIENTATION = 0x0112
TURNS = {
    2: "mirrored",
    3: "turned by 180°",
    4: "mirrored upside down",
    5: "mirrored and turned by 90°",
    6: "turned by 90° to the right",
    7: "mirrored and turned by 90°",
    8: "turned by 90° to the left",
}
"""EXIF orientation → what an image viewer does to the stored pixels."""


class Limits(NamedTuple):
    """How large one thumbnail may be: pixels of the longer side, characters of its address."""

    side: int
    characters: int


def limits_for(count: int) -> Limits:
    """Fewer pixels where there are more images.

    >>> limits_for(23), limits_for(1000)
    (Limits(side=384, characters=30000), Limits(side=185, characters=7000))
    """
    characters = min(MOST_CHARACTERS, PICTURES_CHARACTERS // max(count, 1))
    side = round(LONGEST_SIDE * (characters / MOST_CHARACTERS) ** 0.5)
    return Limits(max(side, LEAST_SIDE), characters)


def draw_thumbnails(paths: Sequence[Path], watch: Watch | None = None) -> list[Thumbnail]:
    """One thumbnail for each path, in their order; a file that cannot be decoded says why instead."""
    limits, lock = limits_for(len(paths)), Lock()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not thread-safe, so once around all threads
        with ThreadPoolExecutor(WORKERS) as pool:
            try:
                drawn = pool.map(lambda path: draw_thumbnail(path, limits, lock), paths)
                return list(_watched(drawn, len(paths), watch))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def draw_thumbnail(path: Path, limits: Limits, lock: AbstractContextManager[object] | None = None) -> Thumbnail:
    """Decode one file once. Pillow's plugins raise anything on damaged files, and none of it may end a report."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as opened:
            if opened.format in ("JPEG", "MPO") and are_too_many(count_scans(str(path)), opened.width * opened.height):
                return Thumbnail(problem="it has too many scans to be decoded")
            large = opened.width * opened.height > LARGE_PIXELS
            with lock if large and lock else nullcontext():
                small = _shrunk(opened, limits.side)
            turned = TURNS.get(opened.getexif().get(_ORIENTATION, 1), "")
            has_alpha = "A" in opened.getbands() or "transparency" in opened.info
        return _within(small, limits.characters)._replace(turned=turned, has_alpha=has_alpha)
    except Exception as wrong:  # noqa: BLE001
        return Thumbnail(problem=str(wrong) or type(wrong).__name__)


def _watched(drawn: Iterator[Thumbnail], total: int, watch: Watch | None) -> Iterator[Thumbnail]:
    for done, thumbnail in enumerate(drawn, start=1):
        if watch is not None:
            watch(Progress(done, total, None))
        yield thumbnail


def _shrunk(opened: Image, side: int) -> Image:
    """To RGB first, as the engine does: shrinking an image with alpha would blend the colours beneath it away."""
    from PIL import Image

    opened.draft("RGB", (side, side))
    whole = opened.convert("RGB")
    whole.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    clean = Image.new("RGB", whole.size)
    clean.paste(whole)
    return clean


def _within(small: Image, characters: int) -> Thumbnail:
    """The first quality that fits, and a smaller picture where none does."""
    from PIL import features

    kind = "webp" if features.check("webp") else "jpeg"
    prefix = f"data:image/{kind};base64,"
    room = (characters - len(prefix)) // 4 * 3
    for quality in QUALITIES:
        data = _encoded(small, kind, quality)
        if len(data) <= room:
            return Thumbnail(prefix + base64.b64encode(data).decode("ascii"), *small.size)
    return _within(small.reduce(2), characters)


def _encoded(small: Image, kind: str, quality: int) -> bytes:
    written = BytesIO()
    small.save(written, kind, quality=quality, method=4)
    return written.getvalue()
