"""A Pillow drawing surface with units of its own, so that a figure is described once and drawn at any size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

CURVE_STEPS = 12


@dataclass(frozen=True)
class Canvas:
    """Draws in units of ``unit`` pixels around ``origin``; x to the right, y down.

    ``rng`` belongs to the picture, so that leaves and clouds fall the same way every time.
    """

    draw: ImageDraw
    origin: Point
    unit: float
    rng: Random

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        fill: Colour,
        *,
        line: Colour | None = None,
        w: float = 0,
    ) -> None:
        left, top = self._pixel((x - rx, y - ry))
        right, bottom = self._pixel((x + rx, y + ry))
        self.draw.ellipse((left, top, right, bottom), fill=fill, outline=line, width=self._width(w))

    def blob(self, points: Sequence[Point], fill: Colour, *, line: Colour | None = None, w: float = 0) -> None:
        """A closed shape with a smooth edge through ``points``."""
        self.polygon(smooth(points), fill, line=line, w=w)

    def polygon(self, points: Iterable[Point], fill: Colour, *, line: Colour | None = None, w: float = 0) -> None:
        pixels = [self._pixel(point) for point in points]
        self.draw.polygon(pixels, fill=fill)
        if line is not None:
            self.draw.line([*pixels, pixels[0], pixels[1]], fill=line, width=self._width(w), joint="curve")

    def stroke(self, points: Sequence[Point], colour: Colour, w: float) -> None:
        """A line with round ends."""
        pixels = [self._pixel(point) for point in points]
        self.draw.line(pixels, fill=colour, width=self._width(w), joint="curve")
        radius = w * self.unit / 2
        for x, y in (pixels[0], pixels[-1]):
            self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def arc(
        self, x: float, y: float, rx: float, ry: float, turn: tuple[float, float], pen: tuple[Colour, float]
    ) -> None:
        """Part of an ellipse; ``turn`` in degrees, clockwise from three o'clock."""
        start, end = (math.radians(angle) for angle in turn)
        steps = [start + (end - start) * i / CURVE_STEPS for i in range(CURVE_STEPS + 1)]
        self.stroke([(x + rx * math.cos(a), y + ry * math.sin(a)) for a in steps], *pen)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        self.draw.rectangle((*self._pixel((left, top)), *self._pixel((right, bottom))), fill=fill)

    def _pixel(self, point: Point) -> Point:
        return self.origin[0] + point[0] * self.unit, self.origin[1] + point[1] * self.unit

    def _width(self, w: float) -> int:
        return max(1, round(w * self.unit))


def smooth(points: Sequence[Point]) -> list[Point]:
    """A closed Catmull-Rom curve through ``points``."""
    count = len(points)
    return [
        _between([points[(i + k) % count] for k in (-1, 0, 1, 2)], step / CURVE_STEPS)
        for i in range(count)
        for step in range(CURVE_STEPS)
    ]


def _between(around: Sequence[Point], t: float) -> Point:
    weights = (
        -t + 2 * t**2 - t**3,
        2 - 5 * t**2 + 3 * t**3,
        t + 4 * t**2 - 3 * t**3,
        t**3 - t**2,
    )
    x = sum(weight * point[0] for weight, point in zip(weights, around, strict=True)) / 2
    y = sum(weight * point[1] for weight, point in zip(weights, around, strict=True)) / 2
    return x, y


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """``share`` of the way from one colour to the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image:
    from PIL import Image

    mask = Image.linear_gradient("L").resize(size)
    return Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), mask)
