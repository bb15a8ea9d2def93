"""Draws the demo's dataset: 23 captioned pictures of one character, the same for the same seed."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from lora_forge.demo.canvas import Canvas, gradient
from lora_forge.demo.character import draw_character
from lora_forge.demo.shots import SHOTS, TRIGGER, Shot

if TYPE_CHECKING:
    from PIL.Image import Image

OVERSAMPLING = 2  # Pillow draws hard edges; drawn at twice the size and halved, they are smooth
JPEG_QUALITY = 92

# Where the head's centre is, and how long its radius: shares of the picture's height, or of its
# width times 4/3 where the picture is narrower than that, so that ears and arms stay inside.
PLACES = {"portrait": (0.55, 0.26), "half": (0.44, 0.2), "full": (0.4, 0.15)}


def draw_dataset(folder: Path, *, seed: int = 42) -> None:
    """Write pictures and captions to ``folder``, which appears at once or not at all.

    What lay there before is replaced.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for number, shot in enumerate(SHOTS, start=1):
        stem = f"{TRIGGER}_{number:02d}"
        _save(draw_shot(shot, Random(f"{seed}:{number}")), part / stem, number)  # noqa: S311
        (part / f"{stem}.txt").write_text(f"{shot.text}\n", encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)


def draw_shot(shot: Shot, rng: Random) -> Image:
    from PIL import Image, ImageDraw

    width, height = (side * OVERSAMPLING for side in shot.size)
    picture = gradient((width, height), *shot.scene.sky)
    backdrop = Canvas(ImageDraw.Draw(picture), (0, 0), height, rng)
    for paint in shot.scene.things:
        paint(backdrop, width / height)
    _add_character(picture, shot, rng)
    return picture.resize(shot.size, Image.Resampling.LANCZOS)


def _add_character(picture: Image, shot: Shot, rng: Random) -> None:
    """Draw on a layer of its own, so that the scene's light falls on the character alone."""
    from PIL import Image

    width, height = picture.size
    middle = width * rng.uniform(0.44, 0.56), height * PLACES[shot.framing][0]
    unit = min(height, width * 4 / 3) * PLACES[shot.framing][1]
    if shot.framing == "full":
        _add_shadow(picture, middle, unit)
    layer = Image.new("RGBA", picture.size)
    _draw_on(layer, middle, unit, shot, rng)
    if shot.lean:
        layer = layer.rotate(shot.lean, Image.Resampling.BICUBIC, center=middle)
    lit = Image.blend(layer.convert("RGB"), Image.new("RGB", picture.size, shot.scene.tint), shot.scene.wash)
    picture.paste(lit, mask=layer.getchannel("A"))


def _draw_on(layer: Image, middle: tuple[float, float], unit: float, shot: Shot, rng: Random) -> None:
    from PIL import ImageDraw

    draw_character(Canvas(ImageDraw.Draw(layer), middle, unit, rng), shot.pose)


def _add_shadow(picture: Image, middle: tuple[float, float], unit: float) -> None:
    from PIL import Image, ImageDraw, ImageFilter

    mask = Image.new("L", picture.size)
    x, y = middle[0], middle[1] + 3.66 * unit
    ImageDraw.Draw(mask).ellipse((x - 1.3 * unit, y - 0.22 * unit, x + 1.3 * unit, y + 0.22 * unit), fill=110)
    mask = mask.filter(ImageFilter.GaussianBlur(0.12 * unit))
    picture.paste((20, 20, 30), mask=mask)


def _save(picture: Image, path: Path, number: int) -> None:
    """Every fourth picture as PNG, so that both formats are exercised."""
    if number % 4 == 0:
        picture.save(path.with_suffix(".png"), optimize=True)
    else:
        picture.save(path.with_suffix(".jpg"), quality=JPEG_QUALITY, subsampling=0)
