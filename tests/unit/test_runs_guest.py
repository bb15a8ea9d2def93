"""Those parts of the guest that need no torch."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lora_forge.runs.events import PhaseEntered, Saved, read_events

GUEST = Path(__file__).parents[2] / "lora_forge" / "guest"


def load(name: str) -> ModuleType:
    """Import one guest module without its folder on the path: its names are plain ones."""
    spec = importlib.util.spec_from_file_location(f"guest_{name}", GUEST / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


atomic_save, reporting, stopping = load("atomic_save"), load("reporting"), load("stopping")


def test_a_file_appears_under_its_name_only_when_whole(tmp_path: Path) -> None:
    target = tmp_path / "it.safetensors"
    told: list[str] = []

    def write(file: str, _dtype: object, _metadata: object) -> None:
        assert Path(file).suffix == ".safetensors"
        Path(file).write_bytes(b"half")
        assert not target.exists()
        Path(file).write_bytes(b"whole")

    atomic_save.atomic(write, before=told.append, after=told.append)(str(target), None, None)
    assert target.read_bytes() == b"whole"
    assert told == [str(target)] * 2
    assert list(tmp_path.iterdir()) == [target]


def test_a_save_that_fails_keeps_the_earlier_file(tmp_path: Path) -> None:
    target = tmp_path / "it.safetensors"
    told: list[str] = []
    target.write_bytes(b"earlier")

    def write(file: str, _dtype: object, _metadata: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        atomic_save.atomic(write, before=lambda _file: None, after=told.append)(str(target), None, None)
    assert target.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [target]
    assert told == []


def test_an_event_is_one_line_of_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = reporting.Events(str(path))
    events.write("step", loss=float("nan"), lr={"unet": float("inf")}, text="a\nb")
    (line,) = path.read_text().splitlines()
    told = json.loads(line, parse_constant=pytest.fail)
    assert (told["loss"], told["lr"], told["text"]) == (None, {"unet": None}, "a\nb")


def test_a_line_that_a_full_disk_cut_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = reporting.Events(str(path))
    events.write("phase", phase="saving")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            events.write("text-encoder-frozen", step=9)
        with pytest.raises(OSError, match="File too large"):
            events.write("text-encoder-frozen", step=9)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    events.write("saved", file="it.safetensors", step=9, size_bytes=3)
    events.write("phase", phase="training")
    assert [type(event) for event in read_events(path)] == [PhaseEntered, Saved, PhaseEntered]


def test_a_process_without_a_path_says_nothing() -> None:
    reporting.Events(None).write("start")


@pytest.fixture
def stop() -> Iterator[Any]:
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    flag = stopping.StopFlag(supervised=True)
    flag.install()
    yield flag
    for signum, handler in before.items():
        signal.signal(signum, handler)


def test_a_stop_waits_for_the_step_to_end(stop: SimpleNamespace) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.signum == signal.SIGTERM
    with pytest.raises(stopping.Stopped, match="SIGTERM"):
        stop.check()


def test_a_stop_that_comes_twice_under_forge_is_one_request(stop: SimpleNamespace) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.signum == signal.SIGTERM


def test_without_forge_the_second_signal_ends_at_once(stop: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    stop.supervised = False
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert codes == [130]


def test_a_stop_while_loading_waits_for_nothing(stop: SimpleNamespace) -> None:
    stop.at_once = True
    with pytest.raises(stopping.Stopped, match="SIGINT"):
        os.kill(os.getpid(), signal.SIGINT)


def test_the_engine_cannot_swallow_a_stop() -> None:
    assert not issubclass(stopping.Stopped, Exception)


@pytest.fixture(scope="module")
def train() -> Iterator[ModuleType]:
    """The guest's entry, imported as a script would find it; without torch."""
    before = set(sys.modules)
    sys.path.insert(0, str(GUEST))
    try:
        yield importlib.import_module("train")
    finally:
        sys.path.remove(str(GUEST))
        for name in set(sys.modules) - before:
            if getattr(sys.modules[name], "__file__", None) and Path(str(sys.modules[name].__file__)).parent == GUEST:
                del sys.modules[name]


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OutOfMemoryError("Tried to allocate 2 GiB"), "out-of-memory"),
        (RuntimeError("CUDA error: out of memory"), "out-of-memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "out-of-memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 4 bytes"), "out-of-memory"),
        (MemoryError(), "out-of-memory"),
        (RuntimeError("shape mismatch"), "failed"),
        (ValueError("out of memory of the caption"), "failed"),
        (SystemExit(1), "failed"),
    ],
)
def test_what_broke_is_named(train: ModuleType, error: BaseException, outcome: str) -> None:
    end = train.end_of(error)
    assert end.outcome == outcome
    assert end.exit_code == train.EXIT_CODES[outcome]
    assert end.message


@pytest.mark.parametrize(
    ("every_steps", "every_epochs", "epoch", "step", "samples"),
    [
        (2, None, None, 4, True),
        (2, None, None, 5, False),
        (2, None, 1, 4, False),
        (None, 2, 2, 7, True),
        (None, 2, None, 4, False),
        (2, 2, None, 4, False),
        (None, None, None, 4, False),
        (2, None, None, 0, False),
    ],
)
def test_sampling_is_foreseen_as_the_engine_does_it(
    train: ModuleType, every_steps: int | None, every_epochs: int | None, epoch: int | None, step: int, samples: bool
) -> None:
    args = SimpleNamespace(sample_at_first=False, sample_every_n_steps=every_steps, sample_every_n_epochs=every_epochs)
    assert sys.modules["counts"].samples_now(args, epoch, step) is samples


def a_watch(train: ModuleType, path: Path, **wanted: object) -> Any:
    return train.Watch(train.Events(str(path)), train.StopFlag(supervised=True), **wanted)


def test_a_loss_that_is_not_finite_ends_the_training(train: ModuleType, tmp_path: Path) -> None:
    watch = a_watch(train, tmp_path / "events.jsonl")
    with pytest.raises(train.Diverged, match="nan at step 0"):
        watch.loss_read(1, float("nan"), boundary=False)


def test_a_stop_asked_for_between_phases_takes_effect_in_the_next_one(train: ModuleType, tmp_path: Path) -> None:
    watch = a_watch(train, tmp_path / "events.jsonl")
    watch.stop.signum = signal.SIGTERM
    watch.enter("training")
    with pytest.raises(train.Stopped):
        watch.enter("sampling")


class Loss:
    """As much of a tensor as the guest looks at."""

    def __init__(self, value: float) -> None:
        self.value = value

    def detach(self) -> Loss:
        return self

    def __float__(self) -> float:
        return self.value


def test_nothing_is_made_of_a_loss_that_nobody_has_read_yet(train: ModuleType, tmp_path: Path) -> None:
    watch = a_watch(train, tmp_path / "events.jsonl")
    watch.loss_computed(Loss(0.5))
    watch.require_finite()
    watch.loss_computed(Loss(float("inf")))
    with pytest.raises(train.Diverged, match="inf at step 0"):
        watch.require_finite()


def test_a_stop_between_two_micro_batches_waits_for_no_further_one(train: ModuleType, tmp_path: Path) -> None:
    watch = a_watch(train, tmp_path / "events.jsonl")
    watch.stop.signum = signal.SIGTERM
    with pytest.raises(train.Stopped):
        watch.batch_starts()


def test_a_stop_at_the_last_step_lets_the_training_end(train: ModuleType, tmp_path: Path) -> None:
    watch = a_watch(train, tmp_path / "events.jsonl")
    watch.stop.signum = signal.SIGTERM
    watch.total = 4
    watch.step_taken(3)
    with pytest.raises(train.Stopped):
        watch.boundary_passed()
    watch.step_taken(4)
    watch.boundary_passed()
    watch.enter("validating")


def test_a_bad_state_is_an_outcome_of_its_own_unless_memory_was_short(train: ModuleType) -> None:
    damaged, short = train.BadState("damaged"), train.BadState("does not fit")
    short.__cause__ = OutOfMemoryError("Tried to allocate 2 GiB")
    assert train.end_of(damaged).outcome == "bad-state"
    assert train.end_of(short).outcome == "out-of-memory"


def test_rates_go_by_what_their_group_trains(train: ModuleType) -> None:
    text, unet, more = object(), object(), object()
    groups = [{"params": [unet]}, {"params": [more]}, {"params": [text]}]
    assert sys.modules["watch"].group_names(groups, [text]) == ["unet", "unet2", "text_encoder"]
