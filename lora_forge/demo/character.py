"""Forgelin, the demo's character: a green smith with hair of fire, brass goggles and a leather apron.

Units: the head's radius is 1 and its centre (0, 0); the soles are at y = 3.7.
Turning is a projection: what sits at angle ``a`` on the round head lands at sin(a + yaw).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lora_forge.demo.canvas import Canvas, Point, mix
from lora_forge.demo.palette import (
    BOOT,
    BRASS,
    FLAMES,
    GLOVE,
    INK,
    LEATHER,
    LENS,
    LINE,
    SCARF,
    SHIRT,
    SKIN,
    SKIN_DARK,
    TROUSERS,
    WHITE,
)
from lora_forge.demo.props import PROPS

Arm = tuple[Point, Point]  # elbow, hand, for the arm on the right of the picture
ARMS: dict[str, Arm] = {
    "down": ((0.95, 1.65), (0.9, 2.25)),
    "hip": ((1.25, 1.6), (0.78, 2.05)),
    "wave": ((1.3, 1.25), (1.5, 0.35)),
    "up": ((1.25, 0.75), (1.15, -0.45)),
    "hold": ((1.1, 1.75), (1.3, 1.25)),
    "chin": ((0.95, 1.75), (0.45, 0.98)),
    "out": ((1.2, 1.35), (1.85, 1.3)),
}


@dataclass(frozen=True)
class Pose:
    """How the character stands: ``yaw`` in degrees, positive to the right of the picture."""

    yaw: float = 0.0
    mood: str = "smiling"
    left_arm: str = "down"
    right_arm: str = "down"
    prop: str = "nothing"


def draw_character(canvas: Canvas, pose: Pose) -> None:
    sine = math.sin(math.radians(pose.yaw))
    _legs(canvas, sine)
    _arm(canvas, ARMS[pose.left_arm], -1, sine)
    _torso(canvas, sine)
    if pose.prop in PROPS:  # held by the hand on the right of the picture, which is drawn over it
        PROPS[pose.prop](canvas, *ARMS[pose.right_arm][1])
    _arm(canvas, ARMS[pose.right_arm], 1, sine)
    _ears(canvas, pose.yaw)
    _head(canvas, sine)
    _face(canvas, pose)
    _goggles(canvas, pose.yaw)
    _hair(canvas, sine)


def _legs(canvas: Canvas, sine: float) -> None:
    spread = 0.36 * (1 - 0.35 * abs(sine))
    for side in (-1, 1):
        x = side * spread
        canvas.stroke([(x, 2.2), (x * 1.1, 3.35)], INK, 0.54)
        canvas.stroke([(x, 2.2), (x * 1.1, 3.35)], TROUSERS, 0.44)
        foot = x * 1.1 + 0.16 * sine
        canvas.ellipse(foot, 3.48, 0.36 + 0.08 * abs(sine), 0.24, BOOT, line=INK, w=LINE)


def _torso(canvas: Canvas, sine: float) -> None:
    k = 1 - 0.18 * abs(sine)
    shirt = [
        (-0.62 * k, 0.85),
        (0.62 * k, 0.85),
        (0.78 * k, 1.6),
        (0.76 * k, 2.4),
        (-0.76 * k, 2.4),
        (-0.78 * k, 1.6),
    ]
    canvas.blob(shirt, SHIRT, line=INK, w=LINE)
    shift = 0.12 * sine
    apron = [
        (-0.42, 1.12),
        (0.42, 1.12),
        (0.52, 1.6),
        (0.78, 1.85),
        (0.74, 2.75),
        (-0.74, 2.75),
        (-0.78, 1.85),
        (-0.52, 1.6),
    ]
    canvas.polygon([(x * k + shift, y) for x, y in apron], LEATHER, line=INK, w=LINE)
    for side in (-1, 1):
        canvas.stroke([(side * 0.38 * k + shift, 1.15), (side * 0.5 * k, 0.9)], mix(LEATHER, INK, 0.3), 0.1)
    _spark(canvas, shift * 2.2, 1.55, 0.25 * k)
    canvas.stroke([(-0.72 * k, 2.0), (0.72 * k, 2.0)], mix(LEATHER, INK, 0.35), 0.12)
    canvas.ellipse(shift * 1.5, 2.0, 0.13 * k, 0.12, BRASS, line=INK, w=0.03)
    canvas.blob([(-0.66, 0.82), (0, 0.98), (0.66, 0.82), (0.6, 1.1), (0, 1.22), (-0.6, 1.1)], SCARF, line=INK, w=LINE)


def _spark(canvas: Canvas, x: float, y: float, size: float) -> None:
    radii = [size if i % 2 == 0 else size * 0.42 for i in range(10)]
    angles = [math.radians(36 * i - 90) for i in range(10)]
    star = [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]
    canvas.polygon(star, FLAMES[2], line=INK, w=0.03)


def _arm(canvas: Canvas, arm: Arm, side: int, sine: float) -> None:
    shoulder = (side * 0.62 * (1 - 0.3 * abs(sine)), 1.12)
    elbow, hand = ((side * x, y) for x, y in arm)
    canvas.stroke([shoulder, elbow, hand], INK, 0.44)
    canvas.stroke([shoulder, elbow, hand], SHIRT, 0.34)
    wrist = (elbow[0] + (hand[0] - elbow[0]) * 0.7, elbow[1] + (hand[1] - elbow[1]) * 0.7)
    canvas.stroke([wrist, hand], INK, 0.46)
    canvas.stroke([wrist, hand], GLOVE, 0.36)
    canvas.ellipse(*hand, 0.25, 0.25, GLOVE, line=INK, w=LINE)


def _ears(canvas: Canvas, yaw: float) -> None:
    for side in (-1, 1):
        a = math.radians(90 * side + yaw)
        if math.cos(a) > 0.4:
            continue  # turned towards us: _head draws it over the head
        x = math.sin(a) * 0.9
        _ear(canvas, x, math.copysign(0.95, x), 0.0)


def _ear(canvas: Canvas, x: float, reach: float, y: float) -> None:
    canvas.polygon([(x, y - 0.28), (x + reach, y - 0.5), (x + reach * 0.1, y + 0.34)], SKIN, line=INK, w=LINE)
    canvas.polygon(
        [(x + reach * 0.12, y - 0.14), (x + reach * 0.72, y - 0.38), (x + reach * 0.16, y + 0.16)], SKIN_DARK
    )


def _head(canvas: Canvas, sine: float) -> None:
    head = [
        (0, -0.98),
        (0.72, -0.72),
        (1.0, 0.02),
        (0.76, 0.66),
        (0.12 * sine, 0.98),
        (-0.76, 0.66),
        (-1.0, 0.02),
        (-0.72, -0.72),
    ]
    canvas.blob(head, SKIN, line=INK, w=LINE)
    if abs(sine) > 0.4:
        _ear(canvas, -0.42 * sine, -0.85 * math.copysign(1, sine), 0.06)


def _on_head(angle: float, yaw: float) -> tuple[float, float]:
    """Where a feature lands, and how wide it looks (nothing once it has turned away)."""
    turned = math.radians(angle + yaw)
    return math.sin(turned), max(0.0, math.cos(turned))


def _face(canvas: Canvas, pose: Pose) -> None:
    for side in (-1, 1):
        x, width = _on_head(44 * side, pose.yaw)
        if width > 0.25:
            canvas.ellipse(x * 0.9, 0.42, 0.17 * width, 0.1, (226, 140, 118))
        x, width = _on_head(25 * side, pose.yaw)
        if width > 0.25:
            _eye(canvas, x * 0.95, width, pose.mood, side)
    _mouth(canvas, pose)
    x, _ = _on_head(0, pose.yaw)
    canvas.ellipse(x * 1.02, 0.3, 0.15, 0.13, mix(SKIN, SKIN_DARK, 0.6), line=INK, w=0.035)
    canvas.ellipse(x * 1.02 - 0.04, 0.26, 0.045, 0.035, mix(SKIN, WHITE, 0.7))


def _eye(canvas: Canvas, x: float, width: float, mood: str, side: int) -> None:
    closed = mood in ("sleepy", "laughing") or (mood == "winking" and side > 0)
    if closed:
        turn = (20.0, 160.0) if mood == "sleepy" else (200.0, 340.0)
        canvas.arc(x, 0.06, 0.2 * width, 0.13, turn, (INK, 0.07))
    else:
        wide = 1.25 if mood == "surprised" else 1.0
        look = -0.08 if mood == "thoughtful" else 0.0
        canvas.ellipse(x, 0.04, 0.22 * width, 0.25 * wide, WHITE, line=INK, w=0.04)
        canvas.ellipse(x + 0.03, 0.07 + look, 0.13 * width, 0.15, (120, 70, 36))
        canvas.ellipse(x + 0.03, 0.07 + look, 0.08 * width, 0.1, INK)
        canvas.ellipse(x - 0.02, 0.01 + look, 0.05 * width, 0.055, WHITE)
    lift = {"surprised": -0.12, "determined": 0.05}.get(mood, 0.0)
    slant = {"determined": 0.1, "worried": -0.1}.get(mood, 0.0) * side
    brow = [(x - 0.2 * width, -0.26 + lift + slant), (x + 0.2 * width, -0.26 + lift - slant)]
    canvas.stroke(brow, FLAMES[0], 0.09)


def _mouth(canvas: Canvas, pose: Pose) -> None:
    x, width = _on_head(0, pose.yaw * 0.92)
    x, width = x * 0.82, max(0.45, width)
    if pose.mood in ("laughing", "cheering"):
        canvas.blob(
            [
                (x - 0.32 * width, 0.54),
                (x + 0.32 * width, 0.54),
                (x + 0.2 * width, 0.8),
                (x - 0.2 * width, 0.8),
            ],
            (120, 34, 44),
            line=INK,
            w=0.045,
        )
        canvas.box(x - 0.22 * width, 0.54, x + 0.22 * width, 0.6, WHITE)
    elif pose.mood == "surprised":
        canvas.ellipse(x, 0.66, 0.13 * width, 0.16, (120, 34, 44), line=INK, w=0.045)
    elif pose.mood in ("thoughtful", "sleepy"):
        canvas.stroke([(x - 0.14 * width, 0.64), (x + 0.14 * width, 0.62)], INK, 0.06)
    elif pose.mood == "worried":
        canvas.arc(x, 0.78, 0.22 * width, 0.14, (210.0, 330.0), (INK, 0.06))
    else:
        canvas.arc(x, 0.5, 0.3 * width, 0.2, (20.0, 160.0), (INK, 0.065))


def _goggles(canvas: Canvas, yaw: float) -> None:
    sine = math.sin(math.radians(yaw))
    canvas.blob(
        [
            (-0.9, -0.5),
            (0.12 * sine, -0.38),
            (0.9, -0.5),
            (0.84, -0.66),
            (0.12 * sine, -0.56),
            (-0.84, -0.66),
        ],
        mix(LEATHER, INK, 0.35),
        line=INK,
        w=0.03,
    )
    for side in (-1, 1):
        x, width = _on_head(27 * side, yaw)
        if width > 0.25:
            canvas.ellipse(x * 0.92, -0.52, 0.3 * width, 0.27, BRASS, line=INK, w=LINE)
            canvas.ellipse(x * 0.92, -0.52, 0.2 * width, 0.18, LENS, line=INK, w=0.03)
            canvas.ellipse(x * 0.92 - 0.06 * width, -0.58, 0.06 * width, 0.05, WHITE)


def _hair(canvas: Canvas, sine: float) -> None:
    """Three flames, one inside the other, blown away from where the face looks."""
    flame = [
        (-0.72, -0.68), (-0.98, -1.02), (-0.62, -1.1), (-0.66, -1.5), (-0.3, -1.35), (-0.05, -1.95),
        (0.22, -1.4), (0.55, -1.62), (0.58, -1.14), (0.96, -1.08), (0.72, -0.68), (0.0, -0.84),
    ]  # fmt: skip
    for layer, colour in enumerate(FLAMES):
        size = 1 - 0.27 * layer
        points = [(x * size, -0.76 + (y + 0.76) * size) for x, y in flame]
        swept = [(x + 0.42 * sine * (y + 0.76), y) for x, y in points]
        canvas.blob(swept, colour, line=INK if layer == 0 else None, w=LINE)
