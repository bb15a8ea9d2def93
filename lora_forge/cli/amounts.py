"""Amounts as people read them."""

from __future__ import annotations

from collections.abc import Sequence

MOST_SHOWN, FIRST_SHOWN = 10, 5
"""A longer list is cut to its first few and its last; a cut that hides only one or two would save nothing."""


def megabytes(size_bytes: int) -> str:
    """Decimal megabytes, as file managers and model sites show them.

    >>> megabytes(153_158_240), megabytes(6000)
    ('153.2 MB', '6.0 kB')
    """
    if size_bytes < 100_000:
        return f"{size_bytes / 1e3:.1f} kB"
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes < 10**9 else f"{size_bytes / 1e9:.2f} GB"


def duration(seconds: float) -> str:
    """
    >>> duration(75), duration(3725), duration(8.4)
    ('1:15', '1:02:05', '0:08')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """
    >>> counted(1, "image"), counted(23, "image"), counted(2, "batch", "batches")
    ('1 image', '23 images', '2 batches')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def short(items: Sequence[str]) -> str:
    """
    >>> short(["1", "2"]), short([str(n) for n in range(11)])
    ('1, 2', '0, 1, 2, 3, 4, … 10')
    """
    if len(items) <= MOST_SHOWN:
        return ", ".join(items)
    return ", ".join(items[:FIRST_SHOWN]) + f", … {items[-1]}"
