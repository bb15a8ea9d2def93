"""What was measured in a dataset folder; nothing is judged here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lora_forge.settings import Written


class ImageFacts(NamedTuple):
    """One image file of a subset.

    ``name`` and ``caption_file`` are file names in the subset's folder. The size
    is the engine's: as stored, EXIF orientation ignored. ``caption`` is the first
    line of the caption file, stripped; None where there is no such file.
    """

    name: str
    width: int
    height: int
    caption: str | None = None
    caption_file: str | None = None


class SubsetFacts(NamedTuple):
    """One folder of images; ``repeats`` and ``class_tokens`` come from a kohya folder name alone."""

    folder: Path
    repeats: int | None
    class_tokens: str | None
    is_reg: bool
    images: tuple[ImageFacts, ...]
    written: Written | None = None
    """The repeats as a person wrote them for this folder; None where its name says them, or nobody."""


@dataclass(frozen=True)
class DatasetFacts:
    """All subsets, training first; only images that could be measured are in them."""

    root: Path
    subsets: tuple[SubsetFacts, ...]
    held_out: tuple[SubsetFacts, ...] = ()
    """Images for validation alone; none of them is in ``subsets``."""

    @property
    def validation_images(self) -> int:
        """How many images are held out for validation."""
        return sum(len(subset.images) for subset in self.held_out)

    @property
    def images(self) -> int:
        """How many training images there are, repeats not counted."""
        return sum(len(subset.images) for subset in self.train_subsets)

    @property
    def reg_images(self) -> int:
        """How many regularization images there are, repeats not counted."""
        return sum(len(subset.images) for subset in self.subsets if subset.is_reg)

    @property
    def train_subsets(self) -> tuple[SubsetFacts, ...]:
        """The subsets that are learned, without regularization."""
        return tuple(subset for subset in self.subsets if not subset.is_reg)

    def captions(self) -> Iterator[str]:
        """Every training caption that is not blank."""
        for subset in self.train_subsets:
            for image in subset.images:
                if image.caption:
                    yield image.caption
