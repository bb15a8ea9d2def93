"""``ramp``: steps rise in a straight line between two image counts."""

from __future__ import annotations

from fractions import Fraction

from lora_forge.policies.policy import Policy, Sized, Sizing, clamp, nearest_hundred

FEWEST_IMAGES, FEWEST_STEPS = 15, 2_000
MOST_IMAGES, MOST_STEPS = 30, 3_000


def size(images: int) -> Sizing:
    """
    >>> [size(n).steps.value for n in (10, 15, 20, 30, 99)]
    [2000, 2000, 2300, 3000, 3000]
    """
    slope = Fraction(MOST_STEPS - FEWEST_STEPS, MOST_IMAGES - FEWEST_IMAGES)
    line = FEWEST_STEPS + slope * (images - FEWEST_IMAGES)
    steps = clamp(nearest_hundred(line), FEWEST_STEPS, MOST_STEPS)
    why = (
        f"ramp: {FEWEST_STEPS:,} steps at {FEWEST_IMAGES} images to {MOST_STEPS:,} at {MOST_IMAGES}, "
        f"nearest hundred, at {images} images"
    )
    return Sizing(steps=Sized(steps, why))


POLICY = Policy("ramp", "2,000 steps at 15 images to 3,000 at 30, in a straight line", size)
