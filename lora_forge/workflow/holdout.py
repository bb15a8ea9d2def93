"""Holding images out of training: the recorded choice, completed by looking at the pictures.

A plan only reads the record; `forge dataset split` and a run that begins write it. A run that has begun keeps to
the choice in its own ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lora_forge.findings import Finding, error, info, warning

if TYPE_CHECKING:
    from lora_forge.datasets.facts import DatasetFacts
    from lora_forge.datasets.look import Watch
    from lora_forge.datasets.splitting import Holdout, Split
    from lora_forge.runs.record import RunRecord

MOST_NAMED = 5


class HeldOut(NamedTuple):
    """``file`` is where the choice is, or would be, recorded."""

    split: Split
    file: Path
    findings: tuple[Finding, ...]


def stored_holdout(record: RunRecord) -> Holdout | None:
    """What a run holds out, by its ledger; None where that is nothing, or was not recorded yet."""
    from lora_forge.datasets.splitting import holdout_of

    told = record.facts.get("holdout")
    return None if told is None else holdout_of(told)


def hold_out(
    facts: DatasetFacts,
    count: int,
    project: Path,
    env: Mapping[str, str],
    *,
    seed: int | None = None,
    anew: bool = False,
    recorded: Holdout | None = None,
    watch: Watch | None = None,
) -> HeldOut:
    """Choose ``count`` images to hold out; what was recorded in the project stays chosen, unless ``anew``.

    ``recorded`` is what the ledger of a run that goes on says, whatever became of any file.

    Raises:
        DatasetError: the record cannot be read.
    """
    from lora_forge.datasets.cache_place import default_cache_file
    from lora_forge.datasets.look import look
    from lora_forge.datasets.pixel_cache import PixelCache
    from lora_forge.datasets.splitting import (
        DEFAULT_SEED,
        Holdout,
        holdout_file,
        read_holdout,
        split_dataset,
        training_paths,
    )

    file = holdout_file(facts.root.absolute(), project.absolute())
    recorded = recorded or (None if anew else read_holdout(file))
    if recorded is None or (seed is not None and seed != recorded.seed):
        recorded = Holdout(DEFAULT_SEED if seed is None else seed, recorded.images if recorded else ())
    with PixelCache(default_cache_file(env)) as cache:
        pixels = look(training_paths(facts), cache, watch=watch).pixels
    split = split_dataset(facts, pixels, count, recorded)
    return HeldOut(split, file, tuple(_findings(split, recorded, count, facts, file)))


def _findings(split: Split, recorded: Holdout, count: int, facts: DatasetFacts, file: Path) -> list[Finding]:
    from lora_forge.datasets.notes import counted

    findings = []
    if recorded.images and len(split.gone) == len(recorded.images):
        message = f"Of {counted(len(recorded.images), 'image')} recorded as held out none is in the dataset."
        hint = f"If it is another dataset, delete {file.name}, or choose anew: forge dataset split --anew"
        findings.append(error("holdout-other-dataset", message, hint, str(file)))
    elif split.gone:
        names, several = _named([image.name for image in split.gone]), len(split.gone) > 1
        gone = f"{counted(len(split.gone), 'image')} that {'were' if several else 'was'} held out"
        message = f"{gone} {'are' if several else 'is'} gone or changed; others take the place: {names}."
        findings.append(warning("holdout-gone", message, "Losses of earlier runs no longer compare.", str(file)))
    if split.missing:
        message = f"Only {count - split.missing} of {counted(count, 'image')} can be held out of {facts.images:,}."
        hint = "Every folder keeps an image, and what looks like a held-out picture is not trained on: hold out fewer."
        findings.append(error("holdout-too-many", message, hint, "data.validation"))
    if split.look_alikes:
        pairs = _named([f"{pair.name} (like {pair.held})" for pair in split.look_alikes])
        verb, are = ("look", "are") if len(split.look_alikes) > 1 else ("looks", "is")
        those = counted(len(split.look_alikes), "image")
        message = f"{those} {verb} like a held-out one and {are} not trained on: {pairs}."
        findings.append(info("holdout-look-alikes", message, "", str(file)))
    return findings


def _named(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
