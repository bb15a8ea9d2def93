"""Copies and look-alikes among many images, without comparing each with each.

Two pictures look the same if their gradient hashes differ in a few of 128 bits
and their miniatures in a few levels, once both have the same brightness and
contrast: the hash alone takes two plain skies for one. Mirrored and turned by
quarters a picture is still the same. Hashes are cut into eight bands, and only
images that share a band are compared; up to seven differing bits always leave
one band equal (the pigeonhole principle), twelve nearly always, sixteen mostly.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from operator import sub
from pathlib import Path

from lora_forge.datasets.pixels import GREY_BELOW, THUMB, PixelFacts, positions

NEAR_BITS = 16
"""Of 85 photographs and drawings no two differ by less than 27 bits, turned as you like, but a stereo pair by 19.

Halved or saved anew at JPEG quality 30 a picture differs by 6 at the most, cropped by 2 % by 8 in the middle,
brightened by a fifth by 16.
"""
NEAR_LEVELS = 12.0
"""Mean difference of the miniatures, of 255 levels, exposure apart; brightened by a fifth a picture differs by 8."""
MOST_BRIGHTER, MOST_CONTRAST = 64.0, 2.0
"""How far two exposures of one picture lie apart in brightness (levels) and contrast (times)."""
_FLAT = 8.0
"""Levels of contrast that a plain surface may have by itself."""
_BAND_BYTES = 2
_MOST_IN_BAND = 64
"""A band value that more images share says nothing (plain borders); each image then meets the latest ones only."""


def copies(pixels: Mapping[Path, PixelFacts]) -> list[list[Path]]:
    """Groups of images whose files are equal to the byte, each in the order given."""
    groups: dict[str, list[Path]] = {}
    for path, facts in pixels.items():
        if facts.digest:
            groups.setdefault(facts.digest, []).append(path)
    return [group for group in groups.values() if len(group) > 1]


def look_alikes(pixels: Mapping[Path, PixelFacts]) -> list[list[Path]]:
    """Groups of images that look the same, copies among them, each in the order given.

    A chain of small differences makes one group: none of them may be torn apart.
    """
    seen = [(path, facts) for path, facts in pixels.items() if facts.looks]
    leader = list(range(len(seen)))
    for first, second in _near_pairs([facts for _, facts in seen]):
        _join(leader, first, second)
    groups: dict[int, list[Path]] = {}
    for place, (path, _) in enumerate(seen):
        groups.setdefault(_root(leader, place), []).append(path)
    return [group for group in groups.values() if len(group) > 1]


def are_alike(one: PixelFacts, other: PixelFacts) -> bool:
    """Whether two pictures look the same, however the other one is turned."""
    bits = int.from_bytes(one.looks, "big")
    return any(
        (bits ^ int.from_bytes(looks, "big")).bit_count() <= NEAR_BITS and _same_thumbs(one, other, turn)
        for turn, looks in enumerate(_turned_looks(other))
    )


def _turned_looks(one: PixelFacts) -> list[bytes]:
    """The hash of each position, the upright one first."""
    side = len(one.looks)
    return [one.looks, *(one.turned[start : start + side] for start in range(0, len(one.turned), side))]


def _same_thumbs(one: PixelFacts, other: PixelFacts, turn: int) -> bool:
    """Exposure and contrast do not count; colour does not either where one of the two has none."""
    first, second = _tones(one.thumb), _tones(_turned_thumb(other.thumb, turn))
    if min(one.chroma, other.chroma) < GREY_BELOW:
        first, second = _luma(first), _luma(second)
    return tones_apart(first, second) <= NEAR_LEVELS


def tones_apart(one: Sequence[float], other: Sequence[float]) -> float:
    """The mean difference of two rows of levels of one brightness and contrast; infinite where those lie too far apart.

    >>> tones_apart([10, 90], [30, 126]), tones_apart([0, 0], [255, 255])
    (0.0, inf)
    """
    (mean, spread), (other_mean, other_spread) = _mean_and_spread(one), _mean_and_spread(other)
    low, high = sorted((spread, other_spread))
    if abs(mean - other_mean) > MOST_BRIGHTER or high > MOST_CONTRAST * low + _FLAT:
        return math.inf
    scale = math.sqrt(low * high)
    first = [(level - mean) / max(spread, 1e-9) for level in one]
    second = [(level - other_mean) / max(other_spread, 1e-9) for level in other]
    apart = sum(abs(here - there) for here, there in zip(first, second, strict=True))
    return scale * apart / max(1, len(first))


def _mean_and_spread(levels: Sequence[float]) -> tuple[float, float]:
    mean = sum(levels) / max(1, len(levels))
    return mean, math.sqrt(sum((level - mean) ** 2 for level in levels) / max(1, len(levels)))


def _tones(thumb: bytes) -> list[float]:
    return list(map(float, thumb))


def _luma(levels: Sequence[float]) -> list[float]:
    """Rec. 601, as Pillow turns colour into grey."""
    reds, greens, blues = levels[::3], levels[1::3], levels[2::3]
    return [0.299 * red + 0.587 * green + 0.114 * blue for red, green, blue in zip(reds, greens, blues, strict=True)]


def _turned_thumb(thumb: bytes, turn: int) -> bytes:
    return thumb if turn == 0 else bytes(map(thumb.__getitem__, _turns()[turn]))


@functools.cache
def _turns() -> list[list[int]]:
    """For each position, where the bytes of its miniature stand in the upright one."""
    import numpy as np

    cells = np.arange(THUMB * THUMB).reshape(THUMB, THUMB)
    return [[3 * int(cell) + channel for cell in turned.ravel() for channel in range(3)] for turned in positions(cells)]


def levels_apart(one: bytes, other: bytes) -> float:
    """The mean difference of two rows of levels."""
    differences: int = sum(map(abs, map(sub, one, other)))
    return differences / max(1, len(one))


def _near_pairs(facts: Sequence[PixelFacts]) -> Iterator[tuple[int, int]]:
    """Equal pictures meet once: the first of each stands for the others."""
    first: dict[tuple[bytes, bytes], int] = {}
    bands: dict[tuple[int, bytes], list[int]] = {}
    bits = [int.from_bytes(one.looks, "big") for one in facts]
    for place, one in enumerate(facts):
        earlier = first.setdefault((one.looks, one.thumb), place)
        if earlier != place:
            yield earlier, place
            continue
        for turn, looks in enumerate(_turned_looks(one)):
            own = int.from_bytes(looks, "big")
            for other in _met(bands, looks):
                if (bits[other] ^ own).bit_count() <= NEAR_BITS and _same_thumbs(facts[other], one, turn):
                    yield other, place
        for band in _bands(one.looks):
            bands.setdefault(band, []).append(place)


def _bands(looks: bytes) -> Iterator[tuple[int, bytes]]:
    return ((start, looks[start : start + _BAND_BYTES]) for start in range(0, len(looks), _BAND_BYTES))


def _met(bands: Mapping[tuple[int, bytes], Sequence[int]], looks: bytes) -> set[int]:
    """Everyone earlier who shares a band."""
    met: set[int] = set()
    for band in _bands(looks):
        met.update(bands.get(band, ())[-_MOST_IN_BAND:])
    return met


def _root(leader: list[int], place: int) -> int:
    while leader[place] != place:
        leader[place] = leader[leader[place]]
        place = leader[place]
    return place


def _join(leader: list[int], first: int, second: int) -> None:
    one, other = sorted((_root(leader, first), _root(leader, second)))
    leader[other] = one
