"""Staging: a run trains from links of its own, so that a person's folders are only ever read.

The engine writes its caches beside the images and never notices a changed
caption or a replaced image; here the name of each link carries the digest of
both, so a cache of something else cannot be taken for it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_forge.errors import DatasetError
from lora_forge.runs.directory import RunDir

CAPTION_EXTENSION = ".txt"
DIGEST_CHARS = 12
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class StagedImage:
    """One image and its exact caption; None leaves the caption to the subset's class tokens."""

    path: Path
    caption: str | None


@dataclass(frozen=True)
class StagedSubset:
    """Images that become one folder; ``name`` is made safe for a folder name."""

    name: str
    images: Sequence[StagedImage]


def stage_dataset(run: RunDir, subsets: Sequence[StagedSubset]) -> tuple[Path, ...]:
    """Lay out one folder of links per subset and return the folders in the same order.

    Raises:
        DatasetError: an image cannot be read, or a caption cannot be written so
            that the engine reads it back (it reads the first line only).
    """
    run.dataset.mkdir()
    return tuple(_stage_subset(run.dataset, index, subset) for index, subset in enumerate(subsets, start=1))


def staged_name(index: int, image: StagedImage) -> str:
    """Name a link: place in the subset, digest of the image's bytes and its caption, lower-case extension."""
    return f"{index:05d}-{content_digest(image)}{image.path.suffix.lower()}"


def content_digest(image: StagedImage) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_CHARS // 2)
    with image.path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    digest.update(b"\0" + (image.caption or "").encode())
    return digest.hexdigest()


def subset_folder_name(index: int, name: str) -> str:
    """Name the folder of links of the ``index``-th subset, counted from 1."""
    return f"{index:02d}-{_safe(name)}"


def _stage_subset(dataset: Path, index: int, subset: StagedSubset) -> Path:
    folder = dataset / subset_folder_name(index, subset.name)
    folder.mkdir()
    for place, image in enumerate(subset.images, start=1):
        _stage_image(folder, place, image)
    return folder


def _stage_image(folder: Path, place: int, image: StagedImage) -> None:
    try:
        link = folder / staged_name(place, image)
        _link_or_copy(image.path, link)
    except OSError as error:
        raise DatasetError(
            f"{image.path} cannot be read: {error.strerror or error}", "check the file and its permissions"
        ) from error
    if image.caption:  # the engine asserts on an empty caption file
        link.with_suffix(CAPTION_EXTENSION).write_text(_one_line(image) + "\n", encoding="utf-8", newline="\n")


def _link_or_copy(source: Path, link: Path) -> None:
    """Link to the absolute path; copy where the filesystem knows no links (exFAT, some network mounts)."""
    try:
        link.symlink_to(source.absolute())
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, link)


def _one_line(image: StagedImage) -> str:
    caption = image.caption or ""
    if re.search(r"[\r\n]", caption):
        raise DatasetError(
            f"the caption of {image.path} has more than one line: {caption!r}",
            "write it in one line, the engine reads no further",
        )
    return caption


def _safe(name: str) -> str:
    """Keep what every filesystem and the engine's glob take.

    >>> _safe("10_jeff person [v2]")
    '10_jeff_person_v2_'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "_", Path(name).name).lstrip(".-")[:60] or "subset"
