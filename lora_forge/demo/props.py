"""What the character can hold, each drawn around the hand at (x, y)."""

from __future__ import annotations

import math

from lora_forge.demo.canvas import Canvas, mix
from lora_forge.demo.palette import FLAMES, INK, LEATHER, LENS, LINE, PETAL, SCARF, SKIN_DARK, STEEL, WHITE


def _hammer(canvas: Canvas, x: float, y: float) -> None:
    canvas.stroke([(x - 0.12, y + 0.55), (x + 0.18, y - 0.75)], INK, 0.2)
    canvas.stroke([(x - 0.12, y + 0.55), (x + 0.18, y - 0.75)], mix(LEATHER, WHITE, 0.35), 0.12)
    head = [(x - 0.3, y - 1.05), (x + 0.58, y - 0.85), (x + 0.5, y - 0.48), (x - 0.38, y - 0.68)]
    canvas.polygon(head, STEEL, line=INK, w=LINE)


def _lantern(canvas: Canvas, x: float, y: float) -> None:
    canvas.stroke([(x, y), (x, y + 0.3)], INK, 0.07)
    canvas.box(x - 0.26, y + 0.3, x + 0.26, y + 0.95, INK)
    canvas.box(x - 0.19, y + 0.4, x + 0.19, y + 0.86, FLAMES[2])


def _book(canvas: Canvas, x: float, y: float) -> None:
    cover = [(x - 0.6, y - 0.5), (x + 0.1, y - 0.6), (x + 0.15, y + 0.3), (x - 0.55, y + 0.4)]
    canvas.polygon(cover, SCARF, line=INK, w=LINE)
    canvas.polygon([(x - 0.48, y - 0.4), (x, y - 0.47), (x + 0.04, y + 0.2), (x - 0.44, y + 0.28)], WHITE)


def _mug(canvas: Canvas, x: float, y: float) -> None:
    glaze = mix(LENS, INK, 0.3)
    canvas.ellipse(x + 0.3, y - 0.12, 0.2, 0.2, glaze)
    canvas.box(x - 0.26, y - 0.45, x + 0.26, y + 0.2, glaze)
    canvas.ellipse(x, y - 0.45, 0.26, 0.08, mix(LEATHER, INK, 0.3))


def _flower(canvas: Canvas, x: float, y: float) -> None:
    canvas.stroke([(x, y), (x + 0.1, y - 0.6)], SKIN_DARK, 0.08)
    for angle in map(math.radians, range(0, 360, 60)):
        canvas.ellipse(x + 0.1 + 0.2 * math.cos(angle), y - 0.7 + 0.2 * math.sin(angle), 0.14, 0.14, PETAL)
    canvas.ellipse(x + 0.1, y - 0.7, 0.13, 0.13, FLAMES[2])


def _balloon(canvas: Canvas, x: float, y: float) -> None:
    canvas.stroke([(x, y), (x + 0.25, y - 1.2)], INK, 0.03)
    canvas.ellipse(x + 0.3, y - 1.75, 0.5, 0.58, SCARF, line=INK, w=LINE)
    canvas.ellipse(x + 0.14, y - 1.95, 0.12, 0.16, mix(SCARF, WHITE, 0.6))


PROPS = {
    "hammer": _hammer,
    "lantern": _lantern,
    "book": _book,
    "mug": _mug,
    "flower": _flower,
    "balloon": _balloon,
}
