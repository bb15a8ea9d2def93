"""Repeats, steps and epochs: who says them, and the engine-exact arithmetic between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union, cast

from lora_forge.datasets.facts import DatasetFacts, SubsetFacts
from lora_forge.datasets.notes import counted
from lora_forge.plan.buckets import BucketSettings
from lora_forge.plan.cadence import checkpoint_every
from lora_forge.plan.choices import BY_A_PERSON, Choices
from lora_forge.plan.model import DataPlan, Decided, SchedulePlan
from lora_forge.plan.steps import (
    DatasetSizes,
    EpochCount,
    SubsetSizes,
    count_epoch,
    epochs_for,
    exposures_per_image,
)
from lora_forge.settings import Source

Repeats = Union[int, dict[str, int]]


@dataclass(frozen=True)
class Sized:
    """The data section, the schedule section, and the epoch they were counted on."""

    data: DataPlan
    schedule: SchedulePlan
    epoch: EpochCount


def decide_repeats(choices: Choices, dataset: DatasetFacts) -> Decided[Repeats]:
    """A person's own figure, else the folder's where the policy reads it, else the policy's or preset's."""
    key = "schedule.repeats"
    if (asked := _asked_repeats(choices, dataset)) is not None:
        return asked
    folders = {s.folder.name: s.repeats for s in dataset.train_subsets if s.repeats is not None}
    by_person = key in choices.origins and choices.origins[key].written.source in BY_A_PERSON
    decided = choices.sized(key, choices.sizing.repeats)
    if folders and choices.sizing.repeats_from_folder and not by_person:
        values = set(folders.values())
        complete = len(folders) == len(dataset.train_subsets)
        value: Repeats = values.pop() if len(values) == 1 and complete else _per_folder(folders, decided, dataset)
        return Decided(value=value, source=Source.DATASET, why="from the folders' names: " + ", ".join(folders))
    value = cast("int", decided.value) or 1
    return Decided(value=value, source=decided.source, why=decided.why, where=decided.where)


def _per_folder(folders: dict[str, int], fallback: Decided[object], dataset: DatasetFacts) -> dict[str, int]:
    other = cast("int", fallback.value) or 1
    return {subset.folder.name: folders.get(subset.folder.name, other) for subset in dataset.train_subsets}


_SAY = (Source.PROJECT, Source.ENV, Source.CLI)


def _asked_repeats(choices: Choices, dataset: DatasetFacts) -> Decided[Repeats] | None:
    """Repeats that a person wrote for single folders, unless a higher place says one figure for all."""
    asked = [subset.written for subset in dataset.train_subsets if subset.written is not None]
    if not asked:
        return None
    decided, first = choices.sized("schedule.repeats", choices.sizing.repeats), asked[0]
    if decided.source in BY_A_PERSON and _SAY.index(decided.source) > _SAY.index(first.source):
        return None
    other = cast("int", decided.value) or 1
    value = {
        _folder_key(subset, dataset.train_subsets): subset.repeats or other if subset.written else other
        for subset in dataset.train_subsets
    }
    same = set(value.values())
    why = "as written for each folder"
    return Decided(value=same.pop() if len(same) == 1 else value, source=first.source, why=why, where=first.where)


def _folder_key(subset: SubsetFacts, subsets: Sequence[SubsetFacts]) -> str:
    """The folder's name, or its path where two are called alike; of one named twice, each with its own figure."""
    alike = [other.folder for other in subsets if other.folder.name == subset.folder.name]
    if len(alike) == 1:
        return subset.folder.name
    return str(subset.folder) if alike.count(subset.folder) == 1 else _twice_key(subset)


def _twice_key(subset: SubsetFacts) -> str:
    return f"{subset.folder} × {subset.repeats if subset.written else 'as usual'}"


def repeats_of(subset: SubsetFacts, repeats: Repeats) -> int:
    """The repeats of one folder; a regularization folder keeps its own (the engine balances them)."""
    if subset.is_reg:
        return subset.repeats or 1
    if isinstance(repeats, int):
        return repeats
    keys = (_twice_key(subset), str(subset.folder), subset.folder.name)
    return next(repeats[key] for key in keys if key in repeats)


def buckets_of(data: DataPlan) -> BucketSettings:
    """A plan's buckets as the arithmetic takes them."""
    side = data.resolution.value
    return BucketSettings(
        (side, side), data.min_bucket.value, data.max_bucket.value, data.bucket_step.value, upscale=data.upscale.value
    )


def decide_schedule(choices: Choices, dataset: DatasetFacts, gpus: int) -> Sized:
    """Count an epoch, then decide the steps on it."""
    repeats = decide_repeats(choices, dataset)
    batch_size = cast("Decided[int]", choices.of("schedule.batch_size"))
    grad_accum = cast("Decided[int]", choices.of("schedule.grad_accum"))
    epoch = _count(choices, dataset, repeats.value, (batch_size.value, grad_accum.value, gpus))
    steps = _decide_steps(choices, epoch)
    images = dataset.images
    schedule = SchedulePlan(
        steps=steps,
        repeats=repeats,
        epochs=_epochs(steps.value, epoch),
        steps_per_epoch=_steps_per_epoch(epoch, batch_size.value, grad_accum.value, gpus),
        batch_size=batch_size,
        grad_accum=grad_accum,
        warmup_steps=choices.of("schedule.warmup_steps"),
        checkpoint_every=_checkpoint_every(choices, steps.value),
        steps_per_image=_steps_per_image(steps.value, images),
        exposures_per_image=_exposures(steps.value, epoch, images),
    )
    return Sized(_data(choices, dataset, epoch), schedule, epoch)


def _count(choices: Choices, dataset: DatasetFacts, repeats: Repeats, shape: tuple[int, int, int]) -> EpochCount:
    batch_size, grad_accum, gpus = shape
    side = cast("int", choices.of("data.resolution").value)
    settings = BucketSettings(
        (side, side),
        cast("int", choices.of("data.min_bucket").value),
        cast("int", choices.of("data.max_bucket").value),
        cast("int", choices.of("data.bucket_step").value),
        upscale=cast("bool", choices.of("data.upscale").value),
    )
    subsets = [
        SubsetSizes([(i.width, i.height) for i in subset.images], repeats_of(subset, repeats), subset.is_reg)
        for subset in dataset.subsets
    ]
    return count_epoch([DatasetSizes(subsets, settings, batch_size)], grad_accum=grad_accum, gpus=gpus)


def _decide_steps(choices: Choices, epoch: EpochCount) -> Decided[int]:
    """Steps as written, or epochs as written in a higher place, or the policy's, in that order of say."""
    steps, epochs = choices.origins.get("schedule.steps"), choices.origins.get("schedule.epochs")
    if epochs and (steps is None or epochs.layer > steps.layer) and choices.outranks_policy("schedule.epochs"):
        written = choices.of("schedule.epochs")
        count = cast("int", written.value)
        why = f"{counted(count, 'epoch')} × {counted(epoch.steps, 'step')}"
        return Decided(value=count * epoch.steps, source=written.source, why=why, where=written.where)
    decided = choices.sized("schedule.steps", choices.sizing.steps)
    if decided.value is None:
        why = "nothing says how long to train: one epoch, so that the arithmetic can be shown"
        return Decided(value=max(epoch.steps, 1), source=Source.DEFAULT, why=why)
    return cast("Decided[int]", decided)


def _epochs(steps: int, epoch: EpochCount) -> Decided[int]:
    count = epochs_for(steps, epoch.steps) if epoch.steps else 0
    exact = steps / epoch.steps if epoch.steps else 0.0
    why = f"{steps:,} steps ÷ {epoch.steps} steps an epoch = {exact:.2f}; the last one ends early"
    if exact == count:
        why = f"{steps:,} steps ÷ {epoch.steps} steps an epoch"
    return Decided(value=count, source=Source.DATASET, why=why)


def _steps_per_epoch(epoch: EpochCount, batch_size: int, grad_accum: int, gpus: int) -> Decided[int]:
    samples = epoch.train_samples + epoch.reg_samples
    why = f"{samples} samples in {len(epoch.buckets)} buckets, each rounded up to batches of {batch_size}: "
    why += f"{epoch.batches} batches"
    why += f", shared by {gpus} GPUs" if gpus > 1 else ""
    why += f", {grad_accum} accumulated a step" if grad_accum > 1 else ""
    return Decided(value=epoch.steps, source=Source.DATASET, why=why)


def _checkpoint_every(choices: Choices, steps: int) -> Decided[int]:
    decided = choices.of("schedule.checkpoint_every")
    if decided.value is not None:
        return cast("Decided[int]", decided)
    why = "2,000 steps and more: every 500; 1,000 to 1,999: every 250; fewer: every 100"
    return Decided(value=checkpoint_every(steps), source=Source.POLICY, why=why)


def _steps_per_image(steps: int, images: int) -> Decided[float]:
    value = steps / images if images else 0.0
    return Decided(value=value, source=Source.DATASET, why=f"{steps:,} optimizer steps ÷ {counted(images, 'image')}")


def _exposures(steps: int, epoch: EpochCount, images: int) -> Decided[float]:
    """The average over all training images; folders with more repeats are seen more often."""
    if not (images and epoch.steps):
        return Decided(value=0.0, source=Source.DATASET, why="no images")
    mean_repeats = epoch.train_samples / images
    value = exposures_per_image(steps, steps_per_epoch=epoch.steps, repeats=1) * mean_repeats
    why = f"{steps / epoch.steps:.2f} epochs × {mean_repeats:g} repeats: how often each image is seen"
    return Decided(value=value, source=Source.DATASET, why=why)


def _places(dataset: DatasetFacts) -> str:
    """The folder, and how many more there are that do not lie in it."""
    root = dataset.root
    others = [s for s in dataset.train_subsets if s.folder != root and root not in s.folder.parents]
    return f"{root} and {len(others)} more folders" if others else str(root)


def _validation_images(choices: Choices, dataset: DatasetFacts) -> Decided[int]:
    asked = choices.of("data.validation")
    if asked.value is None:
        return Decided(value=0, source=asked.source, why=asked.why, where=asked.where)
    why = "held out of training; compare their loss over the run, not with the training loss"
    return Decided(value=dataset.validation_images, source=asked.source, why=why, where=asked.where)


def _data(choices: Choices, dataset: DatasetFacts, epoch: EpochCount) -> DataPlan:
    used = len(epoch.buckets)
    return DataPlan(
        images=Decided(value=dataset.images, source=Source.DATASET, why=f"images in {_places(dataset)}"),
        reg_images=Decided(
            value=dataset.reg_images, source=Source.DATASET, why="images of the class, without the trigger"
        ),
        validation_images=_validation_images(choices, dataset),
        resolution=choices.of("data.resolution"),
        min_bucket=choices.of("data.min_bucket"),
        max_bucket=choices.of("data.max_bucket"),
        bucket_step=choices.of("data.bucket_step"),
        upscale=choices.of("data.upscale"),
        buckets=Decided(
            value=epoch.buckets,
            source=Source.DATASET,
            why=f"{used} sizes in use; images count repeats and regularization images",
        ),
    )
