"""Events, progress and causes: pure folds over what the guest says."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_forge.errors import ForgeError, Interrupted, NoUsableLora, OutOfMemory, Transient
from lora_forge.runs.cause import cause_of, diagnosis_of, untidy_end
from lora_forge.runs.events import Event, EventTail, PhaseEntered, StepTaken, parse_event, read_events
from lora_forge.runs.outcome import VANISHED, Outcome, log_tail
from lora_forge.runs.progress import Progress, advance, plain_line
from lora_forge.runs.signals import stop_on_signals

STEP = {"event": "step", "wall": 9.0, "mono": 1.0, "step": 3, "total": 9, "epoch": 1, "loss": 0.5, "lr": {"unet": 1e-4}}

COUNTS = {
    "event": "counts",
    "wall": 9.0,
    "mono": 1.0,
    "batches_per_epoch": 4,
    "epochs": 3,
    "max_train_steps": 12,
    "train_images": 4,
    "reg_images": 0,
    "buckets": [],
}


def step(number: int, at: float, loss: float = 0.5) -> StepTaken:
    return StepTaken(wall=0.0, mono=at, step=number, total=100, epoch=1, loss=loss)


def phase(name: str, at: float) -> PhaseEntered:
    return PhaseEntered(wall=0.0, mono=at, phase=name)


def fold(events: Sequence[Event]) -> Progress:
    return reduce(advance, events, Progress())


def test_a_cut_line_waits_for_its_rest(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert list(tail.new_events()) == []
    line = json.dumps(STEP).encode() + b"\n"
    path.write_bytes(line + line[:20])
    assert len(list(tail.new_events())) == 1
    with path.open("ab") as file:
        file.write(line[20:])
    assert [event.step for event in tail.new_events() if isinstance(event, StepTaken)] == [3]
    assert list(tail.new_events()) == []


@given(st.lists(st.integers(min_value=1, max_value=40), max_size=12))
def test_events_are_the_same_however_the_file_grows(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    path = tmp_path_factory.mktemp("grow") / "events.jsonl"
    whole = b"".join(json.dumps({**STEP, "step": number}).encode() + b"\n" for number in range(4))
    tail, seen, start = EventTail(path), [], 0
    for cut in [*cuts, len(whole)]:
        with path.open("ab") as file:
            file.write(whole[start : start + cut])
        start += cut
        seen += list(tail.new_events())
    assert seen == read_events(path)
    assert len(seen) == 4


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"7",
        b'{"event": "later-invention", "wall": 1, "mono": 1}',
        b'{"event": "step"}',
        json.dumps({**STEP, "loss": None}).encode(),
        json.dumps({**STEP, "step": "3"}).encode(),
        json.dumps(STEP).replace('"step": 3', '"step": 1e999').encode(),
        json.dumps({**STEP, "step": 10**400}).encode(),
        json.dumps({**STEP, "step": 1e300}).encode(),
        json.dumps({**STEP, "wall": float("inf")}).encode(),
        json.dumps({**STEP, "loss": float("nan")}).encode(),
        json.dumps({**STEP, "lr": {"unet": float("-inf")}}).encode(),
        json.dumps({**COUNTS, "buckets": [[1]]}).encode(),
        json.dumps({**COUNTS, "buckets": [7]}).encode(),
        b"[" * 100_000,
        b'{"event": ["step"]}',
        b"\xff\xfe",
    ],
)
def test_a_line_that_makes_no_sense_is_passed_over(line: bytes) -> None:
    assert parse_event(line) is None


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(line: bytes) -> None:
    parse_event(line)


def test_speed_leaves_out_steps_with_saving_in_them() -> None:
    quick = [phase("training", 0.0), step(1, 2.0), step(2, 4.0)]
    saving = [phase("saving", 6.0), step(3, 60.0), phase("training", 60.0), step(4, 62.0)]
    assert fold([*quick, *saving]).steps_per_s == 0.5
    assert fold([*quick, *saving]).seconds_left == 96 * 2


def test_speed_follows_the_recent_steps() -> None:
    slow = [phase("training", 0.0), *(step(n, 10.0 * n) for n in range(1, 50))]
    quick = [step(n, 490 + (n - 49)) for n in range(50, 80)]
    assert fold([*slow, *quick]).steps_per_s == 1.0


def test_smoothed_loss_is_the_mean_of_the_first_losses() -> None:
    progress = fold([step(n, float(n), loss) for n, loss in enumerate([0.9, 0.3, 0.6], start=1)])
    assert progress.smoothed_loss == pytest.approx(0.6)


def test_smoothed_loss_forgets() -> None:
    progress = fold([step(n, float(n), 1.0 if n < 100 else 0.2) for n in range(1, 400)])
    assert progress.smoothed_loss == pytest.approx(0.2, abs=0.01)


def test_a_line_says_nothing_that_is_not_known_yet() -> None:
    assert plain_line(fold([phase("caching", 1.0)])) == "caching"


def an_outcome(**changes: object) -> Outcome:
    base = Outcome(
        exit_code=1,
        signal=None,
        outcome=VANISHED,
        message="",
        last_step=12,
        total=100,
        wall_s=1.0,
        first_step_s=None,
        evidence=(),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_done_with_exit_0_has_no_cause() -> None:
    assert cause_of(an_outcome(outcome="done", exit_code=0)) is None


@pytest.mark.parametrize(("changes", "told"), [({"exit_code": 1}, 1), ({"exit_code": 0}, 0), ({"stop_signal": 15}, 0)])
def test_done_with_another_exit_code_is_for_the_lora_to_judge_and_is_told(changes: dict[str, int], told: int) -> None:
    outcome = an_outcome(outcome="done", **changes)
    assert cause_of(outcome) is None
    assert [finding.code for finding in untidy_end(outcome)] == ["untidy-end"] * told


def test_a_trainer_that_ended_with_forge_was_killed() -> None:
    assert diagnosis_of(an_outcome(exit_code=None, with_forge=True)).code == "killed"
    assert diagnosis_of(an_outcome(exit_code=None)).code == "silent"


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"outcome": "no-data", "message": "no images"}, NoUsableLora, "found no images to train on"),
        ({"exit_code": 137}, Transient, "killed from outside"),
        ({"signal": 9, "exit_code": None, "memory_kills": 1}, OutOfMemory, "kernel"),
        ({"evidence": ("Command '[..]' died with <Signals.SIGKILL: 9>.",)}, Transient, "at step 12 of 100"),
        ({"evidence": ("OSError: [Errno 28] No space left on device",)}, ForgeError, "the disk is full"),
        ({"evidence": ("ERROR No data found. Please verify",), "exit_code": 0}, NoUsableLora, "no images"),
        ({"outcome": "out-of-memory", "message": "CUDA out of memory. Tried"}, OutOfMemory, "the GPU ran out"),
        ({"outcome": "failed", "message": "OSError: No space left on device"}, ForgeError, "the disk is full"),
        ({"evidence": ("noise", "AssertionError: bad bucket", "steps: 4%")}, ForgeError, "100: bad bucket"),
        ({"exit_code": 3}, ForgeError, "exit code 3"),
    ],
)
def test_each_cause_is_named_with_its_evidence(changes: dict[str, object], error: type[ForgeError], said: str) -> None:
    cause = cause_of(an_outcome(**changes))
    assert type(cause) is error
    assert said in cause.message
    assert cause.hint


def test_a_kill_by_forge_is_not_the_kernels() -> None:
    cause = cause_of(an_outcome(signal=9, exit_code=None, killed=True, stop_signal=signal.SIGINT))
    assert isinstance(cause, Interrupted)
    assert cause.exit_code == 130


def test_a_failure_after_a_stop_request_stays_a_failure() -> None:
    cause = cause_of(an_outcome(outcome="out-of-memory", message="x", stop_signal=signal.SIGINT))
    assert isinstance(cause, OutOfMemory)


def test_the_tail_of_a_log_is_what_a_person_saw(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_bytes(b"x" * 200_000 + b"\nfirst\nsteps: 1\rsteps: 2\r\n\x1b[31mred\x1b[0m\n\n\xff\n")
    assert log_tail(log, lines=4) == ("first", "steps: 2", "red", "\ufffd")
    assert log_tail(tmp_path / "none") == ()


def test_signals_become_requests_and_the_old_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signals() as stop, stop.noting():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert (stop.signum, stop.count) == (signal.SIGTERM, 2)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_closing_terminal_counts_as_sigterm() -> None:
    with stop_on_signals() as stop, stop.noting():
        signal.raise_signal(signal.SIGHUP)
        assert stop.signum == signal.SIGTERM
