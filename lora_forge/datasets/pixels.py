"""One image, decoded once, measured in everything that a check may ask.

The engine sees pixels as they are stored: EXIF orientation is not applied and
transparency is dropped (``load_image`` in its ``library/train_util.py``), so
they are measured, not corrected. What cannot be decoded is a fact too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from lora_forge.datasets.jpeg_scans import are_too_many, count_scans

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    Array = NDArray[np.float32]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MOST_DECODED = 100_000_000
"""Pixels; 300 MB in RGB. A JPEG of one scan is not bound by it: its decoder shrinks while it reads."""
LONG_SIDE = 768
"""Sharpness and exposure are measured at about the size that is trained at, not at the camera's."""
THUMB, HASH_SIDE = 8, 8
CHROMA_SIDE, STRONGEST = 64, 0.99
GREY_BELOW = 3.0
"""Levels that the channels lie apart in a black-and-white picture saved in colour: JPEG leaves two at the most."""
TILES = 6
SHARPEST = 0.9
"""A portrait before a soft background is sharp: the tile at this quantile speaks for the picture."""
_CHUNK = 1 << 20
_ORIENTATION = 0x0112
_ORIENTATIONS = range(2, 9)
_BINARY = ("looks", "turned", "thumb", "rim")


class PixelFacts(NamedTuple):
    """What one image's content comes to; equal content gives equal facts.

    ``problem`` says why it could not be decoded, and all after it is then empty;
    ``scans`` are those of a JPEG that has so many that nobody decodes it.
    ``sharpness`` is the variance of the Laplacian; ``dark`` and ``bright`` are the
    clipped shares of the middle; ``chroma`` is how many levels the three channels lie
    apart where the colour is strongest. ``looks`` is a 128-bit gradient hash, ``turned``
    that of the picture in every other position of ``positions``, ``thumb`` an 8×8
    miniature, ``rim`` the colours along the upper and both side edges, all RGB.
    """

    digest: str
    problem: str = ""
    is_huge: bool = False
    scans: int = 0
    mode: str = ""
    bits: int = 8
    orientation: int = 1
    animated: bool = False
    transparent: float = 0.0
    colours: int = 0
    sharpness: float = 0.0
    dark: float = 0.0
    bright: float = 0.0
    chroma: float = 0.0
    looks: bytes = b""
    turned: bytes = b""
    thumb: bytes = b""
    rim: bytes = b""

    @property
    def decoded(self) -> bool:
        return not self.problem and not self.is_huge

    def to_text(self) -> str:
        """One line of JSON for the cache."""
        binary = {name: base64.b64encode(getattr(self, name)).decode() for name in _BINARY}
        return json.dumps({**self._asdict(), **binary})

    @classmethod
    def from_text(cls, text: str) -> PixelFacts:
        """Read ``to_text`` back.

        Raises:
            ValueError, TypeError: it is something else.
        """
        values = json.loads(text)
        if not isinstance(values, dict) or values.keys() != set(cls._fields):
            raise ValueError("not the facts of an image")
        facts = cls(**{**values, **{name: base64.b64decode(values[name]) for name in _BINARY}})
        if any(type(one) is not type(other) for one, other in zip(facts, cls(""), strict=True)):
            raise ValueError("facts of the wrong kind")
        return facts


def content_digest(path: str) -> str:
    """The file's content as 128 bits of BLAKE2b; memory stays at one chunk.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    opened = os.open(path, os.O_RDONLY)
    try:
        while chunk := os.read(opened, _CHUNK):
            digest.update(chunk)
    finally:
        os.close(opened)
    return digest.hexdigest()


OUT_OF_MEMORY = "there was not enough memory to decode it"
"""The one problem that is this machine's and this moment's, not the file's."""
_NO_MEMORY = "out of memory"
"""How Pillow's decoders begin to say it, as an OSError."""

Permit = Callable[[int], AbstractContextManager[object]]
"""Asked with how many pixels an image will hold in memory; it is decoded within the context."""


def measure_image(path: str, digest: str, permit: Permit | None = None) -> PixelFacts:
    """Decode and measure; damage is told in ``problem``, never raised."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            held, scans = _cost(image, path)
            if held > MOST_DECODED or are_too_many(scans, held):
                return PixelFacts(digest, is_huge=True, scans=scans if held <= MOST_DECODED else 0, mode=image.mode)
            with permit(held) if permit else nullcontext():
                return _measure(image, digest)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return PixelFacts(digest, is_huge=True)
    except (Exception, MemoryError) as wrong:  # noqa: BLE001  Pillow's plugins raise anything on damaged data
        lacks = isinstance(wrong, MemoryError) or str(wrong).startswith(_NO_MEMORY)
        return PixelFacts(digest, problem=OUT_OF_MEMORY if lacks else _reason(wrong))


def _cost(image: Image, path: str) -> tuple[int, int]:
    """How many pixels stand in memory at once, and how often a JPEG is gone over."""
    if image.format not in ("JPEG", "MPO"):
        return image.width * image.height, 1
    scans = count_scans(path)
    return (0 if scans == 1 else image.width * image.height), scans


def _reason(wrong: BaseException) -> str:
    return " ".join(str(wrong).split())[:120].rstrip(".") or type(wrong).__name__


def _measure(image: Image, digest: str) -> PixelFacts:
    facts = PixelFacts(
        digest,
        mode=image.mode,
        bits=_bits(image),
        animated=image.format != "MPO" and bool(getattr(image, "is_animated", False)),
    )  # a phone's depth picture makes a JPEG an MPO of several frames, which nobody would call animated
    image.draft("RGB", (LONG_SIDE, LONG_SIDE))
    image.load()
    facts = facts._replace(orientation=_orientation(image), transparent=_transparent(image), colours=_colours(image))
    rgb = _as_rgb(image, facts.bits)
    return _measure_rgb(rgb, facts)


def _bits(image: Image) -> int:
    """Pillow opens 16-bit PNG in colour as 8-bit RGB; only its raw mode still tells."""
    if image.mode.startswith(("I", "F")):
        return 32 if image.mode in ("I", "F") and image.format != "PNG" else 16
    raw = [str(tile[3]) for tile in getattr(image, "tile", ())]
    return 16 if any(";16" in mode for mode in raw) else 8


def _orientation(image: Image) -> int:
    """1 where there is none; a damaged EXIF block is none."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  EXIF is foreign data, and read lazily
        return 1
    return value if value in _ORIENTATIONS else 1


def _transparent(image: Image) -> float:
    """The share of pixels that are not opaque."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return 0.0
    alpha = image.convert("RGBA").getchannel("A").histogram()
    return 1 - alpha[255] / max(1, sum(alpha))


def _colours(image: Image) -> int:
    palette = image.palette
    return len(palette.colors) or 256 if image.mode in ("P", "PA") and palette else 0


def _as_rgb(image: Image, bits: int) -> Image:
    """At most ``LONG_SIDE`` long, in RGB; deep grey is scaled as an eye would, not cut as the engine does."""
    from PIL import Image as Pillow

    if bits > 8 and image.mode.startswith(("I", "F")):
        image = _scaled_to_8_bits(image)
    scale = max(image.size) / LONG_SIDE
    if image.mode not in ("RGB", "L"):
        image = image.convert("RGB")
    if scale > 1:
        size = (max(1, round(image.width / scale)), max(1, round(image.height / scale)))
        image = image.resize(size, Pillow.Resampling.BILINEAR, reducing_gap=2.0)
    return image.convert("RGB")


def _scaled_to_8_bits(image: Image) -> Image:
    import numpy as np
    from PIL import Image as Pillow

    deep = np.asarray(image, np.float32)
    return Pillow.fromarray((deep * (255 / max(float(deep.max(initial=1)), 1.0))).clip(0, 255).astype(np.uint8))


def _measure_rgb(rgb: Image, facts: PixelFacts) -> PixelFacts:
    import numpy as np
    from PIL import Image as Pillow

    grey_image = rgb.convert("L")
    grey = np.asarray(grey_image, np.uint8)
    height, width = grey.shape
    middle = grey[height // 4 : height - height // 4, width // 4 : width - width // 4]
    small = np.asarray(rgb.resize((2 * THUMB, 2 * THUMB), Pillow.Resampling.BOX), np.float32)
    looks = _looks(grey_image)
    return facts._replace(
        sharpness=round(_sharpness(grey.astype(np.float32)), 1),
        dark=round(float((middle <= DARKEST).mean()), 3),
        bright=round(float((middle >= BRIGHTEST).mean()), 3),
        chroma=_chroma(rgb),
        looks=looks[0],
        turned=b"".join(looks[1:]),
        thumb=_shrunk(small, 2).tobytes(),
        rim=_rim(small),
    )


DARKEST, BRIGHTEST = 8, 250
"""Grey levels from which on nothing can be told apart on a screen."""


def _sharpness(grey: Array) -> float:
    """Variance of the Laplacian, tile by tile: the sharp part of the picture counts."""
    import numpy as np

    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    height, width = laplacian.shape
    across, down = max(1, min(TILES, width // 16)), max(1, min(TILES, height // 16))
    cut = laplacian[: height // down * down, : width // across * across]
    tiles = cut.reshape(down, height // down, across, width // across)
    return float(np.quantile(tiles.var(axis=(1, 3)), SHARPEST))


def _shrunk(small: Array, times: int) -> NDArray[np.uint8]:
    import numpy as np

    height, width, _ = small.shape
    tiles = small.reshape(height // times, times, width // times, times, 3)
    mean: NDArray[np.uint8] = tiles.mean(axis=(1, 3)).round().astype(np.uint8)
    return mean


def _rim(small: Array) -> bytes:
    """Cells of an eighth of each side; the lower edge is left out, for there stands the subject."""
    cells = _shrunk(small, 2)
    edges: list[bytes] = [edge.tobytes() for edge in (cells[0], cells[1:-2, 0], cells[1:-2, -1])]
    return b"".join(edges)


def _chroma(rgb: Image) -> float:
    """Nearly the strongest colour, for a grey picture may have a coloured date in its corner."""
    import numpy as np
    from PIL import Image as Pillow

    small = np.asarray(rgb.resize((CHROMA_SIDE, CHROMA_SIDE), Pillow.Resampling.BOX), np.float32)
    return round(float(np.quantile(small.max(axis=2) - small.min(axis=2), STRONGEST)), 1)


def _looks(grey: Image) -> list[bytes]:
    """Which neighbour is brighter, to the right and below, in an 8×8 miniature: survives scaling and recompression."""
    import numpy as np
    from PIL import Image as Pillow

    side = HASH_SIDE + 1
    small = np.asarray(grey.resize((side, side), Pillow.Resampling.BOX), np.int16)
    return [_gradients(turned) for turned in positions(small)]


def _gradients(small: NDArray[np.int16]) -> bytes:
    import numpy as np

    right = small[:-1, 1:] > small[:-1, :-1]
    below = small[1:, :-1] > small[:-1, :-1]
    bits: NDArray[np.uint8] = np.packbits(np.concatenate([right.ravel(), below.ravel()]))
    return bits.tobytes()


def positions(square: NDArray[Any]) -> list[NDArray[Any]]:
    """A square as it is, in its three quarter turns, and mirrored in all four; the order is that of ``turned``."""
    import numpy as np

    return [np.rot90(side, turn) for side in (square, np.fliplr(square)) for turn in range(4)]
