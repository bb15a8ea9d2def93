"""Staging: a run trains from links of its own, so that a person's folders are only ever read.

The engine writes its caches beside the images and never notices a changed
caption or a replaced image; here the name of each link carries the digest of
both, so a cache of something else cannot be taken for it.
"""

from __future__ import annotations

import errno
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
NO_LINKS = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


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


@dataclass(frozen=True)
class StagedFile:
    """One staged image as it was measured: ``name`` is the link's, within the run's dataset folder."""

    name: str
    size_bytes: int
    sha256: str
    caption_sha256: str | None


def stage_dataset(run: RunDir, subsets: Sequence[StagedSubset]) -> tuple[Path, ...]:
    """Lay out one folder of links per subset and return the folders in the same order.

    Raises:
        DatasetError: an image cannot be read, or a caption cannot be written so
            that the engine reads it back (it reads the first line only).
    """
    lay_links(run, subsets, measure_dataset(subsets))
    return tuple(run.dataset / subset_folder_name(*numbered) for numbered in _numbered(subsets))


def measure_dataset(subsets: Sequence[StagedSubset]) -> tuple[StagedFile, ...]:
    """Read every image once: names and digests, in the order of the subsets; nothing is written."""
    return tuple(
        _measure(subset_folder_name(index, subset.name), place, image)
        for index, subset in enumerate(subsets, start=1)
        for place, image in enumerate(subset.images, start=1)
    )


def lay_links(run: RunDir, subsets: Sequence[StagedSubset], measured: Sequence[StagedFile]) -> None:
    """Make the links and captions that were measured; what already leads to its image stays."""
    run.dataset.mkdir(exist_ok=True)
    for index, name in _numbered(subsets):
        (run.dataset / subset_folder_name(index, name)).mkdir(exist_ok=True)
    images = [image for subset in subsets for image in subset.images]
    for image, file in zip(images, measured, strict=True):
        _stage_image(run.dataset / file.name, image)


def _numbered(subsets: Sequence[StagedSubset]) -> list[tuple[int, str]]:
    return [(index, subset.name) for index, subset in enumerate(subsets, start=1)]


def _measure(folder: str, place: int, image: StagedImage) -> StagedFile:
    """Name a link: place in the subset, digest of the image's bytes and its caption, lower-case extension."""
    digest, size = hashlib.sha256(), 0
    try:
        with image.path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise _unreadable(image, error) from error
    caption = _encoded(image)
    both = hashlib.sha256(digest.digest() + caption).hexdigest()[:DIGEST_CHARS]
    name = f"{folder}/{place:05d}-{both}{image.path.suffix.lower()}"
    return StagedFile(name, size, digest.hexdigest(), hashlib.sha256(caption).hexdigest() if caption else None)


def subset_folder_name(index: int, name: str) -> str:
    """Name the folder of links of the ``index``-th subset, counted from 1."""
    return f"{index:02d}-{_safe(name)}"


def _stage_image(link: Path, image: StagedImage) -> None:
    if image.caption:  # the engine asserts on an empty caption file
        link.with_suffix(CAPTION_EXTENSION).write_text(_one_line(image) + "\n", encoding="utf-8", newline="\n")
    if link.exists():
        return
    link.unlink(missing_ok=True)  # a link that leads nowhere any more
    try:
        _link_or_copy(image.path, link)
    except OSError as error:
        if error.filename2 or error.filename != str(image.path):  # the run's own disk is the trouble, not the picture
            raise
        raise _unreadable(image, error) from error


def _unreadable(image: StagedImage, error: OSError) -> DatasetError:
    message = f"{image.path} cannot be read: {error.strerror or error}"
    return DatasetError(message, "check the file and its permissions")


def _link_or_copy(source: Path, link: Path) -> None:
    """Link to the absolute path; copy where the filesystem knows no links (exFAT, some network mounts)."""
    try:
        link.symlink_to(source.absolute())
    except OSError as problem:
        if problem.errno not in NO_LINKS:
            raise
        pending = link.with_name(f".{link.name}.pending")  # a copy cut short must not be taken for the picture
        shutil.copyfile(source, pending)
        pending.replace(link)


def _encoded(image: StagedImage) -> bytes:
    try:
        return (image.caption or "").encode()
    except UnicodeEncodeError as error:
        message = f"the caption of {image.path} cannot be written in UTF-8: {image.caption!r}"
        raise DatasetError(message, "write it, or the trigger that stands for it, anew") from error


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
