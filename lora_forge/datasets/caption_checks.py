"""What captions say, held against what a text encoder makes of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from lora_forge.datasets.advice import Advice
from lora_forge.datasets.caption_words import (
    FORBIDDEN,
    NEGATIONS,
    SENTENCE_WORDS,
    TAG_WORDS,
    WORD,
    common_words,
    estimate_tokens,
)
from lora_forge.datasets.facts import DatasetFacts, SubsetFacts
from lora_forge.datasets.notes import Notes, counted, printable
from lora_forge.datasets.similar import similar_captions
from lora_forge.findings import warning

_WORDS_A_TAG = 2.5
"""Booru tags have one or two words; phrases between commas in a sentence have more."""
_WORDS_A_SENTENCE = 4
_LONGEST_TAG = 4
"""Words; `hands on own hips` is one, but a longer phrase among tags is prose."""
_FEWEST_TAGS = 4
_COUNTED_KINDS = 4
_LEADING_MAJORITY = 0.5
_FEWEST_NAMED = 3


class Caption(NamedTuple):
    """One caption that is trained, with where it stands; ``words`` are in lower case."""

    folder: str
    file: str
    text: str
    words: list[str]


class _Trigger:
    """How often the trigger stands in a text as a word of its own, and whether it leads."""

    def __init__(self, word: str) -> None:
        self.word = word
        self._pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
        self._any_case = re.compile(self._pattern.pattern, re.IGNORECASE)

    def count(self, text: str) -> int:
        return len(self._pattern.findall(text)) if self.word in text else 0

    def in_other_case(self, text: str) -> str:
        found = self._any_case.search(text)
        return f" (it says {found.group()})" if found else ""

    def leads(self, text: str) -> bool:
        opened = text.lstrip("\"'([ ")
        return bool(self._pattern.match(text) or self._pattern.match(opened))


def note_captions(notes: Notes, facts: DatasetFacts, advice: Advice) -> None:
    """Every check of captions; blank ones are not judged, the scan has told them already."""
    trigger = _Trigger(advice.trigger) if advice.trigger else None
    captions = [caption for subset in facts.train_subsets for caption in _captions(subset)]
    if trigger:
        _note_trigger(notes, captions, facts, advice, trigger)
        _note_common(notes, facts, trigger.word)
    _note_class_tokens(notes, facts, trigger)
    names = _names_among(captions, advice.trigger)
    mixed = {id(caption) for caption in captions if _note_wording(notes, caption, advice, names)}
    _note_kinds(notes, [caption for caption in captions if id(caption) not in mixed])
    _note_identical(notes, captions)
    for caption, like in similar_captions(captions, advice.trigger or ""):
        notes.together("caption-similar", caption.folder, caption.file, like.file)
    _note_reg(notes, facts, trigger)


def _captions(subset: SubsetFacts) -> Iterator[Caption]:
    """One for each caption file: images that share one are told by their stem."""
    folder, seen = printable(str(subset.folder)), set[str]()
    for image in subset.images:
        if image.caption and image.caption_file and image.caption_file not in seen:
            seen.add(image.caption_file)
            words = WORD.findall(image.caption.lower())
            yield Caption(folder, image.caption_file, image.caption, words)


def _note_trigger(
    notes: Notes, captions: list[Caption], facts: DatasetFacts, advice: Advice, trigger: _Trigger
) -> None:
    trailing = []
    for caption in captions:
        count = trigger.count(caption.text)
        if count == 0:
            notes.together("trigger-absent", caption.folder, caption.file, trigger.in_other_case(caption.text))
        elif count > 1:
            notes.together("trigger-repeated", caption.folder, caption.file, str(count))
        if count and not trigger.leads(caption.text):
            trailing.append(caption)
    is_mixed = advice.subject == "any" and len(trailing) < len(captions) * _LEADING_MAJORITY
    if advice.subject == "identity" or is_mixed:
        for caption in trailing:
            notes.together("trigger-not-leading", caption.folder, caption.file)
    for subset in facts.train_subsets:
        if _spoken_for(subset) and trigger.count(subset.class_tokens or "") == 0:
            notes.together("class-tokens-trigger", printable(str(subset.folder.parent)), subset.folder.name)


def _note_class_tokens(notes: Notes, facts: DatasetFacts, trigger: _Trigger | None) -> None:
    """The same words for every picture: what a kohya folder is for, but not what most people mean."""
    for subset in facts.train_subsets:
        count = _spoken_for(subset)
        if count and (trigger is None or trigger.count(subset.class_tokens or "")):  # else it is a warning
            verb = "trains" if count == 1 else "train"
            detail = f"{counted(count, 'image')} without a caption {verb} on “{subset.class_tokens}”"
            notes.together("class-tokens-alone", printable(str(subset.folder.parent)), subset.folder.name, detail)


def _spoken_for(subset: SubsetFacts) -> int:
    """How many images have the folder's class tokens in place of a caption; a blank one is a caption to the engine."""
    return sum(image.caption_file is None for image in subset.images) if subset.class_tokens else 0


def _note_common(notes: Notes, facts: DatasetFacts, word: str) -> None:
    if word.lower() in common_words():
        message = f"The trigger {word} is a common word, which already means something to the base model."
        hint = f"A made-up word is learned sooner: --trigger {word.lower()[:3]}zq, and the same in every caption."
        notes.add(warning("trigger-common", message, hint, printable(str(facts.root))))


def _names_among(captions: list[Caption], trigger: str | None) -> set[str]:
    """Words that are no tags though they have an underscore: the trigger's, and what half of all captions say."""
    joined = Counter(word for caption in captions if "_" in caption.text for word in set(caption.words) if "_" in word)
    least = max(_FEWEST_NAMED, len(captions) * _LEADING_MAJORITY)
    often = {word for word, count in joined.items() if count >= least and word not in TAG_WORDS}
    return often | set(WORD.findall((trigger or "").lower()))


def _note_wording(notes: Notes, caption: Caption, advice: Advice, names: set[str]) -> bool:
    """Whether sentences and tags are mixed in it."""
    text, words = caption.text, caption.words
    if not NEGATIONS.isdisjoint(words) and (absent := _around_negation(words)):
        notes.together("caption-negative", caption.folder, caption.file, absent)
    limit = advice.token_limit
    if len(text) > limit.tokens and (count := estimate_tokens(text)) > limit.tokens:
        detail = f"at least {count} tokens, and {limit.encoder} reads {limit.tokens}"
        notes.together("caption-long", caption.folder, caption.file, detail)
    tags = _tags_among(words, names)
    is_mixed = bool(tags) and _is_sentence(text, words)
    if is_mixed:
        notes.together("caption-mixed", caption.folder, caption.file, ", ".join(tags[:3]))
    return is_mixed


def _around_negation(words: list[str]) -> str:
    """The first negation with what it denies; empty where all there is stands written on signs."""
    pairs = (words[place : place + 2] for place, word in enumerate(words) if word in NEGATIONS)
    return next((" ".join(pair) for pair in pairs if not (pair[0] == "no" and pair[-1] in FORBIDDEN)), "")


def _tags_among(words: list[str], names: set[str]) -> list[str]:
    """Words that only tags have: known ones, or joined by an underscore."""
    return [word for word in words if (word in TAG_WORDS or "_" in word.strip("_")) and word not in names]


def _is_sentence(text: str, words: list[str]) -> bool:
    longest = max(piece.count(" ") for piece in text.split(","))
    return longest >= _WORDS_A_SENTENCE and not SENTENCE_WORDS.isdisjoint(words)


def _longest(text: str) -> int:
    return max(len(piece.split()) for piece in text.split(","))


def _kind(caption: Caption) -> str:
    """``tags``, ``sentences`` or, for what may be either, nothing."""
    pieces = caption.text.count(",") + 1
    is_short, is_plain = len(caption.words) / pieces <= _WORDS_A_TAG, SENTENCE_WORDS.isdisjoint(caption.words)
    if is_plain and is_short and pieces >= _FEWEST_TAGS and _longest(caption.text) <= _LONGEST_TAG:
        return "tags"
    return "" if is_plain or is_short else "sentences"


def _note_kinds(notes: Notes, captions: list[Caption]) -> None:
    kinds: dict[str, list[Caption]] = {"tags": [], "sentences": []}
    for caption in captions:
        if kind := _kind(caption):
            kinds[kind].append(caption)
    fewer = min(kinds, key=lambda kind: len(kinds[kind]))
    if not kinds[fewer] or sum(map(len, kinds.values())) < _COUNTED_KINDS:
        return
    for caption in kinds[fewer]:
        notes.together("caption-styles", caption.folder, caption.file, fewer)


def _note_identical(notes: Notes, captions: list[Caption]) -> None:
    first: dict[str, Caption] = {}
    for caption in captions:
        earlier = first.setdefault(" ".join(caption.text.split()).lower(), caption)
        if earlier is not caption:
            notes.together("caption-identical", caption.folder, caption.file, earlier.file)


def _note_reg(notes: Notes, facts: DatasetFacts, trigger: _Trigger | None) -> None:
    for subset in facts.subsets:
        if not subset.is_reg:
            continue
        folder = printable(str(subset.folder))
        for image in subset.images:
            text = image.caption or subset.class_tokens
            if not text:
                notes.together("reg-caption", folder, image.name)
            elif trigger and trigger.count(text):
                notes.together("reg-trigger", folder, image.caption_file or image.name)
