"""Captions that say nearly the same, found without comparing each with each.

Two captions are alike if their telling words overlap by four fifths (Jaccard).
Sort the words of both from rare to frequent: then they share at least three of
their first few words, so only captions that meet in some three are compared
(the prefix filter of set-similarity joins, extended to triples).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, combinations
from typing import Protocol, TypeVar

from lora_forge.datasets.caption_words import FILLERS, WORD

OVERLAP = 0.8
_TOGETHER = 3
"""Captions of fewer telling words are alike by nature; equal ones are told as identical."""
_LONGEST_PREFIX = 9
"""Bounds the triples of a very long caption; up to thirty words none is lost."""
_MOST_MET = 32
"""Three rarest words that more captions share are a phrase of the set; each caption then meets the first of them."""


class Worded(Protocol):
    """A caption whose words were found already, in lower case."""

    @property
    def words(self) -> Sequence[str]: ...


Captioned = TypeVar("Captioned", bound=Worded)
Ranks = frozenset[int]


def similar_captions(captions: Sequence[Captioned], trigger: str) -> Iterator[tuple[Captioned, Captioned]]:
    """Each caption that is like an earlier one, with that one; the same words in the same order are left out.

    Numbers count as words, so ``scene 3`` and ``scene 4`` differ as much as two places do.
    """
    ranked = _ranked(captions, {*FILLERS, *WORD.findall(trigger.lower())})
    met: dict[tuple[int, ...], list[int]] = {}
    for place, ranks in ranked.items():
        like = _meet(met, ranked, place, _prefix(ranks))
        if like is not None:
            yield captions[place], captions[like]


def _ranked(captions: Sequence[Captioned], silent: set[str]) -> dict[int, Ranks]:
    """The telling words of each different text, as ranks from the rarest up, by the text's first place."""
    texts: dict[tuple[str, ...], int] = {}
    for place, caption in enumerate(captions):
        texts.setdefault(tuple(caption.words), place)
    sets = {place: set(words) - silent for words, place in texts.items()}
    counts = Counter(chain.from_iterable(sets.values()))
    ranks = {word: rank for rank, word in enumerate(sorted(counts, key=lambda word: (counts[word], word)))}
    return {place: frozenset(map(ranks.__getitem__, words)) for place, words in sets.items() if len(words) >= _TOGETHER}


def _prefix(ranks: Ranks) -> list[int]:
    """The rarest words, of which any like caption shares at least three."""
    least_shared = -(-len(ranks) * 4 // 5)
    return sorted(ranks)[: min(len(ranks) - least_shared + _TOGETHER, _LONGEST_PREFIX)]


def _meet(met: dict[tuple[int, ...], list[int]], ranked: dict[int, Ranks], place: int, prefix: list[int]) -> int | None:
    """Look under every three words for a caption like this one, and leave this one there."""
    ranks, like = ranked[place], None
    for key in combinations(prefix, _TOGETHER):
        others = met.get(key)
        if others is None:
            met[key] = [place]
            continue
        if like is None:
            like = next((other for other in others if _are_alike(ranks, ranked[other])), None)
        if len(others) < _MOST_MET:
            others.append(place)
    return like


def _are_alike(one: Ranks, other: Ranks) -> bool:
    shared = len(one & other)
    return shared >= OVERLAP * (len(one) + len(other) - shared)
