"""One folder, listed once: which files are images, which are captions, which folders lie in it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lora_forge.entries import leads_to_file, leads_to_folder

IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
CAPTION_EXTENSIONS = (".txt", ".caption")
FOREIGN_EXTENSIONS = (".tags", ".cap", ".json")
"""Endings under which other tools leave captions, which neither forge nor the engine reads from there."""
UNREAD_EXTENSIONS = frozenset(
    {
        ".gif",
        ".tif",
        ".tiff",
        ".heic",
        ".heif",
        ".avif",
        ".jxl",
        ".jp2",
        ".psd",
        ".dng",
        ".cr2",
        ".nef",
        ".svg",
        ".jfif",
    }
)
"""Pictures that neither forge nor the engine reads, though a person may think so."""
_KOHYA = re.compile(r"([0-9]{1,6})_(.*)", re.DOTALL)


@dataclass
class Listing:
    """What a folder holds, by name; ``captions`` maps extension → stem → file name."""

    folder: Path
    images: list[str] = field(default_factory=list)
    captions: dict[str, dict[str, str]] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    not_utf8: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    broken_captions: dict[str, str] = field(default_factory=dict)
    """Stem → name of what ends as the captions in use do and is no file: a link that leads nowhere, a pipe."""
    unread: list[str] = field(default_factory=list)
    like_images: list[str] = field(default_factory=list)


class KohyaName(NamedTuple):
    """``10_jeff_person``: ten repeats, class tokens ``jeff_person``."""

    repeats: int
    class_tokens: str | None


def parse_kohya_name(name: str) -> KohyaName | None:
    """Repeats and class tokens of a folder name; everything after the first underscore is tokens.

    >>> parse_kohya_name("10_jeff_person"), parse_kohya_name("photos"), parse_kohya_name("0_x")
    (KohyaName(repeats=10, class_tokens='jeff_person'), None, None)
    """
    match = _KOHYA.fullmatch(name)
    if match is None or int(match.group(1)) == 0:
        return None
    return KohyaName(int(match.group(1)), match.group(2).strip() or None)


def split_name(name: str) -> tuple[str, str]:
    """Stem and extension as ``os.path.splitext``, where pathlib's objects would cost a third of a scan.

    >>> split_name("a.b.png"), split_name("a"), split_name("a.")
    (('a.b', '.png'), ('a', ''), ('a', '.'))
    """
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem else (name, "")


def list_folder(folder: Path, caption_extension: str) -> Listing:
    """Sort a folder's entries in one pass; nothing is opened.

    Raises:
        OSError: where the folder cannot be listed.
    """
    known = (*CAPTION_EXTENSIONS, *FOREIGN_EXTENSIONS)
    extensions = (caption_extension, *(other for other in known if other != caption_extension))
    listing = Listing(folder, captions={extension: {} for extension in extensions})
    with os.scandir(folder) as entries:
        for entry in entries:
            _sort(listing, entry, extensions)
    for names in vars(listing).values():
        if isinstance(names, list):
            names.sort()
    return listing


def _sort(listing: Listing, entry: os.DirEntry[str], extensions: tuple[str, ...]) -> None:
    name = entry.name
    if not name.isascii() and not _is_utf8(name):
        listing.not_utf8.append(name)
    elif name.startswith("."):
        listing.hidden.append(name)
    elif split_name(name)[1].lower() in IMAGE_EXTENSIONS:
        _sort_image(listing, entry)
    elif leads_to_folder(entry):
        listing.folders.append(name)
    else:
        _sort_caption(listing, entry, extensions)


def _sort_image(listing: Listing, entry: os.DirEntry[str]) -> None:
    """A folder may be called ``x.png``; a pipe or a broken link is no image but looks like one."""
    if leads_to_file(entry):
        listing.images.append(entry.name)
    elif leads_to_folder(entry):
        listing.like_images.append(entry.name)
    else:
        listing.broken.append(entry.name)


def _sort_caption(listing: Listing, entry: os.DirEntry[str], extensions: tuple[str, ...]) -> None:
    name = entry.name
    for extension in extensions:
        if name.lower().endswith(extension.lower()):
            if leads_to_file(entry):
                _take_caption(listing.captions[extension], name, extension)
            elif extension == extensions[0]:
                _take_caption(listing.broken_captions, name, extension)
            return
    if split_name(name)[1].lower() in UNREAD_EXTENSIONS:
        listing.unread.append(name)


def _take_caption(captions: dict[str, str], name: str, extension: str) -> None:
    """Of two that differ in case alone, the one that is written as asked."""
    stem = name[: -len(extension)]
    if name.endswith(extension) or stem not in captions:
        captions[stem] = name


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
