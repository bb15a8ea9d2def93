"""From what was measured and decided to what a dataset report shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.datasets.notes import printable
from lora_forge.datasets.report_captions import Captioned, caption_figures
from lora_forge.datasets.report_data import (
    Basis,
    BatchChoice,
    BucketRow,
    Card,
    Fit,
    Point,
    ReportData,
    choose_cards,
    place_of,
)
from lora_forge.findings import Finding, Severity, error
from lora_forge.plan.buckets import BucketSettings, assign_bucket
from lora_forge.plan.schedule import buckets_of, repeats_of

if TYPE_CHECKING:
    from lora_forge.datasets.facts import DatasetFacts, ImageFacts, SubsetFacts
    from lora_forge.datasets.look import Watch
    from lora_forge.plan.model import Plan
    from lora_forge.workflow.gather import Gathered

MOST_CARDS = 1000
"""Beyond it a browser no longer scrolls smoothly, and thumbnails would be too small to judge."""
BATCH_SIZES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Measured:
    """A checked dataset and the plan it would be trained by; ``is_fallback``: nobody named the preset."""

    gathered: Gathered
    plan: Plan
    findings: tuple[Finding, ...]
    is_fallback: bool


def describe(measured: Measured, watch: Watch | None = None) -> ReportData:
    """Everything on the page; the images shown are drawn here."""
    plan, dataset = measured.plan, measured.gathered.dataset
    every = _cards(dataset, plan, measured.findings)
    shown = [every[index][1] for index in choose_cards([card.severity for _, card in every], MOST_CARDS)]
    paths = {id(card): path for path, card in every}
    cards, damaged = _drawn(shown, [paths[id(card)] for card in shown], watch)
    return ReportData(
        name=printable(dataset.root.resolve().name or str(dataset.root)),
        root=printable(str(dataset.root)),
        basis=_basis(plan, measured.gathered, is_fallback=measured.is_fallback),
        images=dataset.images,
        reg_images=dataset.reg_images,
        points=tuple(Point(card.name, card.size, card.fit.scale) for _, card in every),
        cards=cards,
        buckets=_bucket_rows(plan, [card for _, card in every]),
        batch_choices=_batch_choices(plan),
        captions=caption_figures(_captioned(dataset), str(plan.trigger.value or "")),
        findings=_sorted([*measured.findings, *damaged]),
        upscaled=sum(card.fit.is_upscaled for _, card in every),
        cropped=sum(card.fit.is_cropped for _, card in every),
        much_cropped=sum(card.fit.is_much_cropped for _, card in every),
    )


def _basis(plan: Plan, gathered: Gathered, *, is_fallback: bool) -> Basis:
    repeats = plan.schedule.repeats.value
    several = [repeats] if isinstance(repeats, int) else sorted(set(repeats.values()))
    return Basis(
        preset=gathered.preset.name,
        family=gathered.family.title,
        resolution=plan.data.resolution.value,
        upscale=plan.data.upscale.value,
        random_crop=plan.augment.random_crop.value,
        batch_size=plan.schedule.batch_size.value,
        repeats="/".join(map(str, several)),
        steps=plan.schedule.steps.value,
        exposures=plan.schedule.exposures_per_image.value,
        trigger=str(plan.trigger.value or ""),
        trigger_why=gathered.trigger.why or gathered.trigger.where,
        is_fallback=is_fallback,
        held_out=len(gathered.held_out.split.chosen) if gathered.held_out else 0,
    )


def _cards(dataset: DatasetFacts, plan: Plan, findings: Iterable[Finding]) -> list[tuple[Path, Card]]:
    """Every image with its file, still without a picture."""
    settings, places = buckets_of(plan.data), _by_place(findings)
    return [
        (subset.folder / image.name, _card(subset, image, plan, dataset.root, settings, places))
        for subset in dataset.subsets
        for image in subset.images
    ]


def _card(
    subset: SubsetFacts,
    image: ImageFacts,
    plan: Plan,
    root: Path,
    settings: BucketSettings,
    places: Mapping[str, Sequence[Finding]],
) -> Card:
    fit = assign_bucket((image.width, image.height), settings)
    files = [image.name, *([image.caption_file] if image.caption_file else [])]
    found = [finding for file in files for finding in places.get(printable(f"{subset.folder}/{file}"), ())]
    return Card(
        name=printable(image.name),
        folder="" if subset.folder == root else printable(subset.folder.name),
        size=(image.width, image.height),
        fit=Fit(fit.bucket, fit.resized, fit.scale),
        caption=image.caption or "",
        trained_caption=_stands_in(subset, plan),
        is_reg=subset.is_reg,
        repeats=repeats_of(subset, plan.schedule.repeats.value),
        has_own_repeats=isinstance(plan.schedule.repeats.value, dict) and not subset.is_reg,
        findings=_sorted(found),
    )


def _stands_in(subset: SubsetFacts, plan: Plan) -> str:
    """What an image without a caption trains under: the class tokens, else the trigger."""
    if subset.class_tokens:
        return subset.class_tokens
    return "" if subset.is_reg else str(plan.trigger.value or "")


def _by_place(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    places: dict[str, list[Finding]] = {}
    for finding in findings:
        places.setdefault(place_of(finding.where), []).append(finding)
    return places


def _drawn(cards: Sequence[Card], paths: Sequence[Path], watch: Watch | None) -> tuple[tuple[Card, ...], list[Finding]]:
    """The cards with their pictures, and a finding for each file whose pixels nobody had decoded before."""
    from lora_forge.datasets.report_pictures import draw_thumbnails

    drawn, damaged = [], []
    for card, path, thumbnail in zip(cards, paths, draw_thumbnails(paths, watch), strict=True):
        found = card.findings
        if thumbnail.problem and card.severity is not Severity.ERROR:
            message = f"{card.name} cannot be decoded: {thumbnail.problem}."
            finding = error("image-undecodable", message, "Replace or remove it.", printable(str(path)))
            damaged.append(finding)
            found = (finding, *found)
        drawn.append(replace(card, thumbnail=thumbnail, findings=found))
    return tuple(drawn), damaged


def _bucket_rows(plan: Plan, cards: Iterable[Card]) -> tuple[BucketRow, ...]:
    files = Counter(card.fit.bucket for card in cards)
    return tuple(
        BucketRow((bucket.width, bucket.height), files[bucket.width, bucket.height], bucket.images, bucket.batches)
        for bucket in plan.data.buckets.value
    )


def _batch_choices(plan: Plan) -> tuple[BatchChoice, ...]:
    from lora_forge.plan.steps import count_batches

    samples = [bucket.images for bucket in plan.data.buckets.value]
    choices = []
    for batch_size in sorted({*BATCH_SIZES, plan.schedule.batch_size.value}):
        batches = count_batches(samples, batch_size)
        choices.append(BatchChoice(batch_size, batches, batches * batch_size - sum(samples)))
    return tuple(choices)


def _captioned(dataset: DatasetFacts) -> list[Captioned]:
    return [
        Captioned(printable(image.name), image.caption) for subset in dataset.train_subsets for image in subset.images
    ]


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The gravest first, then kind by kind; within a kind, as they came."""
    ranks = list(Severity)
    return tuple(sorted(findings, key=lambda each: (ranks.index(each.severity), each.code, each.hint)))
