"""What lies in a dataset folder, sorted into what a prepared copy takes and what it leaves out, with the reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lora_forge.datasets.captions import caption_stems
from lora_forge.datasets.listing import CAPTION_EXTENSIONS, IMAGE_EXTENSIONS, parse_kohya_name, split_name
from lora_forge.datasets.notes import printable

CONVERTIBLE = frozenset({".gif", ".tif", ".tiff", ".jfif", ".jpe", ".ppm"})
"""Endings the engine passes over, of images that can be read all the same."""


class LeftOut(NamedTuple):
    source: str
    reason: str


class Caption(NamedTuple):
    """``source`` beside its image; ``note`` says where it was found, if not under its own name."""

    source: str
    note: str = ""


class Task(NamedTuple):
    """One image: ``stem`` is the result's place without its ending, unique in its folder."""

    source: str
    stem: str
    renamed: str
    caption: Caption | None


@dataclass
class Contents:
    """All paths are relative to the dataset, with forward slashes."""

    tasks: list[Task] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def list_contents(root: Path, caption_extension: str) -> Contents:
    """Sort everything in ``root`` and in the kohya folders below it.

    Raises:
        OSError: a folder cannot be listed.
    """
    contents = Contents()
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    kohya = [name for name in names if parse_kohya_name(name)]
    _sort_folder(contents, root, "", caption_extension, kohya)
    for name in kohya:
        _sort_folder(contents, root / name, f"{name}/", caption_extension, [])
    return contents


def _sort_folder(contents: Contents, folder: Path, prefix: str, extension: str, kohya: list[str]) -> None:
    images: list[str] = []
    others: list[str] = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        reason = _reason(path)
        if reason and path.name not in kohya:
            contents.left_out.append(LeftOut(prefix + printable(path.name), reason))
        elif not reason:
            ending = split_name(path.name)[1].lower()
            (images if ending in IMAGE_EXTENSIONS | CONVERTIBLE else others).append(path.name)
    if kohya:
        contents.left_out += [LeftOut(name, "it lies beside sub-folders, which alone are read") for name in images]
        images = []
    used = _take_images(contents, prefix, images, others, extension)
    contents.left_out += [LeftOut(prefix + name, _other_reason(name, extension)) for name in others if name not in used]


def _reason(path: Path) -> str:
    """Why an entry cannot even be looked at."""
    if printable(path.name) != path.name:
        return "its name is not UTF-8"
    if path.name.startswith("."):
        return "it is hidden"
    if path.is_dir():
        return "the engine reads no folder inside another"
    return "" if path.is_file() else "it is a broken link or no regular file"


def _other_reason(name: str, extension: str) -> str:
    if split_name(name)[1].lower() in (extension, *CAPTION_EXTENSIONS):
        return "it is the caption of no image"
    return "it is neither an image that the engine reads nor a caption"


def _take_images(contents: Contents, prefix: str, images: list[str], others: list[str], extension: str) -> set[str]:
    """A task for each image; the captions that were used. Images of one stem get a stem each."""
    taken: set[str] = set()
    used: set[str] = set()
    names = set(others)
    wanted = {split_name(name)[0].casefold() for name in images}
    for name in images:
        stem, _ = split_name(name)
        unique = _free_stem(stem, taken, wanted)
        taken.add(unique.casefold())
        caption = _find_caption(stem, names, extension)
        used |= {caption.source} if caption else set()
        renamed = "" if unique == stem else f"renamed, since another image is called {stem} too"
        beside = caption and Caption(prefix + caption.source, caption.note)
        contents.tasks.append(Task(prefix + name, prefix + unique, renamed, beside))
    return used


def _free_stem(stem: str, taken: set[str], wanted: set[str]) -> str:
    """The stem itself, else with a number that nobody has or will have; case does not tell files apart everywhere."""
    if stem.casefold() not in taken:
        return stem
    number = 2
    while (candidate := f"{stem}-{number}").casefold() in taken | wanted:
        number += 1
    return candidate


def _find_caption(stem: str, names: set[str], extension: str) -> Caption | None:
    by_lower = {name.lower(): name for name in sorted(names, reverse=True)}
    for number, candidate in enumerate(caption_stems(stem)):
        for ending in (extension, *CAPTION_EXTENSIONS):
            exact = candidate + ending
            found = exact if exact in names else _same_stem(by_lower.get(exact.lower()), candidate)
            if found:
                return Caption(found, _caption_note(found, exact, candidate + extension, number))
    return None


def _same_stem(name: str | None, stem: str) -> str | None:
    return name if name and split_name(name)[0] == stem else None


def _caption_note(found: str, exact: str, wanted: str, number: int) -> str:
    if number:
        return f"taken from {found}, the picture that this one was cut from"
    if found != exact:
        return f"ending {split_name(found)[1]} written as {split_name(wanted)[1]}"
    return "" if exact == wanted else f"ending {split_name(exact)[1]} changed to {split_name(wanted)[1]}"
