"""The 23 places of the demo dataset and their light, as data; no place is used twice."""

from __future__ import annotations

from dataclasses import dataclass

from lora_forge.demo import scenery as s
from lora_forge.demo.canvas import Colour


@dataclass(frozen=True)
class Scene:
    """A place and its light; ``tint`` washes over the character by ``wash`` of the way."""

    sky: tuple[Colour, Colour]
    things: tuple[s.Painter, ...]
    tint: Colour
    wash: float = 0.12


BLUE, PALE, DUSK, NIGHT = (96, 172, 226), (214, 236, 246), (250, 176, 108), (24, 28, 58)
GRASS, SAND, STONE, WOOD = (122, 178, 92), (234, 208, 154), (140, 138, 146), (150, 104, 70)
SUN, GOLD, COLD, ROSE = (255, 232, 150), (255, 190, 110), (150, 180, 230), (240, 150, 150)
LEAF, FIR, AUTUMN = (92, 156, 84), (58, 112, 92), (214, 124, 52)

PARK = Scene(
    (BLUE, PALE),
    (
        s.disc(0.82, 0.14, 0.07, SUN, BLUE),
        s.clouds(4),
        s.hills((150, 200, 120), 0.68, 0.16),
        s.ground(GRASS, 0.66),
        s.trees(6, LEAF, 0.7),
    ),
    SUN,
)

FORGE = Scene(
    ((70, 44, 44), (44, 32, 38)),
    (s.bricks((116, 72, 62)), s.glow(0.2, 0.62, 0.42, (255, 214, 110), (116, 60, 48)), s.specks(60, GOLD, 0.004)),
    GOLD,
    0.2,
)

BEACH = Scene(
    ((238, 120, 96), DUSK),
    (s.disc(0.22, 0.42, 0.09, SUN, DUSK), s.sea((94, 124, 160), 0.46), s.ground(SAND, 0.72)),
    GOLD,
    0.22,
)

SNOW = Scene(
    ((150, 184, 220), (226, 236, 246)),
    (
        s.peaks((110, 130, 164), 0.66, 0.42),
        s.ground((232, 240, 248), 0.64),
        s.trees(5, FIR, 0.72, fir=True),
        s.specks(140, s.WHITE, 0.006),
    ),
    COLD,
    0.14,
)

STREET = Scene(
    (NIGHT, (70, 60, 104)),
    (s.specks(60, s.WHITE, 0.002, above=0.3), s.houses(6, (52, 54, 88), 0.74, tall=0.6), s.ground((58, 58, 78), 0.73)),
    (90, 90, 170),
    0.24,
)

LIBRARY = Scene(((80, 56, 44), (60, 44, 38)), (s.shelves(WOOD, 5),), GOLD, 0.1)

FOREST = Scene(
    ((170, 214, 170), (222, 240, 206)),
    (s.trees(7, (120, 176, 120), 0.74, size=0.34), s.ground((104, 150, 84), 0.72), s.trees(5, LEAF, 0.9, size=0.5)),
    (190, 230, 150),
    0.14,
)

DESERT = Scene(
    ((120, 190, 226), (252, 226, 176)),
    (
        s.disc(0.2, 0.16, 0.06, SUN, (140, 196, 220)),
        s.hills((236, 194, 128), 0.66, 0.14),
        s.hills((222, 176, 108), 0.78, 0.12),
        s.ground((214, 166, 100), 0.84),
    ),
    GOLD,
    0.12,
)

KITCHEN = Scene(
    ((246, 236, 214), (240, 226, 200)),
    (
        s.tiles((226, 236, 232), (196, 220, 222), 0.0, 0.1),
        s.window(0.78, 0.28, 0.17, BLUE),
        s.ground((190, 140, 98), 0.78),
    ),
    s.WHITE,
    0.06,
)

RAIN = Scene(
    ((110, 124, 142), (160, 170, 182)),
    (s.houses(5, (104, 110, 126), 0.8, tall=0.62, lit=0.3), s.ground((96, 104, 118), 0.78), s.rain((206, 218, 232))),
    (120, 140, 170),
    0.2,
)

SPACE = Scene(
    ((18, 18, 44), (56, 34, 84)),
    (
        s.specks(150, s.WHITE, 0.003),
        s.disc(0.24, 0.3, 0.15, (206, 150, 190), (40, 28, 70)),
        s.ground((112, 104, 134), 0.84),
    ),
    (150, 130, 220),
    0.18,
)

GARDEN = Scene(
    (BLUE, (230, 242, 240)),
    (
        s.clouds(3),
        s.ground((132, 186, 96), 0.58),
        s.specks(160, ROSE, 0.009, below=0.62),
        s.specks(110, GOLD, 0.008, below=0.62),
        s.specks(80, (170, 140, 220), 0.009, below=0.62),
    ),
    SUN,
    0.08,
)

HARBOR = Scene(
    ((130, 190, 220), PALE),
    (s.clouds(5), s.sea((58, 118, 160), 0.5), s.cones(5, (220, 226, 232), 0.62, 0.26), s.ground((150, 120, 96), 0.86)),
    s.WHITE,
    0.07,
)

CAVE = Scene(
    ((46, 36, 74), (72, 58, 110)),
    (
        s.hills((62, 48, 94), 0.6, 0.3),
        s.cones(7, (150, 120, 220), 0.78, 0.5),
        s.cones(6, (110, 190, 220), 1.0, 0.36),
        s.specks(40, (200, 220, 255), 0.004),
    ),
    (150, 130, 230),
    0.18,
)

CAMPFIRE = Scene(
    ((28, 32, 64), (74, 62, 90)),
    (
        s.specks(90, s.WHITE, 0.003, above=0.5),
        s.trees(8, (36, 60, 62), 0.68, fir=True, size=0.3),
        s.ground((74, 76, 66), 0.66),
        s.cones(3, (196, 120, 80), 0.76, 0.26),
        s.glow(0.84, 0.84, 0.14, (255, 226, 130), (110, 84, 66)),
    ),
    GOLD,
    0.2,
)

CASTLE = Scene(
    ((120, 180, 228), (240, 232, 214)),
    (
        s.clouds(3),
        s.houses(4, (172, 166, 172), 0.6, tall=0.24, lit=0.1),
        s.cones(4, (190, 84, 80), 0.42, 0.13),
        s.hills((128, 176, 104), 0.72, 0.16),
        s.ground((116, 164, 92), 0.74),
    ),
    SUN,
    0.08,
)

MARKET = Scene(
    (PALE, (250, 238, 214)),
    (
        s.houses(6, (206, 170, 140), 0.66, tall=0.5, lit=0.2),
        s.garland(0.12, ((206, 70, 70), (240, 190, 80), (84, 150, 190))),
        s.ground((196, 180, 160), 0.66),
    ),
    SUN,
    0.08,
)

ROOFTOP = Scene(
    ((146, 140, 200), (252, 206, 180)),
    (
        s.disc(0.3, 0.46, 0.1, (255, 226, 190), (240, 196, 184)),
        s.houses(9, (118, 104, 140), 0.72, tall=0.34, lit=0.25),
        s.ground((150, 94, 86), 0.72),
    ),
    ROSE,
    0.16,
)

GREENHOUSE = Scene(
    ((206, 234, 226), (232, 246, 226)),
    (
        s.window(0.16, 0.3, 0.26, (190, 224, 226)),
        s.window(0.86, 0.3, 0.26, (190, 224, 226)),
        s.trees(6, (86, 160, 96), 1.0, size=0.36),
        s.specks(30, ROSE, 0.01, below=0.55),
    ),
    s.WHITE,
    0.08,
)

LANE = Scene(
    ((236, 214, 176), (250, 232, 196)),
    (
        s.hills((216, 160, 92), 0.66, 0.1),
        s.ground((196, 150, 100), 0.66),
        s.trees(7, AUTUMN, 0.72, size=0.28),
        s.specks(70, AUTUMN, 0.008, below=0.4),
    ),
    GOLD,
    0.14,
)

BEDROOM = Scene(
    ((52, 58, 96), (44, 48, 84)),
    (
        s.window(0.3, 0.32, 0.26, (96, 116, 180)),
        s.disc(0.36, 0.24, 0.05, (250, 246, 220), (96, 116, 180)),
        s.specks(30, s.WHITE, 0.002, above=0.6),
    ),
    (110, 130, 210),
    0.26,
)

STUDIO = Scene(
    ((226, 196, 176), (196, 162, 146)), (s.glow(0.5, 0.5, 0.7, (236, 212, 194), (208, 176, 158)),), s.WHITE, 0.05
)

WORKSHOP = Scene(
    ((96, 96, 108), (70, 68, 80)),
    (
        s.bricks((128, 126, 136), 11),
        s.window(0.8, 0.2, 0.13, (196, 216, 226)),
        s.glow(0.14, 0.7, 0.2, (255, 196, 96), (110, 92, 92)),
        s.ground((98, 84, 78), 0.86),
    ),
    COLD,
    0.1,
)
