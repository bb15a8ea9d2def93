"""Copies and look-alikes among many images, without comparing each with each.

Two pictures look the same if their gradient hashes differ in a few of 128 bits
and their miniatures in a few levels: the hash alone takes two plain skies for
one. Hashes are cut into eight bands, and only images that share a band are
compared; up to seven differing bits always leave one band equal (the pigeonhole
principle), and twelve nearly always.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import sub
from pathlib import Path

from lora_forge.datasets.pixels import PixelFacts

NEAR_BITS = 14
"""Of 41 photographs and drawings no two differ by less than 33 bits.

Halved or saved anew at JPEG quality 30 a picture differs by 6 at the most, cropped by 2 % by 8 in the middle.
"""
NEAR_LEVELS = 14.0
"""Mean difference of the miniatures, of 255 levels; the same pictures brightened by 8 % differ by 13."""
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
    """Whether two pictures look the same."""
    if (int.from_bytes(one.looks, "big") ^ int.from_bytes(other.looks, "big")).bit_count() > NEAR_BITS:
        return False
    return levels_apart(one.thumb, other.thumb) <= NEAR_LEVELS


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
        for other in _met(bands, one.looks, place):
            if (bits[other] ^ bits[place]).bit_count() <= NEAR_BITS and are_alike(facts[other], one):
                yield other, place


def _met(bands: dict[tuple[int, bytes], list[int]], looks: bytes, place: int) -> set[int]:
    """Everyone earlier who shares a band; the newcomer is then among them."""
    met: set[int] = set()
    for start in range(0, len(looks), _BAND_BYTES):
        members = bands.setdefault((start, looks[start : start + _BAND_BYTES]), [])
        met.update(members[-_MOST_IN_BAND:])
        members.append(place)
    return met


def _root(leader: list[int], place: int) -> int:
    while leader[place] != place:
        leader[place] = leader[leader[place]]
        place = leader[place]
    return place


def _join(leader: list[int], first: int, second: int) -> None:
    one, other = sorted((_root(leader, first), _root(leader, second)))
    leader[other] = one
