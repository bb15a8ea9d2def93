"""What a dataset report shows, as plain data: nothing is drawn, nothing is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lora_forge.datasets.notes import counted
from lora_forge.datasets.report_captions import CaptionFigures
from lora_forge.datasets.size_checks import MOST_CROPPED
from lora_forge.findings import Finding, Severity

Size = tuple[int, int]
_LINE = re.compile(r":\d+(?::\d+)?\Z")

CROP_SHOWN = 0.005
"""Less than half a per cent of a picture's area is the rounding of bucket sides, not a loss."""


@dataclass(frozen=True)
class Fit:
    """How the engine brings one image to its bucket: scaled to ``resized``, cut around the middle to ``bucket``."""

    bucket: Size
    resized: Size
    scale: float

    @property
    def is_possible(self) -> bool:
        """False where the image is too narrow for any bucket; the engine fails on it."""
        return min(*self.bucket, *self.resized) > 0

    @property
    def margins(self) -> tuple[float, float, float, float]:
        """Shares cut off left, top, right and bottom; the odd pixel falls away on the far side.

        Mirrors ``trim_and_resize_if_required`` in the engine's ``library/train_util.py``.

        >>> Fit((768, 768), (1025, 768), 1.0).margins
        (0.1248780487804878, 0.0, 0.12585365853658537, 0.0)
        """
        if not self.is_possible:
            return 0.0, 0.0, 0.0, 0.0
        (width, height), (extra_x, extra_y) = self.resized, self.cropped
        left, top = extra_x // 2, extra_y // 2
        return left / width, top / height, (extra_x - left) / width, (extra_y - top) / height

    @property
    def cropped(self) -> Size:
        return self.resized[0] - self.bucket[0], self.resized[1] - self.bucket[1]

    @property
    def lost(self) -> float:
        """The share of the picture's area that is never trained on.

        >>> Fit((768, 768), (1024, 768), 1.0).lost
        0.25
        """
        if not self.is_possible:
            return 1.0
        return 1 - (self.bucket[0] * self.bucket[1]) / (self.resized[0] * self.resized[1])

    @property
    def is_upscaled(self) -> bool:
        return self.scale > 1.0

    @property
    def is_cropped(self) -> bool:
        return self.lost >= CROP_SHOWN

    @property
    def is_much_cropped(self) -> bool:
        return self.lost > MOST_CROPPED


class Thumbnail(NamedTuple):
    """A small picture as a ``data:`` address, as the engine sees the file; or why there is none.

    ``turned`` says what an image viewer would do to it that the engine does not.
    """

    uri: str = ""
    width: int = 0
    height: int = 0
    turned: str = ""
    has_alpha: bool = False
    problem: str = ""


NOT_DRAWN = Thumbnail()


@dataclass(frozen=True)
class Card:
    """One image of the contact sheet; ``trained_caption`` is what it learns under where it has none of its own."""

    name: str
    folder: str
    size: Size
    fit: Fit
    caption: str
    trained_caption: str = ""
    is_reg: bool = False
    repeats: int = 1
    has_own_repeats: bool = False
    """Other folders of the dataset have another number of repeats."""
    thumbnail: Thumbnail = NOT_DRAWN
    findings: tuple[Finding, ...] = ()

    @property
    def severity(self) -> Severity | None:
        """The gravest thing that is wrong with it."""
        return gravest(self.findings)


class BucketRow(NamedTuple):
    """One bucket: ``files`` are images, ``samples`` count repeats as the engine does."""

    size: Size
    files: int
    samples: int
    batches: int


class BatchChoice(NamedTuple):
    """What an epoch would be at another batch size; ``empty`` counts places of short batches."""

    batch_size: int
    batches: int
    empty: int


class Point(NamedTuple):
    """One image in the chart of shapes."""

    name: str
    size: Size
    scale: float


@dataclass(frozen=True)
class Basis:
    """What the figures were computed for."""

    preset: str
    family: str
    resolution: int
    upscale: bool
    random_crop: bool
    batch_size: int
    repeats: str
    steps: int
    exposures: float
    trigger: str
    trigger_why: str
    is_fallback: bool = False
    """Nobody named the preset."""
    held_out: int = 0


@dataclass(frozen=True)
class ReportData:
    """All of a report; ``cards`` may hold fewer than ``images + reg_images`` where there are very many."""

    name: str
    root: str
    """Left out of the places of findings; a page that is passed on need not say where it was made."""
    basis: Basis
    images: int
    reg_images: int
    points: tuple[Point, ...]
    cards: tuple[Card, ...]
    buckets: tuple[BucketRow, ...]
    batch_choices: tuple[BatchChoice, ...]
    captions: CaptionFigures
    findings: tuple[Finding, ...]
    upscaled: int = 0
    cropped: int = 0
    much_cropped: int = 0
    stamp: str = ""
    """A date or a version to print on it; none by default, so that equal input gives equal bytes."""

    def count(self, severity: Severity) -> int:
        return sum(finding.severity is severity for finding in self.findings)

    @property
    def verdict(self) -> str:
        """One sentence a person can act on.

        The order of gravity decides: one error outweighs any number of warnings.
        """
        errors, warnings = self.count(Severity.ERROR), self.count(Severity.WARNING)
        if errors:
            return f"{counted(errors, 'error')} to mend before training"
        if warnings:
            return f"Trainable, with {counted(warnings, 'warning')} to look at"
        return "Fit to train on"


def gravest(findings: Iterable[Finding]) -> Severity | None:
    """The worst severity among them, None where there are none."""
    present = {finding.severity for finding in findings}
    return next((severity for severity in Severity if severity in present), None)


def place_of(where: str) -> str:
    """The file of a ``file:line`` or ``file:line:column``.

    >>> place_of("a/b.txt:12"), place_of("forge.yaml:3:7"), place_of("a/b:c.txt"), place_of("")
    ('a/b.txt', 'forge.yaml', 'a/b:c.txt', '')
    """
    return _LINE.sub("", where)


def choose_cards(severities: Sequence[Severity | None], most: int) -> list[int]:
    """Which images are shown where not all can be: the gravest first, the others evenly spread; in their order.

    >>> choose_cards([None] * 6, 3), choose_cards([None, None, None, Severity.ERROR], 2)
    ([0, 2, 4], [0, 3])
    """
    if len(severities) <= most:
        return list(range(len(severities)))
    ranks = list(Severity)
    marked = [index for index, severity in enumerate(severities) if severity is not None]
    marked.sort(key=lambda index: ranks.index(severities[index] or Severity.INFO))
    chosen = marked[:most]
    taken = set(chosen)
    others = [index for index in range(len(severities)) if index not in taken]
    free = most - len(chosen)
    return sorted(chosen + [others[place * len(others) // free] for place in range(free)])
