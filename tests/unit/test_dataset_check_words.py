"""What is said of captions, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_forge.datasets.advice import CLIP_TOKENS, Advice, TokenLimit
from lora_forge.datasets.caption_checks import note_captions
from lora_forge.datasets.caption_words import estimate_tokens
from lora_forge.datasets.facts import DatasetFacts, ImageFacts, SubsetFacts
from lora_forge.datasets.notes import Notes
from lora_forge.datasets.similar import OVERLAP, similar_captions
from lora_forge.findings import Finding


def checked(*captions: str, per_file: bool = True, **advice: object) -> list[Finding]:
    images = tuple(ImageFacts(f"{n}.png", 800, 800, text, f"{n}.txt") for n, text in enumerate(captions))
    facts = DatasetFacts(Path("/d"), (SubsetFacts(Path("/d"), None, None, False, images),))
    notes = Notes(per_file=per_file)
    note_captions(notes, facts, Advice(**{"subject": "identity", "trigger": "ohwx", **advice}))  # type: ignore[arg-type]
    notes.close(".txt")
    return notes.findings()


def codes(*captions: str, **advice: object) -> list[str]:
    return [one.code for one in checked(*captions, **advice)]


@pytest.mark.parametrize(
    "caption",
    [
        "ohwx, a man standing outdoors",
        "ohwx man in a forest",
        '"ohwx", a portrait',
        "ohwx, a notary at a knot of ropes",
        "ohwx, 1920s street, car, hat, coat",
        "ohwx",
        "ohwx, a man with a missing tooth",
        "ohwx, a man beside a no parking sign",
        "ohwx, an absent look",
    ],
)
def test_a_sound_caption_is_left_in_peace(caption: str) -> None:
    assert codes(caption) == []


@pytest.mark.parametrize(
    ("caption", "code"),
    [
        ("a man standing outdoors", "trigger-absent"),
        ("ohwxy, a man", "trigger-absent"),
        ("Ohwx, a man", "trigger-absent"),
        ("a man called ohwx", "trigger-not-leading"),
        ("ohwx, a man, ohwx", "trigger-repeated"),
        ("ohwx, a man with no hat", "caption-negative"),
        ("ohwx, a man who isn't smiling", "caption-negative"),
        ("ohwx, a man before a no smoking sign without a cigar", "caption-negative"),
        ("ohwx, a man stands on a bridge, 1boy, solo", "caption-mixed"),
    ],
)
def test_a_faulty_caption_is_told_with_its_line(caption: str, code: str) -> None:
    (finding,) = checked(caption)
    assert (finding.code, finding.where) == (code, "/d/0.txt:1")


def test_a_styles_trigger_may_trail() -> None:
    assert codes("a house, painted in ohwx style", subject="style") == []
    assert codes("a house", subject="style") == ["trigger-absent"]


def test_without_a_subject_the_trigger_may_lead_or_trail_but_not_both() -> None:
    led = [f"ohwx, {word}" for word in ("red barn", "blue lake", "old mill")]
    assert codes("a barn, ohwx", "a lake, ohwx", subject="any") == []
    assert codes(*led, "a tower, ohwx", subject="any") == ["trigger-not-leading"]


def test_without_a_trigger_nothing_is_said_of_it() -> None:
    assert codes("a man", trigger=None) == []


def test_a_trigger_of_signs_is_taken_as_it_stands() -> None:
    assert codes("(a+b), a man", trigger="(a+b)") == []
    assert codes("a man", trigger="a+") == ["trigger-absent"]


def test_a_trigger_with_an_underscore_is_no_tag() -> None:
    assert codes("jeff_person, a man stands on a bridge in the rain", trigger="jeff_person") == []


PLACES = ("the sea", "a lake", "an old mill", "the wide road", "a forest", "the town wall", "a bridge", "the market")


def test_an_underscored_word_of_most_captions_is_a_trigger_and_no_tag() -> None:
    captions = [f"a house by {place}, seen {n} times, painted in zxq_style" for n, place in enumerate(PLACES)]
    assert "caption-mixed" not in codes(*captions, trigger=None, subject="style")
    assert "caption-mixed" in codes(*captions, "a tower on a high hill, long_grass", trigger=None, subject="style")


def test_a_tag_that_is_a_part_of_the_trigger_is_still_a_tag() -> None:
    assert codes("ohwx_solo_man, a man stands on a bridge, solo", trigger="ohwx_solo_man") == ["caption-mixed"]


def test_one_caption_of_prose_and_tags_is_told_once() -> None:
    prose = [f"ohwx, a man is standing by {place} on the day of rest" for place in PLACES]
    tags = [f"ohwx, {place.split()[-1]}, smile, hat, blue coat" for place in PLACES]
    assert codes(*prose, "ohwx walking through busy market, smiling, rain, dusk") == []
    assert codes(*tags, "ohwx, a man stands on the old bridge, solo, blue_eyes") == ["caption-mixed"]
    assert "caption-styles" in codes(*prose, "ohwx, smile, rain, hat, dusk")


def test_tags_throughout_are_no_mixture() -> None:
    tags = [f"ohwx, 1boy, solo, {word}, smile, blue_eyes" for word in ("park", "city", "beach", "forest")]
    assert codes(*tags) == []


def test_equal_captions_are_told_once_each_and_name_the_first() -> None:
    found = checked("ohwx, a man", "ohwx, a dog on a hill", "ohwx, a man", "Ohwx,  a man")
    identical = [one for one in found if one.code == "caption-identical"]
    assert [one.where for one in identical] == ["/d/2.txt:1", "/d/3.txt:1"]
    assert "0.txt" in identical[0].message


def test_a_plan_hears_one_sentence_a_kind() -> None:
    (finding,) = checked(*(f"no. {number}, a thing" for number in range(9)), per_file=False, trigger=None)
    assert finding.code == "caption-negative"
    assert finding.where == "/d"
    assert "(9): 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 4 more" in finding.message


def test_only_what_the_encoder_reads_may_be_said() -> None:
    caption = "ohwx, " + ", ".join(["a bright red ribbon"] * 20)
    assert codes(caption) == []
    assert codes(caption, token_limit=TokenLimit(CLIP_TOKENS, "CLIP")) == ["caption-long"]


COMMON = """
    bob Chris jessica tiger wolf sword ninja mountain castle rain mother actor watercolor vintage gouache samurai Woman
    person1 sks
"""  # sks is a rifle


@pytest.mark.parametrize("trigger", COMMON.split())
def test_a_common_word_is_no_good_trigger(trigger: str) -> None:
    assert "trigger-common" in codes(f"{trigger}, standing outdoors", trigger=trigger)


@pytest.mark.parametrize("trigger", ["ohwx", "zxq_style", "forgelin", "jssk", "b0b", "sksm", "tigerzq"])
def test_a_made_up_word_is_a_good_trigger(trigger: str) -> None:
    assert codes(f"{trigger}, standing outdoors", trigger=trigger) == []


@given(st.text(max_size=400))
def test_the_estimate_never_exceeds_the_letters(text: str) -> None:
    assert 0 <= estimate_tokens(text) <= len(text)


@given(st.text(max_size=60), st.text(min_size=1, max_size=8), st.sampled_from(["identity", "style", "any"]))
def test_any_text_can_be_judged(text: str, trigger: str, subject: str) -> None:
    checked(text, text[::-1], f"{trigger}, {text}", trigger=trigger, subject=subject)


class Said:
    def __init__(self, words: list[str]) -> None:
        self.words = words


def overlap(one: Said, other: Said) -> float:
    words, others = set(one.words), set(other.words)
    return len(words & others) / len(words | others)


SENTENCES = st.lists(
    st.lists(st.sampled_from([f"w{number}" for number in range(14)]), min_size=3, max_size=12, unique=True),
    max_size=14,
)


@given(SENTENCES)
def test_the_shortcut_finds_what_comparing_each_with_each_finds(sentences: list[list[str]]) -> None:
    captions = [Said(words) for words in sentences]
    found = {id(one) for one, _ in similar_captions(captions, "")}
    seen: list[Said] = []
    for caption in captions:
        same = [other for other in seen if other.words == caption.words]
        like = [other for other in seen if other.words != caption.words and overlap(caption, other) >= OVERLAP]
        assert (id(caption) in found) == bool(like and not same)
        if not same:
            seen.append(caption)
