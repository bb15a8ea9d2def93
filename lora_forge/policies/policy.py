"""What a policy takes and gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Sized(Generic[T]):
    """A figure and the arithmetic behind it, in words a person can check."""

    value: T
    why: str


@dataclass(frozen=True)
class Sizing:
    """What a policy has to say; None where it has no opinion and the preset's own value stands."""

    rank: Sized[int] | None = None
    alpha: Sized[float] | None = None
    repeats: Sized[int] | None = None
    steps: Sized[int] | None = None
    alpha_is_rank: bool = False
    """Alpha goes with whatever rank is used, a written one too; ``alpha`` holds it for the policy's own rank."""
    repeats_from_folder: bool = False
    """A kohya folder's own repeats (``10_name``) stand before this policy's or the preset's."""


@dataclass(frozen=True)
class Advice:
    """The range in which a figure is sound, and what happens outside it."""

    steps_per_image: tuple[float, float] | None = None


@dataclass(frozen=True)
class Policy:
    """A sizing rule: ``size(images)`` is pure arithmetic over the count of training images."""

    name: str
    about: str
    size: Callable[[int], Sizing]
    advice: Advice = Advice()


def half_up(value: Fraction) -> int:
    """Round to the nearest integer, halves upwards (Python's ``round`` would go to even).

    >>> half_up(Fraction(5, 2)), half_up(Fraction(7, 2))
    (3, 4)
    """
    return math.floor(value + Fraction(1, 2))


def nearest_hundred(value: Fraction) -> int:
    """
    >>> nearest_hundred(Fraction(2001)), nearest_hundred(Fraction(1950))
    (2000, 2000)
    """
    return 100 * half_up(value / 100)


def clamp(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def clamp_note(before: int, after: int) -> str:
    """Say that a clamp bit, or nothing where it did not."""
    return "" if before == after else f", clamped from {before:,}"
