"""What stands behind the character: each function returns a painter for one thing in a landscape.

Units: the picture is 1 high and ``aspect`` wide, with (0, 0) at its upper left corner.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from lora_forge.demo.canvas import Canvas, Colour, mix

Painter = Callable[[Canvas, float], None]

WHITE: Colour = (255, 255, 252)
NIGHT: Colour = (24, 28, 58)
LAMP: Colour = (255, 220, 130)


def ground(colour: Colour, horizon: float) -> Painter:
    def paint(canvas: Canvas, aspect: float) -> None:
        steps = 16
        for i in range(steps):
            top = horizon + (1 - horizon) * i / steps
            canvas.box(0, top, aspect, 1.01, mix(mix(colour, WHITE, 0.12), mix(colour, NIGHT, 0.25), i / steps))

    return paint


def disc(x: float, y: float, radius: float, colour: Colour, halo: Colour) -> Painter:
    """A sun, a moon or a planet; ``halo`` is the sky around it."""

    def paint(canvas: Canvas, aspect: float) -> None:
        for ring in range(8, 0, -1):
            size = radius * (1 + 0.14 * ring)
            canvas.ellipse(x * aspect, y, size, size, mix(colour, halo, 0.55 + 0.05 * ring))
        canvas.ellipse(x * aspect, y, radius, radius, colour)

    return paint


def clouds(count: int, colour: Colour = WHITE, below: float = 0.05) -> Painter:
    def paint(canvas: Canvas, aspect: float) -> None:
        for _ in range(count):
            x, y, size = (
                canvas.rng.uniform(0, aspect),
                canvas.rng.uniform(below, below + 0.3),
                canvas.rng.uniform(0.05, 0.09),
            )
            for dx, dy, k in ((-1.1, 0.2, 0.7), (0, 0, 1), (1.1, 0.25, 0.75), (0.3, 0.35, 0.9)):
                canvas.ellipse(x + dx * size, y + dy * size, size * k * 1.2, size * k * 0.62, colour)

    return paint


def hills(colour: Colour, base: float, height: float) -> Painter:
    def paint(canvas: Canvas, aspect: float) -> None:
        phase = canvas.rng.uniform(0, 6)
        xs = [aspect * i / 60 for i in range(61)]
        ridge = [(x, base - height * (0.5 + 0.5 * math.sin(phase + x * 5) * math.cos(x * 2 + phase))) for x in xs]
        canvas.polygon([*ridge, (aspect, 1.01), (0, 1.01)], colour)

    return paint


def peaks(colour: Colour, base: float, height: float) -> Painter:
    """Mountains with snow on top."""

    def paint(canvas: Canvas, aspect: float) -> None:
        for i in range(5):
            x = aspect * (i + canvas.rng.uniform(0.1, 0.6)) / 4.6
            top, half = base - height * canvas.rng.uniform(0.6, 1), height * 0.75
            canvas.polygon([(x - half, base), (x, top), (x + half, base)], mix(colour, WHITE, 0.06 * i))
            cap = (base - top) * 0.28
            k = half * 0.28
            canvas.polygon([(x - k, top + cap), (x, top), (x + k, top + cap), (x, top + cap * 0.75)], WHITE)

    return paint


def trees(count: int, leaf: Colour, base: float, *, fir: bool = False, size: float = 0.2) -> Painter:
    def paint(canvas: Canvas, aspect: float) -> None:
        for i in range(count):
            x = aspect * (i + canvas.rng.uniform(0.15, 0.85)) / count
            y, s = base + canvas.rng.uniform(-0.02, 0.05), size * canvas.rng.uniform(0.8, 1.25)
            tone = mix(leaf, NIGHT, canvas.rng.uniform(0, 0.22))
            canvas.box(x - s * 0.07, y - s * 0.7, x + s * 0.07, y, (98, 68, 52))
            (_fir if fir else _crown)(canvas, (x, y, s), tone)

    return paint


def _fir(canvas: Canvas, place: tuple[float, float, float], tone: Colour) -> None:
    x, y, s = place
    for layer in range(3):
        low, half = y - s * (0.3 + 0.45 * layer), s * (0.5 - 0.12 * layer)
        canvas.polygon([(x - half, low), (x, low - s * 0.75), (x + half, low)], mix(tone, WHITE, 0.06 * layer))


def _crown(canvas: Canvas, place: tuple[float, float, float], tone: Colour) -> None:
    x, y, s = place
    for dx, dy, k in ((-0.32, -0.85, 0.4), (0.32, -0.9, 0.42), (0, -1.2, 0.48)):
        canvas.ellipse(x + dx * s, y + dy * s, k * s, k * s, tone)
    canvas.ellipse(x - 0.1 * s, y - 1.3 * s, 0.2 * s, 0.18 * s, mix(tone, WHITE, 0.18))


def houses(count: int, colour: Colour, base: float, *, lit: float = 0.5, tall: float = 0.5) -> Painter:
    """A row of buildings; ``lit`` is the share of windows with a light."""

    def paint(canvas: Canvas, aspect: float) -> None:
        width = aspect / count
        for i in range(count):
            left, top = i * width, base - tall * canvas.rng.uniform(0.55, 1)
            tone = mix(colour, WHITE, canvas.rng.uniform(0, 0.18))
            canvas.box(left, top, left + width * 0.94, base, tone)
            _windows(canvas, (left, top, width, base), tone, lit)

    return paint


def _windows(canvas: Canvas, wall: tuple[float, float, float, float], tone: Colour, lit: float) -> None:
    left, top, width, base = wall
    y = top + 0.03
    while y < base - 0.04:
        for column in (0.14, 0.42, 0.7):
            light = LAMP if canvas.rng.random() < lit else mix(tone, NIGHT, 0.45)
            canvas.box(left + width * column, y, left + width * (column + 0.14), y + 0.03, light)
        y += 0.06


def sea(colour: Colour, horizon: float) -> Painter:
    def paint(canvas: Canvas, aspect: float) -> None:
        canvas.box(0, horizon, aspect, 1.01, colour)
        for _ in range(70):
            x, y = canvas.rng.uniform(0, aspect), canvas.rng.uniform(horizon + 0.01, 1)
            length = 0.03 + 0.09 * (y - horizon)
            canvas.stroke([(x, y), (x + length, y)], mix(colour, WHITE, 0.35), 0.004)

    return paint


def specks(count: int, colour: Colour, size: float, *, below: float = 0.0, above: float = 1.0) -> Painter:
    """Stars, snow, petals, sparks: small discs between two heights."""

    def paint(canvas: Canvas, aspect: float) -> None:
        for _ in range(count):
            radius = size * canvas.rng.uniform(0.5, 1.4)
            x, y = canvas.rng.uniform(0, aspect), canvas.rng.uniform(below, above)
            canvas.ellipse(x, y, radius, radius, mix(colour, WHITE, canvas.rng.uniform(0, 0.4)))

    return paint


def rain(colour: Colour) -> Painter:
    def paint(canvas: Canvas, aspect: float) -> None:
        for _ in range(160):
            x, y = canvas.rng.uniform(0, aspect * 1.1), canvas.rng.uniform(0, 1)
            canvas.stroke([(x, y), (x - 0.015, y + 0.05)], colour, 0.003)

    return paint


def shelves(wood: Colour, rows: int) -> Painter:
    """Boards full of books, from the top to the bottom."""

    def paint(canvas: Canvas, aspect: float) -> None:
        canvas.box(0, 0, aspect, 1.01, mix(wood, NIGHT, 0.45))
        for row in range(rows):
            floor, x = (row + 1) / rows, 0.01
            while x < aspect:
                width, height = canvas.rng.uniform(0.015, 0.035), canvas.rng.uniform(0.5, 0.8) / rows
                hue = canvas.rng.choice(((150, 60, 56), (62, 98, 120), (190, 150, 80), (86, 120, 78), (120, 84, 120)))
                canvas.box(x, floor - height, x + width, floor, mix(hue, NIGHT, canvas.rng.uniform(0, 0.25)))
                x += width + canvas.rng.choice((0.002, 0.003, 0.02))
            canvas.box(0, floor - 0.014, aspect, floor + 0.008, wood)

    return paint


def bricks(colour: Colour, rows: int = 14) -> Painter:
    def paint(canvas: Canvas, aspect: float) -> None:
        height = 1 / rows
        for row in range(rows):
            for column in range(-1, int(aspect / height / 2) + 2):
                left = (column + 0.5 * (row % 2)) * height * 2
                tone = mix(colour, NIGHT, canvas.rng.uniform(0, 0.16))
                canvas.box(left, row * height, left + height * 1.93, (row + 0.92) * height, tone)

    return paint


def window(x: float, y: float, size: float, view: Colour) -> Painter:
    def paint(canvas: Canvas, aspect: float) -> None:
        middle = x * aspect
        canvas.box(middle - size * 0.8, y - size, middle + size * 0.8, y + size, (236, 226, 206))
        for dx in (-1, 1):
            for dy in (-1, 1):
                cx, cy, half = middle + dx * size * 0.37, y + dy * size * 0.47, size * 0.31
                canvas.box(cx - half, cy - half * 1.3, cx + half, cy + half * 1.3, mix(view, WHITE, 0.15 * (dy < 0)))

    return paint


def tiles(one: Colour, other: Colour, top: float, step: float = 0.08) -> Painter:
    def paint(canvas: Canvas, aspect: float) -> None:
        for row in range(int((1 - top) / step) + 1):
            for column in range(int(aspect / step) + 1):
                tone = one if (row + column) % 2 else other
                canvas.box(column * step, top + row * step, (column + 1) * step, top + (row + 1) * step, tone)

    return paint


def cones(count: int, colour: Colour, base: float, size: float) -> Painter:
    """Crystals, tents or roofs: triangles with a lit and a dark side."""

    def paint(canvas: Canvas, aspect: float) -> None:
        for i in range(count):
            x, s = aspect * (i + canvas.rng.uniform(0.2, 0.8)) / count, size * canvas.rng.uniform(0.6, 1.2)
            tip = (x + canvas.rng.uniform(-0.1, 0.1) * s, base - s)
            canvas.polygon([(x - s * 0.3, base), tip, (x, base)], mix(colour, WHITE, 0.35))
            canvas.polygon([(x, base), tip, (x + s * 0.3, base)], mix(colour, NIGHT, 0.2))

    return paint


def glow(x: float, y: float, size: float, inner: Colour, outer: Colour) -> Painter:
    """A fire or a furnace: rings of light, bright in the middle."""

    def paint(canvas: Canvas, aspect: float) -> None:
        for ring in range(14, 0, -1):
            canvas.ellipse(x * aspect, y, size * ring / 14, size * ring / 14, mix(inner, outer, ring / 14))

    return paint


def garland(y: float, colours: tuple[Colour, ...]) -> Painter:
    def paint(canvas: Canvas, aspect: float) -> None:
        count = 18
        for i in range(count):
            x, sag = aspect * (i + 0.5) / count, 0.06 * math.sin(math.pi * (i % 6 + 0.5) / 6)
            flag = [(x - 0.022, y + sag), (x + 0.022, y + sag), (x, y + sag + 0.055)]
            canvas.polygon(flag, colours[i % len(colours)])

    return paint
