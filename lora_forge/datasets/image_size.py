"""The size of an image from its header, by the engine's own reader, so that buckets agree.

imagesize reads a few bytes; Pillow is asked only for what imagesize does not
know (BMP, above all), and then opens the header without decoding a pixel. The
order is that of ``get_image_size`` in the engine's ``library/train_util.py``.
"""

from __future__ import annotations

import os
import struct
import warnings
from io import BytesIO
from typing import NamedTuple

_HEAD_BYTES = 64
_KINDS = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8", ".jpg"),
    (b"BM", ".bmp"),
    (b"GIF8", ".gif"),
)
_READ_FROM_HEAD = frozenset({".png", ".webp", ".gif"})
_PILLOW_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MAX_PIXELS = 178_956_970
"""Twice Pillow's ``MAX_IMAGE_PIXELS``: beyond it the engine's Pillow refuses to open an image."""


class ImageHeader(NamedTuple):
    """``kind`` is the extension that the content deserves (``.jpg`` for JPEG), "" where it is unusual."""

    kind: str
    width: int
    height: int


class UnreadableImage(Exception):
    """Why the engine could not read the file either."""


def read_image_header(path: str) -> ImageHeader:
    """Measure one image.

    Raises:
        UnreadableImage: with the reason, for anything that is not a whole image header.
    """
    head = _read_head(path)
    if not head:
        raise UnreadableImage("the file is empty")
    kind = _kind(head)
    width, height = _measure(path, head, kind)
    if width <= 0 or height <= 0:
        width, height = _measure_with_pillow(path)
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"{width}×{height} is more than {MAX_PIXELS:,} pixels")
    return ImageHeader(kind, width, height)


def _read_head(path: str) -> bytes:
    try:
        opened = os.open(path, os.O_RDONLY)
        try:
            return os.read(opened, _HEAD_BYTES)
        finally:
            os.close(opened)
    except OSError as wrong:
        raise UnreadableImage(wrong.strerror or str(wrong)) from wrong


def _kind(head: bytes) -> str:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    return next((kind for magic, kind in _KINDS if head.startswith(magic)), "")


def _measure(path: str, head: bytes, kind: str) -> tuple[int, int]:
    """By imagesize; 0 × 0 sends the file on to Pillow. An image it chokes on would end the engine too."""
    if kind not in _READ_FROM_HEAD and kind != ".jpg":
        return 0, 0
    import imagesize

    try:
        width, height = imagesize.get(path if kind == ".jpg" else BytesIO(head))
    except (OSError, ValueError, TypeError, IndexError, struct.error) as wrong:
        raise UnreadableImage("its header is cut short or damaged") from wrong
    return int(width), int(height)


def _measure_with_pillow(path: str) -> tuple[int, int]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_PILLOW_FORMATS) as image:
                width, height = image.size
                return width, height
    except Image.DecompressionBombError as wrong:
        raise UnreadableImage(f"it has more than {MAX_PIXELS:,} pixels") from wrong
    except Exception as wrong:  # Pillow's plugins raise anything on damaged headers
        raise UnreadableImage("it is not an image, or its header is damaged") from wrong
