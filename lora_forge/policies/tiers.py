"""``tiers``: rank, repeats and steps by size of the dataset. A boundary belongs to the upper tier."""

from __future__ import annotations

from fractions import Fraction

from lora_forge.policies.policy import Policy, Sized, Sizing, half_up

SMALL, MEDIUM, LARGE = 10, 15, 25
"""The image counts at which the second, third and fourth tier begin."""


def _tier(images: int) -> tuple[str, int, int, int]:
    """Name, rank, repeats, steps."""
    if images < SMALL:
        return "under 10 images", 8, half_up(5 + Fraction(3 * (images - 1), 8)), 800
    if images < MEDIUM:
        return "10-14 images", 12, half_up(6 + Fraction(3 * (images - 10), 4)), 900
    if images < LARGE:
        return "15-24 images", 16, 8, 1_000
    return "25 images and more", 24, 10, 1_000


def size(images: int) -> Sizing:
    """
    >>> [(s.rank.value, s.repeats.value, s.steps.value) for s in map(size, (9, 10, 24, 25))]
    [(8, 8, 800), (12, 6, 900), (16, 8, 1000), (24, 10, 1000)]
    """
    tier, rank, repeats, steps = _tier(images)
    return Sizing(
        rank=Sized(rank, f"tiers: {tier} carry rank {rank}"),
        alpha=Sized(float(rank), "tiers: alpha equals rank, so the learning rate acts unscaled"),
        alpha_is_rank=True,
        repeats=Sized(repeats, f"tiers: {tier}"),
        steps=Sized(steps, f"tiers: {tier} need {steps:,} steps"),
    )


POLICY = Policy("tiers", "rank 8 to 24, 800 to 1,000 steps, by size of the dataset", size)
