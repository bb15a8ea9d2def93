"""What lies in a dataset folder beside its images and their captions."""

from __future__ import annotations

from lora_forge.datasets.captions import caption_stems
from lora_forge.datasets.listing import Listing, split_name
from lora_forge.datasets.notes import Notes, printable

NO_CAPTIONS = frozenset({"readme", "license", "licence", "notes", "credits", "prompts", "trigger"})
"""Text files that people put beside pictures without meaning a caption."""
_MASK_ENDINGS = ("_mask", "-mask", ".mask")


def note_unread(notes: Notes, listing: Listing) -> None:
    """What nobody will read: hidden files, other formats, folders that look like images."""
    where = printable(str(listing.folder))
    for name in listing.hidden:
        notes.together("hidden-files", where, name)
    for name in listing.unread:
        notes.together("image-ignored", where, name, split_name(name)[1].lower())
    for name in listing.like_images:
        notes.together("folder-like-image", where, name)


def note_strays(notes: Notes, listing: Listing, caption_extension: str, stems: set[str]) -> None:
    """Caption files without an image, masks among the images, endings that the engine alone would miss."""
    where = printable(str(listing.folder))
    _note_orphans(notes, where, listing, stems)
    for stem in stems:
        _note_mask(notes, where, listing, stem, stems)
    if notes.per_file:
        _note_cases(notes, where, listing, caption_extension)


def _note_orphans(notes: Notes, where: str, listing: Listing, stems: set[str]) -> None:
    """Captions of every ending; a JSON file may be about anything."""
    described = stems
    for extension, captions in listing.captions.items():
        lonely = captions.keys() - described if extension != ".json" else set()
        if lonely and described is stems:
            described = {other for stem in stems for other in caption_stems(stem)}
        for stem in sorted(lonely - described):
            if stem.lower() not in NO_CAPTIONS:
                notes.together("caption-orphan", where, captions[stem])


def _note_mask(notes: Notes, where: str, listing: Listing, stem: str, stems: set[str]) -> None:
    if not stem.lower().endswith(_MASK_ENDINGS) or stem[:-5] not in stems:
        return
    name = next(name for name in listing.images if split_name(name)[0] == stem)
    notes.together("mask-image", where, name, stem[:-5])


def _note_cases(notes: Notes, where: str, listing: Listing, caption_extension: str) -> None:
    """The engine finds ``.png`` and ``.PNG``, but not ``.Png``, and captions in the very case that it was told."""
    for name in listing.images:
        ending = split_name(name)[1]
        if ending not in (ending.lower(), ending.upper()):
            notes.together("extension-case", where, name, ending.lower())
    for name in listing.captions[caption_extension].values():
        if not name.endswith(caption_extension):
            notes.together("extension-case", where, name, caption_extension)
