"""Buckets: the sizes that images are trained at, and which one an image lands in.

Pure arithmetic that mirrors the engine at its pinned commit
(``model_util.make_bucket_resolutions``, ``train_util.BucketManager``). The engine
computes with numpy; Python's floats are the same IEEE doubles, and ``argmin``
takes the first of equals as ``min`` does, so the answers are equal to the bit.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache
from typing import NamedTuple

from lora_forge.errors import PlanError

Size = tuple[int, int]
"""Width and height in pixels."""

_REMEMBERED_SIZES = 1 << 17


class BucketSettings(NamedTuple):
    """How one dataset is bucketed; the same five options that the engine takes.

    ``upscale=False`` is the engine's ``bucket_no_upscale``: the table, ``minimum``
    and ``maximum`` are then unused and every image makes its own bucket.
    ``enabled=False`` leaves one bucket, ``resolution`` itself.
    """

    resolution: Size
    minimum: int = 256
    maximum: int = 1024
    step: int = 64
    enabled: bool = True
    upscale: bool = True


class BucketFit(NamedTuple):
    """Where one image lands.

    The image is scaled to ``resized`` and cut to ``bucket``; ``cropped`` is what
    falls away in each direction and ``scale`` the factor (over 1: enlarged).
    A bucket side of 0 means that the image is too narrow: the engine fails on it.
    """

    bucket: Size
    resized: Size
    cropped: Size
    scale: float


def bucket_resolutions(resolution: Size, *, minimum: int, maximum: int, step: int) -> tuple[Size, ...]:
    """List every bucket that images of any shape may land in, sorted.

    ``minimum`` is rounded down and ``maximum`` up to ``step``, as the engine does
    first; the square bucket is there even where they exclude it. That they embrace
    the resolution is a rule of the plan (the engine asserts it), not of this table.

    Raises:
        PlanError: a bucket would have no pixels.

    >>> bucket_resolutions((512, 512), minimum=256, maximum=768, step=64)[:3]
    ((256, 768), (320, 704), (320, 768))
    """
    minimum, maximum = round_bounds(minimum, maximum, step)
    area = resolution[0] * resolution[1]
    square = int(math.sqrt(area) // step) * step
    if minimum < 1 or square < 1:
        message = f"buckets of {step}-pixel steps cannot start at {minimum} for {resolution[0]}×{resolution[1]}"
        raise PlanError(message, f"use a resolution and a minimum bucket of at least {step}")
    sizes = {(square, square)}
    for width in range(minimum, maximum + 1, step):
        height = min(maximum, area // width // step * step)
        if height >= minimum:
            sizes |= {(width, height), (height, width)}
    return tuple(sorted(sizes))


def round_bounds(minimum: int, maximum: int, step: int) -> tuple[int, int]:
    """Round the smallest side down and the largest up to whole steps.

    Mirrors ``BaseDataset.adjust_min_max_bucket_reso_by_steps``.

    >>> round_bounds(250, 1000, 64)
    (192, 1024)
    """
    return minimum - minimum % step, maximum + -maximum % step


@lru_cache(maxsize=_REMEMBERED_SIZES)
def assign_bucket(size: Size, settings: BucketSettings) -> BucketFit:
    """Find the bucket of one image and how it is scaled and cut to fit.

    Remembered by size: datasets repeat themselves.
    Mirrors ``BucketManager.select_bucket``.

    >>> assign_bucket((1024, 683), BucketSettings((768, 768), 384, 1024)).bucket
    (896, 640)
    """
    if settings.enabled and not settings.upscale:
        bucket, resized = _own_bucket(size, settings)
    else:
        bucket = _nearest_bucket(size, settings)
        resized = _cover(size, bucket)
    cropped = (resized[0] - bucket[0], resized[1] - bucket[1])
    return BucketFit(bucket, resized, cropped, max(resized[0] / size[0], resized[1] / size[1]))


def bucket_of(size: Size, settings: BucketSettings) -> Size:
    """Find the bucket alone: the quick way to count very many images."""
    if settings.enabled and not settings.upscale:
        return _own_bucket(size, settings)[0]
    return _nearest_bucket(size, settings)


class _Table(NamedTuple):
    ratios: tuple[float, ...]
    """Width over height of the buckets, ascending, each once."""
    places: tuple[tuple[int, Size], ...]
    """For each ratio, its bucket and the bucket's place in the sorted table."""


@lru_cache(maxsize=64)
def _table(settings: BucketSettings) -> _Table:
    sizes: tuple[Size, ...] = (settings.resolution,)
    if settings.enabled:
        sizes = bucket_resolutions(
            settings.resolution, minimum=settings.minimum, maximum=settings.maximum, step=settings.step
        )
    by_ratio = {size[0] / size[1]: (place, size) for place, size in enumerate(sizes)}
    ratios = tuple(sorted(by_ratio))
    return _Table(ratios, tuple(by_ratio[ratio] for ratio in ratios))


def _nearest_bucket(size: Size, settings: BucketSettings) -> Size:
    """Take the nearest shape; between two as near, the one that comes first in the table.

    No two buckets of a table have the same shape, so an image of a bucket's very
    size, which the engine looks up first, is simply the nearest to it.
    """
    ratios, places = _table(settings)
    ratio = size[0] / size[1]
    above = bisect_left(ratios, ratio)
    if above in (0, len(ratios)):
        return places[min(above, len(ratios) - 1)][1]
    below = (abs(ratios[above - 1] - ratio), places[above - 1])
    return min(below, (abs(ratios[above] - ratio), places[above]))[1][1]


def _cover(size: Size, bucket: Size) -> Size:
    (width, height), wider = size, size[0] / size[1] > bucket[0] / bucket[1]
    scale = bucket[1] / height if wider else bucket[0] / width
    return int(width * scale + 0.5), int(height * scale + 0.5)


def _own_bucket(size: Size, settings: BucketSettings) -> tuple[Size, Size]:
    step = settings.step
    resized = size
    if size[0] * size[1] > settings.resolution[0] * settings.resolution[1]:
        resized = _shrink(size, settings.resolution[0] * settings.resolution[1], step)
    return (resized[0] - resized[0] % step, resized[1] - resized[1] % step), resized


def _shrink(size: Size, area: int, step: int) -> Size:
    """Shrink to about ``area`` so that one side is a whole number of steps.

    Tried with the width rounded and with the height rounded; the one that keeps
    the shape better wins, and the height wins a tie.
    """
    ratio = size[0] / size[1]
    width = math.sqrt(area * ratio)
    by_width = _round_to_step(width, step)
    by_height = _round_to_step(area / width, step)
    height_of, width_of = _round_to_step(by_width / ratio, step), _round_to_step(by_height * ratio, step)
    if not (by_height and height_of):
        return by_width, 0  # the engine divides by this zero
    if abs(by_width / height_of - ratio) < abs(width_of / by_height - ratio):
        return by_width, int(by_width / ratio + 0.5)
    return int(by_height * ratio + 0.5), by_height


def _round_to_step(side: float, step: int) -> int:
    """Half a pixel up, then down to a whole step: 127.6 at step 64 is 128, 127.4 is 64."""
    whole = int(side + 0.5)
    return whole - whole % step
