"""Everything that can be said of a dataset, folded from its checks.

A plan hears the short form: sizes and captions, and of the pixels what an
earlier ``forge dataset check`` has left in the cache.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.datasets.advice import CLIP_LIMIT, T5_LIMIT, Advice, TokenLimit
from lora_forge.datasets.facts import DatasetFacts
from lora_forge.findings import Finding, info

if TYPE_CHECKING:
    from lora_forge.datasets.look import Watch
    from lora_forge.datasets.notes import Notes
    from lora_forge.datasets.pixels import PixelFacts
    from lora_forge.families.family import Family
    from lora_forge.plan.make import Planned
    from lora_forge.plan.model import Plan
    from lora_forge.workflow.gather import Gathered

USUAL_RESOLUTION, USUAL_MIN_BUCKET, USUAL_MAX_BUCKET = 768, 384, 1024
"""What most presets train at; without a preset a dataset is held against it."""


@dataclass(frozen=True)
class Eye:
    """How to look at pixels: the cache file, who watches, how many threads."""

    cache_file: Path
    watch: Watch | None = None
    workers: int | None = None


@dataclass(frozen=True)
class Checked:
    """A dataset with all that is known of it; ``pixels`` is empty where nobody looked."""

    facts: DatasetFacts
    findings: tuple[Finding, ...]
    pixels: Mapping[Path, PixelFacts] = field(default_factory=dict)
    measured: int = 0


def usual_advice(trigger: str | None = None, caption_extension: str = ".txt") -> Advice:
    """What holds for most presets."""
    from lora_forge.plan.buckets import BucketSettings, assign_bucket

    side = (USUAL_RESOLUTION, USUAL_RESOLUTION)
    settings = BucketSettings(side, USUAL_MIN_BUCKET, USUAL_MAX_BUCKET)
    fit = partial(assign_bucket, settings=settings)
    return Advice("any", trigger, USUAL_RESOLUTION, fit, caption_extension=caption_extension)


def plan_advice(plan: Plan, subject: str, family: Family) -> Advice:
    """What this very plan does to a dataset."""
    from lora_forge.plan.buckets import assign_bucket
    from lora_forge.plan.schedule import buckets_of

    data = plan.data
    trigger = None if plan.trigger.value is None else str(plan.trigger.value)
    fit = partial(assign_bucket, settings=buckets_of(data))
    return Advice(
        subject, trigger, data.resolution.value, fit, _token_limit(plan, family), plan.captions.extension.value
    )


def _token_limit(plan: Plan, family: Family) -> TokenLimit:
    """T5 reads on where CLIP stops; the engine's max_token_length stretches CLIP alone."""
    if any("t5" in name.lower() for name in family.tokenizers):
        return T5_LIMIT
    longer = (plan.engine_options.value or {}).get("max_token_length")
    return TokenLimit(longer, "CLIP") if isinstance(longer, int) and longer > CLIP_LIMIT.tokens else CLIP_LIMIT


def check_folder(root: Path, advice: Advice, *, reg: Path | None = None, eye: Eye | None = None) -> Checked:
    """Scan one folder and say of each file what is wrong with it; ``eye`` looks at the pixels too."""
    from lora_forge.datasets.scan import scan_dataset

    with uncollected():
        facts, findings = scan_dataset(root, caption_extension=advice.caption_extension, reg=reg, per_file=True)
    return check_facts(facts, findings, advice, eye=eye)


def check_facts(facts: DatasetFacts, findings: Sequence[Finding], advice: Advice, *, eye: Eye | None = None) -> Checked:
    """The same of folders that were scanned already, which had ``findings``."""
    from lora_forge.datasets.caption_checks import note_captions
    from lora_forge.datasets.notes import Notes
    from lora_forge.datasets.size_checks import note_sizes

    notes = Notes(per_file=True)
    with uncollected():
        note_captions(notes, facts, advice)
        note_sizes(notes, facts, advice)
    pixels, measured = _look(facts, eye, notes) if eye else ({}, 0)
    notes.close(advice.caption_extension)
    return Checked(facts, (*findings, *notes.findings()), pixels, measured)


@contextmanager
def uncollected() -> Iterator[None]:
    """A hundred thousand small facts without a cycle among them: looking for one takes a sixth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def image_paths(facts: DatasetFacts) -> list[Path]:
    """Every image, regularization last."""
    return [subset.folder / image.name for subset in facts.subsets for image in subset.images]


def _look(facts: DatasetFacts, eye: Eye, notes: Notes) -> tuple[Mapping[Path, PixelFacts], int]:
    from lora_forge.datasets.look import look
    from lora_forge.datasets.pixel_cache import PixelCache
    from lora_forge.datasets.pixel_checks import note_pixels

    with PixelCache(eye.cache_file) as cache:
        looked = look(image_paths(facts), cache, watch=eye.watch, workers=eye.workers)
    note_pixels(notes, facts, looked.pixels)
    return looked.pixels, looked.measured


def plan_remarks(
    gathered: Gathered, planned: Planned, env: Mapping[str, str], watch: Watch | None = None
) -> tuple[Finding, ...]:
    """The short form: one sentence for each kind of problem and folder.

    No image is opened, unless somebody watches: then every one is, as before a training, which
    would stop on a damaged picture after an hour of caching.
    """
    from lora_forge.datasets.caption_checks import note_captions
    from lora_forge.datasets.notes import Notes
    from lora_forge.datasets.set_checks import check_exposures
    from lora_forge.datasets.size_checks import note_sizes

    plan, facts = planned.plan, gathered.dataset
    if not facts.images:
        return ()
    advice, notes = plan_advice(plan, gathered.preset.subject, gathered.family), Notes()
    note_captions(notes, facts, advice)
    note_sizes(notes, facts, advice)
    notes.close(advice.caption_extension)
    exposures = check_exposures(facts, plan.schedule.exposures_per_image.value, plan.schedule.steps.value)
    seen = _recalled(gathered, env) if watch is None else _looked_at(gathered, env, watch)
    return (*notes.findings(), *seen, *exposures)


def _looked_at(gathered: Gathered, env: Mapping[str, str], watch: Watch) -> tuple[Finding, ...]:
    """Look at every picture that no earlier look has left in the cache."""
    from lora_forge.datasets.cache_place import default_cache_file
    from lora_forge.datasets.notes import Notes

    notes = Notes()
    _look(gathered.dataset, Eye(default_cache_file(env), watch), notes)
    notes.close("")
    return tuple(notes.findings())


def _recalled(gathered: Gathered, env: Mapping[str, str]) -> tuple[Finding, ...]:
    """What an earlier look has left; where it left nothing, how to take one."""
    from lora_forge.datasets.cache_place import default_cache_file

    file, paths = default_cache_file(env), image_paths(gathered.dataset)
    findings, seen = _recall(file, paths, gathered.dataset) if file.exists() else ([], 0)
    if seen == len(paths):
        return tuple(findings)
    unseen = f"{len(paths) - seen:,} of {len(paths):,} pictures were not looked at"
    message = f"{unseen}: blur, rotation, transparency, duplicates."
    return (*findings, info("pixels-unseen", message, _look_with(gathered), str(gathered.dataset.root)))


def _look_with(gathered: Gathered) -> str:
    """The command that looks; of several folders, which it reads from forge.yaml, none is named."""
    import shlex

    folders = gathered.request.folders
    return "forge dataset check" + (f" {shlex.quote(folders[0].path)}" if len(folders) == 1 else "")


def _recall(file: Path, paths: list[Path], facts: DatasetFacts) -> tuple[list[Finding], int]:
    from lora_forge.datasets.look import recall
    from lora_forge.datasets.notes import Notes
    from lora_forge.datasets.pixel_cache import PixelCache
    from lora_forge.datasets.pixel_checks import note_pixels

    notes = Notes()
    with PixelCache(file) as cache:
        pixels = recall(paths, cache)
    note_pixels(notes, facts, pixels)
    notes.close("")
    return notes.findings(), len(pixels)
