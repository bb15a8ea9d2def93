"""The character's colours."""

from __future__ import annotations

from lora_forge.demo.canvas import Colour

SKIN: Colour = (133, 196, 128)
SKIN_DARK: Colour = (96, 158, 98)
INK: Colour = (52, 36, 40)
FLAMES: tuple[Colour, Colour, Colour] = ((226, 78, 38), (247, 146, 48), (255, 210, 96))
BRASS: Colour = (206, 158, 70)
LENS: Colour = (78, 178, 196)
LEATHER: Colour = (128, 78, 50)
SHIRT: Colour = (240, 228, 204)
SCARF: Colour = (196, 54, 60)
TROUSERS: Colour = (60, 72, 108)
BOOT: Colour = (84, 54, 48)
GLOVE: Colour = (158, 100, 60)
PETAL: Colour = (240, 130, 170)
STEEL: Colour = (150, 160, 172)
WHITE: Colour = (255, 255, 250)

LINE = 0.055  # width of an outline, in head radii
