"""The dataset of a plan in the engine's own words: its dataset TOML."""

from __future__ import annotations

from pathlib import Path

from lora_forge.engine.render import RunFiles, SubsetFolder
from lora_forge.plan.model import Plan

STAGED_CAPTIONS = ".txt"
"""What staging writes, whatever the person's own captions are called."""


def dataset_document(plan: Plan, files: RunFiles) -> dict[str, object]:
    """The dataset TOML: one ``[[datasets]]``, since regularization images balance only their own dataset.

    Held-out images have one of their own, all of which is split off: a share of
    the training images the engine would draw anew for each of the two sides.
    """
    datasets = [{**_dataset(plan), "subsets": [_subset(subset) for subset in files.subsets]}]
    if files.validation is not None:
        datasets.append({**_dataset(plan), "validation_split": 1.0, "subsets": [_held_out(plan, files.validation)]})
    return {"general": _general(plan), "datasets": datasets}


def _dataset(plan: Plan) -> dict[str, object]:
    return {
        "resolution": plan.data.resolution.value,
        "batch_size": plan.schedule.batch_size.value,
        "enable_bucket": True,
        "min_bucket_reso": plan.data.min_bucket.value,
        "max_bucket_reso": plan.data.max_bucket.value,
        "bucket_reso_steps": plan.data.bucket_step.value,
        "bucket_no_upscale": not plan.data.upscale.value,
    }


def _general(plan: Plan) -> dict[str, object]:
    captions, augment = plan.captions, plan.augment
    general: dict[str, object] = {
        "caption_extension": STAGED_CAPTIONS,
        "shuffle_caption": captions.shuffle.value,
        "keep_tokens": captions.keep_tokens.value,
        "color_aug": augment.color.value,
        "flip_aug": augment.flip.value,
        "random_crop": augment.random_crop.value,
    }
    if captions.dropout.value:
        general["caption_dropout_rate"] = captions.dropout.value
    return general


def _subset(subset: SubsetFolder) -> dict[str, object]:
    rendered: dict[str, object] = {"image_dir": str(subset.folder), "num_repeats": subset.repeats}
    if subset.is_reg:
        rendered["is_reg"] = True
    if subset.class_tokens is not None:
        rendered["class_tokens"] = subset.class_tokens
    return rendered


def _held_out(plan: Plan, folder: Path) -> dict[str, object]:
    """The same picture and caption every time: what varies would be taken for a change of the model."""
    still: dict[str, object] = dict.fromkeys(("color_aug", "flip_aug", "random_crop", "shuffle_caption"), False)
    if plan.captions.dropout.value:
        still["caption_dropout_rate"] = 0.0
    return {"image_dir": str(folder), "num_repeats": 1, **still}
