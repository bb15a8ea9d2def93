"""Judging what was measured in the pixels; thresholds with where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lora_forge.datasets.backgrounds import repeated_background
from lora_forge.datasets.facts import DatasetFacts
from lora_forge.datasets.near_duplicates import copies, look_alikes
from lora_forge.datasets.notes import Notes, listed, printable
from lora_forge.datasets.pixels import GREY_BELOW, MOST_DECODED, OUT_OF_MEMORY, PixelFacts
from lora_forge.findings import warning

BLURRED_BELOW = 25.0
"""Of 18 photographs and 23 drawings the softest measures 43, and a Gaussian of two pixels leaves 21 at the most.

Measured at 768 pixels with the sample pictures of scikit-image and scikit-learn and the demo's drawings.
Film grain or noise over a blurred picture hides the blur.
"""
MOST_CLIPPED = 0.5
"""Share of the middle; the same pictures have 12 % black and 3 % white at the most."""
LEAST_TRANSPARENT = 0.001
_TURNED = {
    2: "mirrored",
    3: "upside down",
    4: "upside down and mirrored",
    5: "sideways and mirrored",
    6: "sideways",
    7: "sideways and mirrored",
    8: "sideways",
}
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")
_PRINT_MODES = ("CMYK", "LAB", "YCCK")


def note_pixels(notes: Notes, facts: DatasetFacts, pixels: Mapping[Path, PixelFacts]) -> None:
    """Every image that was looked at, then all of them together."""
    _note_each(notes, pixels)
    train = [subset.folder / image.name for subset in facts.train_subsets for image in subset.images]
    groups = look_alikes(pixels)
    _note_duplicates(notes, pixels, groups)
    alike = {path for group in groups for path in group[1:]}  # a copy of a picture has its background, of course
    _note_background(notes, facts, {path: pixels[path] for path in train if path in pixels and path not in alike})


def _note_each(notes: Notes, pixels: Mapping[Path, PixelFacts]) -> None:
    folders: dict[Path, str] = {}
    for path, one in pixels.items():
        folder = folders.setdefault(path.parent, printable(str(path.parent)))
        for code, detail in judge_pixels(one):
            notes.together(code, folder, path.name, detail)


def judge_pixels(one: PixelFacts) -> list[tuple[str, str]]:
    """Code and figures of everything that is wrong with one image by itself."""
    if one.problem == OUT_OF_MEMORY:
        return [("image-no-memory", one.problem)]
    if one.problem:
        return [("image-truncated", one.problem)]
    if one.is_huge:
        return [
            ("image-huge", f"{one.scans:,} scans" if one.scans else f"more than {MOST_DECODED // 10**6} million pixels")
        ]
    return [judged for judged in (*_judge_form(one), *_judge_light(one)) if judged]


def _judge_form(one: PixelFacts) -> list[tuple[str, str] | None]:
    return [
        ("image-animated", "") if one.animated else None,
        ("image-orientation", _TURNED[one.orientation]) if one.orientation in _TURNED else None,
        ("image-alpha", f"{one.transparent:.1%}") if one.transparent > LEAST_TRANSPARENT else None,
        ("image-cmyk", one.mode) if one.mode in _PRINT_MODES else None,
        ("image-deep", _depth(one)) if one.bits > 8 else None,
        ("image-grey", "") if _is_grey(one) else None,
        ("image-palette", str(one.colours)) if one.mode in ("P", "PA") and not one.animated else None,
    ]


def _is_grey(one: PixelFacts) -> bool:
    """Also saved in colour; of a picture that is all black or white nobody can tell."""
    is_clipped = max(one.dark, one.bright) > MOST_CLIPPED
    return one.mode in _GREY_MODES or (one.chroma < GREY_BELOW and not is_clipped)


def _depth(one: PixelFacts) -> str:
    if one.mode.startswith(("I", "F")):
        return f"{one.bits} bits of grey; the engine cuts it to 8 without scaling, so nearly all of it turns white"
    return f"{one.bits} bits a channel, of which the engine keeps the upper 8; they only cost time"


def _judge_light(one: PixelFacts) -> list[tuple[str, str] | None]:
    """A black or white picture is not called blurred as well."""
    if one.dark > MOST_CLIPPED:
        return [("image-dark", f"{one.dark:.0%}")]
    if one.bright > MOST_CLIPPED:
        return [("image-bright", f"{one.bright:.0%}")]
    return [
        ("image-blurred", f"{one.sharpness:.0f}, {BLURRED_BELOW:.0f} is the least")
        if one.sharpness < BLURRED_BELOW
        else None
    ]


def _note_duplicates(notes: Notes, pixels: Mapping[Path, PixelFacts], groups: Sequence[list[Path]]) -> None:
    """The first of a group stands; copies are told as copies alone."""
    copied = set[Path]()
    for group in copies({path: one for path, one in pixels.items() if one.digest}):
        for path in group[1:]:
            copied.add(path)
            notes.together("image-duplicate", printable(str(path.parent)), path.name, _named(group[0], path))
    for group in groups:
        for path in group[1:]:
            if path not in copied:
                detail = _named(group[0], path)
                notes.together("image-near-duplicate", printable(str(path.parent)), path.name, detail)


def _named(path: Path, beside: Path) -> str:
    return path.name if path.parent == beside.parent else f"{path.parent.name}/{path.name}"


def _note_background(notes: Notes, facts: DatasetFacts, pixels: Mapping[Path, PixelFacts]) -> None:
    paths = list(pixels)
    places = repeated_background([pixels[path] for path in paths])
    if not places:
        return
    names = listed([paths[place].name for place in places])
    message = (
        f"{len(places)} of {len(paths)} pictures have the same background ({names}): "
        "it is learned as part of the subject, and comes back in every result."
    )
    hint = "Use pictures from more places, or describe the background in their captions."
    notes.add(warning("background-repeated", message, hint, printable(str(facts.root))))
