"""Whether one background comes back in many pictures: the rim of each, compared."""

from __future__ import annotations

from collections.abc import Sequence

from lora_forge.datasets.near_duplicates import levels_apart
from lora_forge.datasets.pixels import PixelFacts

SAME_LEVELS = 12.0
"""Mean difference of two rims, of 255; two takes in one place differ by less, two places by more."""
FEWEST, SHARE = 4, 0.3
"""A background that so many pictures, and such a share of all, have in common is learned with the subject."""
_SAMPLES = 32
"""Rims compared with all others: a background of three pictures in ten is among 32 as good as surely."""


def repeated_background(facts: Sequence[PixelFacts]) -> list[int]:
    """The places of the images that share the most frequent background; empty where none dominates."""
    seen = [(place, one.rim) for place, one in enumerate(facts) if one.rim]
    step = max(1, len(seen) // _SAMPLES)
    alike = [[place for place, other in seen if levels_apart(rim, other) <= SAME_LEVELS] for _, rim in seen[::step]]
    best = max(alike, key=len, default=[])
    return best if len(best) >= max(FEWEST, SHARE * len(seen)) else []
