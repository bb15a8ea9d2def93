"""The trigger: as given, or read off the folder name or the captions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from lora_forge.datasets.facts import DatasetFacts
from lora_forge.datasets.notes import printable
from lora_forge.findings import Finding, error, info, warning
from lora_forge.settings import Source, Written

_ARTICLES = {
    "a",
    "an",
    "the",
    "this",
    "that",
    "these",
    "my",
    "his",
    "her",
    "its",
    "their",
    "one",
    "two",
    "some",
}
_LINKS = {"and", "of", "in", "on", "at", "with", "by"}
_PICTURES = {"photo", "photograph", "picture", "image", "portrait", "painting", "drawing", "illustration"}
_FRAMINGS = {"close", "close-up", "closeup", "full", "full-body", "half", "side", "front"}
_SUBJECTS = {"man", "woman", "person", "boy", "girl", "people", "dog", "cat"}
_COMMON_WORDS = _ARTICLES | _LINKS | _PICTURES | _FRAMINGS | _SUBJECTS
_PUNCTUATION = ",.;:!?\"'()[]"
_MAJORITY = 0.5


def find_trigger(facts: DatasetFacts, given: Written | None) -> tuple[Written | None, list[Finding]]:
    """Whoever said it first: the person, the kohya folder name, the word that opens every caption.

    Of class tokens the trigger is the first word between spaces: ``jeff_person``
    in ``10_jeff_person``. A word that any caption might begin with is no trigger.
    """
    if given is not None:
        return given, []
    named, findings = _from_folders(facts)
    return (named, findings) if named else _from_captions(facts)


def name_likely_trigger(finding: Finding, facts: DatasetFacts) -> Finding:
    """Say of a missing trigger which word is most likely meant; it is never taken unasked."""
    word, count, captions = _commonest_opening(facts)
    if not word or count < max(2, captions * _MAJORITY):
        return finding
    message = f"{finding.message}; {count:,} of {captions:,} captions begin with {word}, the others do not"
    return replace(finding, message=message, hint=f"--trigger {word}, and begin every caption with it")


def check_captions(facts: DatasetFacts, trigger: Written | None) -> list[Finding]:
    """Refuse images of which nothing at all is said: no caption, no class tokens, no trigger."""
    nameless = [subset for subset in facts.train_subsets if subset.class_tokens is None and subset.images]
    silent = bool(nameless) and not any(image.caption for subset in nameless for image in subset.images)
    if trigger is not None or not silent:
        return []
    none = "The one image has no caption" if facts.images == 1 else f"None of the {facts.images:,} images has a caption"
    message = f"{none}, and no trigger is given."
    hint = "Write captions, or give a word to train them under: --trigger ohwx"
    return [error("caption-none", message, hint, printable(str(facts.root)))]


def _from_folders(facts: DatasetFacts) -> tuple[Written | None, list[Finding]]:
    named = [(subset.class_tokens.split(" ")[0], subset) for subset in facts.train_subsets if subset.class_tokens]
    if not named:
        return None, []
    (word, subset), words = named[0], list(dict.fromkeys(word for word, _ in named))
    why = f"the name of the folder {subset.folder.name}"
    findings = []
    if len(words) > 1:
        message = f"The folders name several triggers ({', '.join(words)}); {word} is taken."
        findings = [
            warning("trigger-several", message, "Give the one you mean with --trigger.", printable(str(facts.root)))
        ]
    return Written(word, Source.DATASET, str(subset.folder), why), findings


def _from_captions(facts: DatasetFacts) -> tuple[Written | None, list[Finding]]:
    """One caption proves nothing, so two are the least."""
    word, count, captions = _commonest_opening(facts)
    if captions < 2 or not word or count < captions:
        return None, []
    message = f"The trigger is taken to be {word}: all {captions} captions begin with it."
    finding = info("trigger-from-captions", message, "Give another with --trigger.", printable(str(facts.root)))
    return Written(word, Source.DATASET, str(facts.root), "the word that opens every caption"), [finding]


def _commonest_opening(facts: DatasetFacts) -> tuple[str, int, int]:
    """The word that opens most captions, how many of them, of how many; empty where it might open any."""
    captions = list(facts.captions())
    openings = Counter(caption.split()[0].strip(_PUNCTUATION) for caption in captions)
    word, count = openings.most_common(1)[0] if openings else ("", 0)
    return ("" if word.lower() in _COMMON_WORDS else word), count, len(captions)
