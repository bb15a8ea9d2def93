"""``identity``: a small adapter, and enough steps to bind one person.

Anchor: 23 images → 2,000 steps at two repeats, the run that the figures were
calibrated on; 87 steps an image is that ratio.
"""

from __future__ import annotations

from fractions import Fraction

from lora_forge.policies.policy import Policy, Sized, Sizing, clamp, clamp_note, nearest_hundred

RANK = 16
ALPHA = 8.0
REPEATS = 2
STEPS_PER_IMAGE = 87
FEWEST_STEPS = 1_500
MOST_STEPS = 3_000


def size(images: int) -> Sizing:
    """
    >>> size(23).steps.value
    2000
    """
    rounded = nearest_hundred(Fraction(STEPS_PER_IMAGE * images))
    steps = clamp(rounded, FEWEST_STEPS, MOST_STEPS)
    return Sizing(
        rank=Sized(RANK, "identity: rank 16 whatever the dataset size; above 24 it memorises skin and pose"),
        alpha=Sized(ALPHA, "identity: alpha 8 whatever the dataset size; at rank 16 that is half strength"),
        repeats=Sized(REPEATS, "identity: two repeats, so that a bucket seldom ends in a lone image"),
        steps=Sized(
            steps,
            f"identity: {images} images × {STEPS_PER_IMAGE} = {images * STEPS_PER_IMAGE:,}, nearest hundred "
            f"{rounded:,}, within {FEWEST_STEPS:,}-{MOST_STEPS:,}{clamp_note(rounded, steps)}",
        ),
    )


POLICY = Policy("identity", "rank 16, alpha 8, repeats 2; 87 steps per image within 1,500-3,000", size)
