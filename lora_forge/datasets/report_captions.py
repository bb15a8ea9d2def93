"""Figures about captions: how long, which words recur, where the trigger stands, which are the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lora_forge.datasets.caption_words import FILLERS

MOST_WORDS = 14
MOST_GROUPS = 20
BINS = 8
FAR_OUT = 3
"""Captions longer than this many medians share one open bin, so that a single novel flattens no chart."""

_WORD = re.compile(r"[^\W_](?:[\w'’-]*\w)?", re.UNICODE)
_FILLERS = FILLERS | {"is", "are", "or", "as"}


class Captioned(NamedTuple):
    """An image and the line it is trained under; None where it has no caption file that can be read."""

    name: str
    text: str | None


class Bin(NamedTuple):
    """How many captions have ``low`` to ``high`` words, both included; an open one also has longer ones."""

    low: int
    high: int
    captions: int
    is_open: bool = False


class WordShare(NamedTuple):
    word: str
    captions: int
    share: float


class TriggerPlaces(NamedTuple):
    """How many captions begin with the trigger, hold it later, end with it, or lack it.

    ``repeated`` counts those that hold it more than once, wherever the first one stands.
    """

    leads: int = 0
    later: int = 0
    trails: int = 0
    absent: int = 0
    repeated: int = 0


class CaptionFigures(NamedTuple):
    """``identical`` holds groups of names, each with the caption that they share."""

    captions: int = 0
    missing: int = 0
    blank: int = 0
    shortest: int = 0
    median: int = 0
    longest: int = 0
    bins: tuple[Bin, ...] = ()
    words: tuple[WordShare, ...] = ()
    trigger: TriggerPlaces | None = None
    identical: tuple[tuple[str, tuple[str, ...]], ...] = ()
    identical_groups: int = 0


def caption_figures(captioned: Sequence[Captioned], trigger: str) -> CaptionFigures:
    """Count everything; ``trigger`` is empty where there is none."""
    texts = [each.text for each in captioned if each.text]
    lengths = sorted(len(words_of(text)) for text in texts)
    groups = identical_groups(captioned)
    return CaptionFigures(
        captions=len(texts),
        missing=sum(each.text is None for each in captioned),
        blank=sum(each.text == "" for each in captioned),
        shortest=lengths[0] if lengths else 0,
        median=lengths[len(lengths) // 2] if lengths else 0,
        longest=lengths[-1] if lengths else 0,
        bins=length_bins(lengths),
        words=shared_words(texts, trigger),
        trigger=trigger_places(texts, trigger) if trigger else None,
        identical=tuple(groups[:MOST_GROUPS]),
        identical_groups=len(groups),
    )


def words_of(text: str) -> list[str]:
    """
    >>> words_of("ohwx, a man's half-body photo_1")
    ['ohwx', 'a', "man's", 'half-body', 'photo_1']
    """
    return _WORD.findall(text)


def length_bins(lengths: Sequence[int]) -> tuple[Bin, ...]:
    """Equal spans of word counts, empty ones between them included; ``lengths`` is sorted.

    >>> [tuple(each) for each in length_bins([2, 3, 3, 5])]
    [(2, 2, 1, False), (3, 3, 2, False), (4, 4, 0, False), (5, 5, 1, False)]
    >>> length_bins([3, 3, 4, 600])[-1]
    Bin(low=5, high=600, captions=1, is_open=True)
    """
    if not lengths:
        return ()
    far = FAR_OUT * max(lengths[len(lengths) // 2], FAR_OUT)
    near = [length for length in lengths if length <= far] or list(lengths)
    low, high = near[0], near[-1]
    span = -(-(high - low + 1) // BINS)
    counts = Counter((length - low) // span for length in near)
    places = range((high - low) // span + 1)
    bins = [Bin(low + span * place, low + span * (place + 1) - 1, counts[place]) for place in places]
    if len(near) < len(lengths):
        bins.append(Bin(bins[-1].high + 1, lengths[-1], len(lengths) - len(near), is_open=True))
    return tuple(bins)


def shared_words(texts: Sequence[str], trigger: str) -> tuple[WordShare, ...]:
    """The words that most captions hold, each counted once a caption; the trigger and fillers are left out."""
    counts: Counter[str] = Counter()
    own = {word.casefold() for word in words_of(trigger)} | _FILLERS
    for text in texts:
        counts.update({word.casefold() for word in words_of(text)} - own)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    repeated = [(word, count) for word, count in ranked if count > 1]
    return tuple(WordShare(word, count, count / len(texts)) for word, count in repeated[:MOST_WORDS])


def trigger_places(texts: Iterable[str], trigger: str) -> TriggerPlaces:
    """Where the trigger stands, as a word of its own and in its own spelling.

    >>> trigger_places(["ohwx, a man", "a man, ohwx", "an ohwx man", "ohwxy"], "ohwx")
    TriggerPlaces(leads=1, later=1, trails=1, absent=1, repeated=0)
    """
    word = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)")
    counts: Counter[str] = Counter()
    for text in texts:
        found = [match.span() for match in word.finditer(text)]
        counts[_place(text, found)] += 1
        counts["repeated"] += len(found) > 1
    return TriggerPlaces(**counts)


def identical_groups(captioned: Iterable[Captioned]) -> list[tuple[str, tuple[str, ...]]]:
    """Captions that say the same but for case and spaces, the largest group first."""
    groups: dict[str, list[Captioned]] = {}
    for each in captioned:
        if each.text:
            groups.setdefault(" ".join(each.text.casefold().split()), []).append(each)
    shared = [group for group in groups.values() if len(group) > 1]
    shared.sort(key=lambda group: (-len(group), group[0].name))
    return [(group[0].text or "", tuple(each.name for each in group)) for group in shared]


def _place(text: str, found: Sequence[tuple[int, int]]) -> str:
    if not found:
        return "absent"
    if not text[: found[0][0]].strip("\"'([ "):
        return "leads"
    return "later" if text[found[0][1] :].strip(" .,;!?\"')]") else "trails"
