"""Where the trigger comes from when nobody gives it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_forge.datasets.facts import DatasetFacts, ImageFacts, SubsetFacts
from lora_forge.datasets.trigger import check_captions, find_trigger, name_likely_trigger
from lora_forge.findings import error
from lora_forge.settings import Source, Written

ROOT = Path("/photos")


def facts(*captions: str | None, tokens: str | None = None) -> DatasetFacts:
    images = tuple(ImageFacts(f"{number}.png", 64, 64, caption) for number, caption in enumerate(captions))
    return DatasetFacts(ROOT, (SubsetFacts(ROOT / "x", None, tokens, False, images),))


def test_what_is_given_wins() -> None:
    given = Written("given", Source.CLI, "--trigger")
    assert find_trigger(facts("ohwx, a", "ohwx, b", tokens="jeff"), given) == (given, [])


@pytest.mark.parametrize(("tokens", "word"), [("jeff_person", "jeff_person"), ("jeff person", "jeff")])
def test_the_folder_name_comes_before_the_captions(tokens: str, word: str) -> None:
    found, findings = find_trigger(facts("ohwx, a", "ohwx, b", tokens=tokens), None)
    assert found is not None
    assert (found.value, found.source) == (word, Source.DATASET)
    assert findings == []


@pytest.mark.parametrize("captions", [("ohwx, a man", "ohwx man"), ("ohwx", "ohwx, x", None)])
def test_the_word_that_opens_every_caption_is_taken_and_said_so(captions: tuple[str | None, ...]) -> None:
    found, (finding,) = find_trigger(facts(*captions), None)
    assert found is not None
    assert found.value == "ohwx"
    assert finding.severity.value == "info"


@pytest.mark.parametrize(
    "captions", [("ohwx, a", "sks, b"), ("a man", "a woman"), ("ohwx, alone",), (), (None, None), ("...", "...")]
)
def test_no_trigger_is_guessed_from_less(captions: tuple[str | None, ...]) -> None:
    assert find_trigger(facts(*captions), None) == (None, [])


def test_several_folder_names_are_warned_of() -> None:
    subsets = tuple(
        SubsetFacts(ROOT / f"1_{name}", 1, name, is_reg, (ImageFacts("a.png", 8, 8),))
        for name, is_reg in (("ann", False), ("bob", False), ("person", True))
    )
    found, (finding,) = find_trigger(DatasetFacts(ROOT, subsets), None)
    assert found is not None
    assert found.value == "ann"
    assert "ann, bob" in finding.message
    assert "person" not in finding.message


def test_images_of_which_nothing_is_said_are_refused() -> None:
    assert [one.code for one in check_captions(facts(None, None), None)] == ["caption-none"]
    assert check_captions(facts(None, None), Written("ohwx", Source.CLI)) == []
    assert check_captions(facts(None, None, tokens="jeff"), None) == []
    assert check_captions(facts("a man", None), None) == []
    assert check_captions(facts(), None) == []


MISSING = error("trigger-missing", "it needs a trigger", "--trigger TOKEN", "trigger")


@pytest.mark.parametrize(
    "captions",
    [("a man", "a dog", "ohwx man"), ("ohwx, a", "sks, b", "zwx, c"), ("ohwx, alone",), (), (None,), ("...",)],
)
def test_no_trigger_is_suggested_on_less_than_half_of_the_captions(captions: tuple[str | None, ...]) -> None:
    assert name_likely_trigger(MISSING, facts(*captions)) == MISSING


def test_the_word_that_opens_most_captions_is_suggested() -> None:
    told = name_likely_trigger(MISSING, facts("ohwx, a", "ohwx b", "a man", None))
    assert "2 of 3 captions begin with ohwx" in told.message
    assert told.hint.startswith("--trigger ohwx")
