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
from collections.abc import Iterable, Sequence
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
    """Make the links and captions that were measured; a link that leads elsewhere gives way, whatever lies there."""
    run.dataset.mkdir(exist_ok=True)
    for index, name in _numbered(subsets):
        (run.dataset / subset_folder_name(index, name)).mkdir(exist_ok=True)
    images = [image for subset in subsets for image in subset.images]
    for image, file in zip(images, measured, strict=True):
        _stage_image(run.dataset / file.name, image, file.sha256)


def _numbered(subsets: Sequence[StagedSubset]) -> list[tuple[int, str]]:
    return [(index, subset.name) for index, subset in enumerate(subsets, start=1)]


def _measure(folder: str, place: int, image: StagedImage) -> StagedFile:
    """Name a link: place in the subset, digest of the image's bytes and its caption, lower-case extension."""
    try:
        digest, size = _read_through(image.path)
    except OSError as error:
        raise _unreadable(image, error) from error
    caption = _encoded(image)
    both = hashlib.sha256(digest + caption).hexdigest()[:DIGEST_CHARS]
    name = f"{folder}/{place:05d}-{both}{image.path.suffix.lower()}"
    return StagedFile(name, size, digest.hex(), hashlib.sha256(caption).hexdigest() if caption else None)


def _read_through(path: Path) -> tuple[bytes, int]:
    """SHA-256 and size, one chunk in memory at a time."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return digest.digest(), size


def subset_folder_name(index: int, name: str) -> str:
    """Name the folder of links of the ``index``-th subset, counted from 1."""
    return f"{index:02d}-{_safe(name)}"


def folder_name(file: StagedFile) -> str:
    """The name of the person's folder, as far as the staged one tells it.

    >>> folder_name(StagedFile("01-photos/00001-5f3a.png", 1, "", None))
    'photos'
    """
    return file.name.partition("/")[0].partition("-")[2]


def folder_names(files: Iterable[StagedFile]) -> dict[int, str]:
    """That of every subset, by its number."""
    return {int(file.name.partition("-")[0]): folder_name(file) for file in files}


def _stage_image(link: Path, image: StagedImage, sha256: str) -> None:
    if image.caption:  # the engine asserts on an empty caption file
        link.with_suffix(CAPTION_EXTENSION).write_text(_one_line(image) + "\n", encoding="utf-8", newline="\n")
    if _leads_to(link, image.path, sha256):
        return
    try:
        _link_or_copy(image.path, link)
    except OSError as error:
        if error.filename2 or error.filename != str(image.path):  # the run's own disk is the trouble, not the picture
            raise
        raise _unreadable(image, error) from error


def _leads_to(link: Path, image: Path, sha256: str) -> bool:
    """Whether this is the link to the measured file, or on a filesystem without links its copy."""
    if link.is_symlink():
        return link.readlink() == image.absolute()
    return link.is_file() and _read_through(link)[0].hex() == sha256


def _unreadable(image: StagedImage, error: OSError) -> DatasetError:
    message = f"{image.path} cannot be read: {error.strerror or error}"
    return DatasetError(message, "check the file and its permissions")


def _link_or_copy(source: Path, link: Path) -> None:
    """Link to the absolute path; copy where the filesystem knows no links (exFAT, some network mounts)."""
    pending = link.with_name(f".{link.name}.pending")  # a copy cut short must not be taken for the picture
    pending.unlink(missing_ok=True)
    try:
        pending.symlink_to(source.absolute())
    except OSError as problem:
        if problem.errno not in NO_LINKS:
            raise
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
