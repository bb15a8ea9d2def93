"""Two hundred mistakes at random: the engine's reader takes them all without a word, forge none."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_answers import ask_engine
from mistakes import COUNT, Mistake, caught, mistakes

DRAWN = mistakes()


def test_forge_catches_every_mistake() -> None:
    assert len(DRAWN) == COUNT
    assert [mistake for mistake in DRAWN if not caught(mistake)] == []


def test_a_plan_without_mistake_is_not_blamed() -> None:
    assert caught(Mistake("none", ("network.rank=16",), "")) == []


@pytest.mark.processes
def test_the_engine_reads_all_of_them_without_a_word(engine_checkout: Path, engine_python: Path) -> None:
    tomls = [*(mistake.toml for mistake in DRAWN), "max_train_steps = = 3"]
    *answers, broken = ask_engine(engine_python, engine_checkout, {"cases": [], "tomls": tomls})["tomls"]
    assert broken, "the reader must refuse what is no TOML, or this test could not fail"
    assert sum(not answer for answer in answers) == COUNT
