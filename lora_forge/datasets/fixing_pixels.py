"""One image made fit to train on: upright, opaque, RGB, sRGB, a single frame. Nothing is written here.

What needs no change keeps its bytes; what does is encoded anew: JPEG as JPEG of
high quality (or PNG where ``lossless``), all else as PNG, which loses nothing.
The engine itself converts with ``convert("RGB")`` and knows neither EXIF
orientation nor colour profiles (``load_image`` in its library/train_util.py).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lora_forge.datasets.image_size import UnreadableImage, read_image_header
from lora_forge.datasets.jpeg_scans import are_too_many, count_scans
from lora_forge.datasets.listing import split_name

if TYPE_CHECKING:
    from PIL.Image import Image

JPEG_QUALITY = 95
"""With full chroma resolution; above it files grow and nothing that shows is gained (libjpeg's own advice)."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
ORIENTATION_TAG = 0x0112
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_COLOURS = {"P": "palette", "L": "greyscale", "1": "1 bit", "LAB": "Lab"}


class Unusable(Exception):
    """Why an image cannot be in a prepared dataset."""


@dataclass(frozen=True)
class Wishes:
    """How images are to be prepared. ``background`` shows where a picture is transparent.

    ``copy`` makes files of their own of those that need no change, which else are hard links.
    """

    background: tuple[int, int, int] = (255, 255, 255)
    lossless: bool = False
    copy: bool = False
    caption_extension: str = ".txt"


class Prepared(NamedTuple):
    """``data`` is None where the file's own bytes are right; ``ending`` is true to the result."""

    ending: str
    changes: tuple[str, ...]
    data: bytes | None = None
    is_lossy: bool = False


def prepare_image(path: Path, wishes: Wishes) -> Prepared:
    """Decode the whole image and mend what the engine would misread.

    Raises:
        Unusable: it cannot be decoded, or is too large to be.
    """
    try:
        header = read_image_header(str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _prepare(path, header.kind, wishes)
    except UnreadableImage as wrong:
        raise Unusable(str(wrong)) from wrong


def parse_colour(text: str) -> tuple[int, int, int] | None:
    """A colour by name or as ``#rrggbb``; None where it is none.

    >>> parse_colour("white"), parse_colour("#102030"), parse_colour("nothing")
    ((255, 255, 255), (16, 32, 48), None)
    """
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError:
        return None
    return red, green, blue


def _prepare(path: Path, kind: str, wishes: Wishes) -> Prepared:
    from PIL import Image

    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            is_deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))  # gone once it is loaded
            is_jpeg = image.format in ("JPEG", "MPO")
            if is_jpeg and are_too_many(count_scans(str(path)), image.width * image.height):
                raise Unusable("it has too many scans to be decoded")
            image.load()
            changed, changes = _mend(image, wishes, is_deep=is_deep)
            data = _encode(changed, is_jpeg=is_jpeg and not wishes.lossless) if changes else None
    except Unusable:
        raise
    except MemoryError as wrong:
        raise Unusable("it does not fit into memory") from wrong
    except Exception as wrong:  # Pillow's plugins raise anything on damaged data
        raise Unusable(f"it cannot be decoded ({wrong})") from wrong
    if data is None:
        return _renamed(path, kind)
    ending = ".jpg" if is_jpeg and not wishes.lossless else ".png"
    return Prepared(_ending(path, ending), tuple(changes), data, is_jpeg and not wishes.lossless)


def _renamed(path: Path, kind: str) -> Prepared:
    """The same bytes under a true, lower-case ending."""
    own = split_name(path.name)[1]
    ending = _ending(path, kind)
    if ending == own:
        return Prepared(ending, ())
    why = f"ending {own} written as {ending}" if ending == own.lower() else f"ending {own} is not its content: {ending}"
    return Prepared(ending, (why,))


def _ending(path: Path, kind: str) -> str:
    """``.jpeg`` may stay where the content is JPEG."""
    own = split_name(path.name)[1].lower()
    return own if own == ".jpeg" and kind == ".jpg" else kind


def _mend(image: Image, wishes: Wishes, *, is_deep: bool) -> tuple[Image, list[str]]:
    """Every change in the order in which it is made; none leaves the image as it is.

    ``is_deep`` says that 16 bits a channel are stored: Pillow opens such colours as 8 bits, without a word.
    """
    changes: list[str] = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # an MPO's further pictures are thumbnails and depth maps
        changes.append(f"the first of {frames} frames kept")
    if image.format in ("GIF", "TIFF", "PPM"):
        changes.append(f"{image.format} written as PNG")
    profile = image.info.get("icc_profile")
    if is_deep and image.mode not in _SIXTEEN_BITS:
        changes.append("16 bits written as 8")
    image = _upright(image, changes)
    image = _eight_bits(image, changes)
    image = _opaque(image, wishes.background, changes)
    image = _srgb(image, profile, changes)
    if image.mode != "RGB":
        changes.append(f"{_COLOURS.get(image.mode, image.mode)} converted to RGB")
        image = image.convert("RGB")
    return image, changes


def _upright(image: Image, changes: list[str]) -> Image:
    from PIL import ImageOps

    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001  # EXIF is read lazily, and damage to it is none to the picture
        return image
    if orientation not in range(2, 9):
        return image
    changes.append(f"EXIF orientation {orientation} applied")
    return ImageOps.exif_transpose(image)


def _eight_bits(image: Image, changes: list[str]) -> Image:
    """Scaled, where Pillow's own conversion cuts everything above 255 to white."""
    if image.mode not in _SIXTEEN_BITS:
        return image
    import numpy as np
    from PIL import Image as pillow

    values = np.asarray(image).astype(np.float64)
    top = 65_535.0 if values.max(initial=0) > 255 else 255.0
    changes.append("16 bits scaled to 8" if top > 255 else "32 bits written as 8")
    return pillow.fromarray(np.clip(np.rint(values * (255.0 / top)), 0, 255).astype(np.uint8))


def _opaque(image: Image, background: tuple[int, int, int], changes: list[str]) -> Image:
    if image.mode not in _ALPHA and "transparency" not in image.info:
        return image
    from PIL import Image as pillow

    changes.append("transparency put on #{:02x}{:02x}{:02x}".format(*background))
    see_through = image.convert("RGBA")
    canvas = pillow.new("RGBA", see_through.size, (*background, 255))
    return pillow.alpha_composite(canvas, see_through).convert("RGB")


def _srgb(image: Image, profile: bytes | None, changes: list[str]) -> Image:
    """Colours as the picture means them; a profile that is sRGB already, or damaged, changes nothing."""
    if not profile:
        return image
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        name = ImageCms.getProfileDescription(source).strip()
        if "srgb" in name.lower():
            return image
        base = image.convert("RGB") if image.mode == "P" else image
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(base, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    if converted is None:
        return image
    changes.append(f"colours converted from {name or 'its profile'} to sRGB")
    return converted


def _encode(image: Image, *, is_jpeg: bool) -> bytes:
    """Without EXIF and profile: both are in the pixels now, and neither may be applied twice."""
    from PIL import Image as pillow

    bare = pillow.new("RGB", image.size)
    bare.paste(image)
    out = BytesIO()
    if is_jpeg:
        bare.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        bare.save(out, "PNG")
    return out.getvalue()
