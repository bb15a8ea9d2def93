"""Steps: images to buckets, buckets to batches, batches to optimizer steps and epochs.

Pure arithmetic that mirrors the engine at its pinned commit
(``DreamBoothDataset.__init__``, ``BaseDataset.make_buckets`` and the step counts of
``NetworkTrainer.train``); contract tests hold every figure to the engine's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lora_forge.plan.buckets import BucketSettings, Size, bucket_of


class SubsetSizes(NamedTuple):
    """The image sizes of one folder, in the order of their file names.

    The order matters for ``is_reg`` folders alone: where there are more
    regularization images than needed, the first ones are used.
    """

    sizes: Sequence[Size]
    repeats: int = 1
    is_reg: bool = False


class DatasetSizes(NamedTuple):
    """One ``[[datasets]]`` of the engine: its folders, its buckets, its batch size."""

    subsets: Sequence[SubsetSizes]
    buckets: BucketSettings
    batch_size: int = 1


class RegImage(NamedTuple):
    size: Size
    repeats: int = 1


@dataclass(frozen=True)
class Bucket:
    """One size that is trained; ``images`` counts repeats and regularization images."""

    width: int
    height: int
    images: int
    batches: int


@dataclass(frozen=True)
class EpochCount:
    """What one epoch holds.

    ``train_samples`` and ``reg_samples`` count repeats, the latter as balanced
    against the former; ``batches`` are those of all processes together, and
    ``steps`` are optimizer steps.
    """

    buckets: tuple[Bucket, ...]
    train_samples: int
    reg_samples: int
    batches: int
    steps: int


def count_epoch(datasets: Iterable[DatasetSizes], *, grad_accum: int = 1, gpus: int = 1) -> EpochCount:
    """Count everything that one epoch over these datasets holds.

    Regularization images balance the training images of their own dataset only:
    in a dataset without training images they are never used.
    """
    datasets = tuple(datasets)
    buckets = [
        bucket
        for dataset in datasets
        for bucket in fill_buckets(dataset.subsets, dataset.buckets, batch_size=dataset.batch_size)
    ]
    train = sum(train_samples(dataset.subsets) for dataset in datasets)
    batches = sum(bucket.batches for bucket in buckets)
    return EpochCount(
        buckets=tuple(buckets),
        train_samples=train,
        reg_samples=sum(bucket.images for bucket in buckets) - train,
        batches=batches,
        steps=steps_of_batches(batches, grad_accum=grad_accum, gpus=gpus),
    )


def fill_buckets(subsets: Sequence[SubsetSizes], settings: BucketSettings, *, batch_size: int) -> tuple[Bucket, ...]:
    """Sort the images of one dataset into buckets, smallest width first.

    Repeats count, and regularization images share the buckets of the others.
    Empty buckets are left out.
    """
    counts: Counter[Size] = Counter()
    for size, repeats in _repeated_sizes(subsets).items():
        counts[bucket_of(size, settings)] += repeats
    return tuple(
        Bucket(width, height, images, count_batches([images], batch_size))
        for (width, height), images in sorted(counts.items())
    )


def train_samples(subsets: Iterable[SubsetSizes]) -> int:
    """Count the training images of one dataset, repeats included."""
    return sum(subset.repeats * len(subset.sizes) for subset in _used(subsets) if not subset.is_reg)


def balance_reg(train_samples: int, reg: Sequence[RegImage]) -> tuple[int, ...]:
    """Give every regularization image its repeats, to match the training images.

    Images are taken in order with the repeats that they came with until they reach
    ``train_samples``, which they may overshoot; the rest is not used at all
    (0 repeats). If they run out below it, every one in turn gets one more repeat
    until the count is exactly ``train_samples``.
    Mirrors the last lines of ``DreamBoothDataset.__init__``.

    >>> balance_reg(8, [RegImage((512, 512))] * 3)
    (3, 3, 2)
    >>> balance_reg(4, [RegImage((512, 512), repeats=3)] * 3)
    (3, 3, 0)
    """
    repeats = [0] * len(reg)
    total = 0
    for index, image in enumerate(reg):
        if total >= train_samples:
            return tuple(repeats)
        repeats[index] = image.repeats
        total += image.repeats
    if reg and total < train_samples:
        rounds, rest = divmod(train_samples - total, len(reg))
        repeats = [count + rounds + (index < rest) for index, count in enumerate(repeats)]
    return tuple(repeats)


def count_batches(buckets: Iterable[int], batch_size: int) -> int:
    """Count the batches of one epoch; ``buckets`` holds images per bucket.

    >>> count_batches([12, 9, 9], batch_size=4)
    9
    """
    return sum(_ceil(images, batch_size) for images in buckets)


def steps_per_epoch(buckets: Iterable[int], *, batch_size: int, grad_accum: int = 1, gpus: int = 1) -> int:
    """Count the optimizer steps in one epoch.

    A batch never mixes buckets, so every bucket rounds up on its own: ten
    images in ten buckets cost ten batches at ``batch_size=2``, not five.
    ``buckets`` holds images per bucket, repeats already counted.
    Mirrors the engine at its pinned commit; a contract test guards it.

    >>> steps_per_epoch([12, 3], batch_size=4)
    4
    """
    return steps_of_batches(count_batches(buckets, batch_size), grad_accum=grad_accum, gpus=gpus)


def steps_of_batches(batches: int, *, grad_accum: int = 1, gpus: int = 1) -> int:
    """Turn the batches of one epoch into optimizer steps.

    Both divisions round up: the processes share the batches, and the end of an
    epoch forces a step even where an accumulation is not full.

    >>> steps_of_batches(7, grad_accum=2)
    4
    """
    return _ceil(_ceil(batches, gpus), grad_accum)


def epochs_for(steps: int, steps_per_epoch: int) -> int:
    """Count the epochs that a run of ``steps`` enters; the last may stay unfinished.

    An empty epoch (no images) leads nowhere: 0.

    >>> epochs_for(2000, 46)
    44
    """
    return _ceil(steps, steps_per_epoch) if steps_per_epoch else 0


def steps_for_epochs(epochs: int, batches: int, *, grad_accum: int = 1, gpus: int = 1) -> int:
    """Count the steps of ``epochs`` whole epochs, as the engine does for ``max_train_epochs``.

    It divides once by both and rounds once; as whole numbers, that comes to the
    same as rounding twice.
    """
    return epochs * steps_of_batches(batches, grad_accum=grad_accum, gpus=gpus)


def images_seen(steps: int, *, batch_size: int, grad_accum: int = 1, gpus: int = 1) -> int:
    """Count the samples that ``steps`` can hold at most; ragged batches hold fewer."""
    return steps * batch_size * grad_accum * gpus


def exposures_per_image(steps: int, *, steps_per_epoch: int, repeats: int) -> float:
    """Tell how often the run sees each image of a folder with ``repeats``.

    An average: the engine draws the first batch of an epoch from the shuffle of
    the epoch before, so single images may be seen once more or less.

    >>> exposures_per_image(2000, steps_per_epoch=46, repeats=2)
    86.95652173913044
    """
    return steps * repeats / steps_per_epoch if steps_per_epoch else 0.0


def _ceil(count: int, share: int) -> int:
    return -(-count // share)


def _used(subsets: Iterable[SubsetSizes]) -> Iterable[SubsetSizes]:
    return (subset for subset in subsets if subset.repeats >= 1)


def _repeated_sizes(subsets: Sequence[SubsetSizes]) -> Counter[Size]:
    counts: Counter[Size] = Counter()
    reg: list[RegImage] = []
    for subset in _used(subsets):
        if subset.is_reg:
            reg += [RegImage(size, subset.repeats) for size in subset.sizes]
            continue
        for size in subset.sizes:
            counts[size] += subset.repeats
    for image, repeats in zip(reg, balance_reg(train_samples(subsets), reg), strict=True):
        counts[image.size] += repeats
    return +counts
