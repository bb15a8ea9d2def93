"""What is said without a terminal while a training runs: in order, after a silence too, and never at its cost."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from lora_forge.cli import lines, live
from lora_forge.cli.lines import Lines, at_most
from lora_forge.cli.live import LiveView
from lora_forge.cli.output import Taste
from lora_forge.runs.events import PhaseEntered, StepTaken

PATIENCE_S = 10.0


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr(lines, "message", heard.append)
    return heard


def test_lines_come_in_order_and_the_last_one_comes_too(told: list[str]) -> None:
    with Lines(lambda: "still here") as speaker:
        for line in ("loading", "caching", "training"):
            speaker.say(line)
    assert told == ["loading", "caching", "training"]


def test_a_silence_is_ended_by_the_idle_line(told: list[str]) -> None:
    with Lines(lambda: "still here", silence_s=0.01):
        deadline = time.monotonic() + PATIENCE_S
        while len(told) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert set(told) == {"still here"} and len(told) >= 2


def test_what_a_line_fails_with_is_raised_at_the_end_and_never_hides_the_blocks_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: str) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(lines, "message", broken)
    with pytest.raises(SystemExit), Lines(str) as speaker:
        speaker.say("loading")
    with pytest.raises(KeyError), Lines(str) as speaker:
        speaker.say("loading")
        raise KeyError


def test_a_reader_who_stalls_is_waited_for_no_longer_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    resumes = threading.Event()
    monkeypatch.setattr(lines, "message", lambda _: resumes.wait(PATIENCE_S))
    monkeypatch.setattr(lines, "LAST_WORD_S", 0.01)
    with Lines(str) as speaker:
        speaker.say("loading")
    assert not resumes.is_set()
    at_most(0.01, lambda: resumes.wait(PATIENCE_S))
    resumes.set()


def test_at_most_raises_what_was_raised_in_time() -> None:
    with pytest.raises(OSError, match="gone"):
        at_most(PATIENCE_S, fail)


def fail() -> None:
    raise OSError("gone")


def test_news_right_after_an_idle_line_is_not_held_back(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    view = LiveView(Taste(), as_json=False)
    with view.live():
        view.event(PhaseEntered(0.0, 0.0, phase="training"))
        clock[0] = 20.0
        view._line()  # as said after a silence
        clock[0] = 21.0
        view.event(StepTaken(0.0, 0.0, step=1, total=4, epoch=1, loss=0.5))
        clock[0] = 22.0
        view.event(StepTaken(0.0, 0.0, step=2, total=4, epoch=1, loss=0.5))  # too soon after the last
    assert [line.partition(",")[0] for line in told] == ["training", "training 1/4 (25 %)"]
