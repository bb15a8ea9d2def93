"""Saving a training's state and continuing from it: those parts of the guest that need no torch."""

from __future__ import annotations

import errno
import importlib
import json
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from disk import folders_fail

from lora_forge.runs.events import StateSaved, read_events

GUEST = Path(__file__).parents[2] / "lora_forge" / "guest"
MODULES = (
    "rng_states",
    "place",
    "atomic_save",
    "state_dir",
    "resuming",
    "keeping",
    "watch",
    "reporting",
    "stopping",
    "pictures",
)


@pytest.fixture(scope="module")
def guest() -> Iterator[SimpleNamespace]:
    """The guest's modules, found by their plain names as in the engine's process."""
    before = set(sys.modules)
    sys.path.insert(0, str(GUEST))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(GUEST))
        for name in set(sys.modules) - before:
            if Path(str(getattr(sys.modules[name], "__file__", ""))).parent == GUEST:
                del sys.modules[name]


def generators(guest: SimpleNamespace, seed: int) -> Any:
    python = random.Random(seed).getstate()
    return guest.rng_states.RngStates(python, ("MT19937", b"\x01\x02", seed, 1, 0.1), bytes([seed]), (b"\x07",))


@pytest.fixture
def place(guest: SimpleNamespace) -> Any:
    return guest.place.Place(
        step=5,
        epoch=1,
        batches=4,
        accumulated=2,
        losses=(0.1, 0.2 + 0.1, 1e-17),
        loss_total=0.1 + 0.2,
        epoch_rng=generators(guest, 1),
        fetch_rng=generators(guest, 2),
        step_rng=generators(guest, 3),
    )


@pytest.fixture
def identity(guest: SimpleNamespace) -> Any:
    return guest.place.Identity(batches_per_epoch=6, total=10, grad_accum=2, processes=1, seed=42)


def fill(folder: str) -> None:
    """Write what accelerate writes, in small."""
    Path(folder).mkdir()
    for name in ("model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl", "train_state.json"):
        (Path(folder) / name).write_bytes(name.encode() * 50)


def test_a_place_survives_its_file_to_the_bit(
    guest: SimpleNamespace, place: Any, identity: Any, tmp_path: Path
) -> None:
    for each in (place, replace(place, fetch_rng=None, samples_due=True)):
        guest.state_dir.commit_state(tmp_path, each, identity, fill)
        assert guest.state_dir.read_state(tmp_path / "step00000005") == (each, identity)


def test_every_file_is_named_with_its_size(guest: SimpleNamespace, place: Any, identity: Any, tmp_path: Path) -> None:
    files = guest.state_dir.commit_state(tmp_path, place, identity, fill)
    held = {path.name: path.stat().st_size for path in (tmp_path / "step00000005").iterdir()}
    assert {each["name"]: each["size_bytes"] for each in files} == held
    assert "guest.json" in held


def test_a_state_appears_only_when_whole(guest: SimpleNamespace, place: Any, identity: Any, tmp_path: Path) -> None:
    def disk_full(folder: str) -> None:
        fill(folder)
        assert not (tmp_path / "step00000005").exists()
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        guest.state_dir.commit_state(tmp_path, place, identity, disk_full)
    assert list(tmp_path.iterdir()) == []


def test_a_filesystem_that_cannot_sync_a_folder_still_takes_states_and_loras(
    guest: SimpleNamespace, place: Any, identity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", folders_fail(errno.EINVAL))
    guest.state_dir.commit_state(tmp_path, place, identity, fill)
    save = guest.atomic_save.atomic(lambda file, *_: Path(file).write_bytes(b"lora"), print, print)
    save(str(tmp_path / "a.safetensors"), None, None)
    assert {path.name for path in tmp_path.iterdir()} == {"step00000005", "a.safetensors"}


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_lora_is_readable_by_whom_the_umask_says(guest: SimpleNamespace, tmp_path: Path, mask: int) -> None:
    def for_the_owner_alone(file: str, *_: object) -> None:
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))

    before = os.umask(mask)
    try:
        guest.atomic_save.atomic(for_the_owner_alone, print, print)(str(tmp_path / "a.safetensors"), None, None)
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_folder_that_fails_to_sync_fails_the_save(
    guest: SimpleNamespace, place: Any, identity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", folders_fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        guest.state_dir.commit_state(tmp_path, place, identity, fill)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_save_left_does_not_get_in_the_way(
    guest: SimpleNamespace, place: Any, identity: Any, tmp_path: Path
) -> None:
    fill(str(tmp_path / ".step00000005.partial"))
    (tmp_path / ".step00000005.partial" / "custom_checkpoint_0.pkl").write_bytes(b"old")
    guest.state_dir.commit_state(tmp_path, place, identity, fill)
    assert [path.name for path in tmp_path.iterdir()] == ["step00000005"]
    assert not (tmp_path / "step00000005" / "custom_checkpoint_0.pkl").exists()


def test_a_second_save_of_a_step_replaces_the_first(
    guest: SimpleNamespace, place: Any, identity: Any, tmp_path: Path
) -> None:
    guest.state_dir.commit_state(tmp_path, place, identity, fill)
    guest.state_dir.commit_state(tmp_path, replace(place, epoch=2), identity, fill)
    assert [path.name for path in tmp_path.iterdir()] == ["step00000005"]
    assert guest.state_dir.read_state(tmp_path / "step00000005")[0].epoch == 2


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


@pytest.mark.parametrize("damage", [flipped, lambda data: data[:-1], lambda data: b"", None])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "random_states_0.pkl", "guest.json"])
def test_a_damaged_state_is_told_before_anything_is_loaded(
    guest: SimpleNamespace, place: Any, identity: Any, tmp_path: Path, name: str, damage: Any
) -> None:
    guest.state_dir.commit_state(tmp_path, place, identity, fill)
    path = tmp_path / "step00000005" / name
    path.write_bytes(damage(path.read_bytes())) if damage else path.unlink()
    with pytest.raises(guest.place.BadState, match=name):
        guest.state_dir.read_state(tmp_path / "step00000005")


@pytest.mark.parametrize("card", [b"", b"[]", b"{}", b'{"version": 2}', b"\xff", None])
def test_a_foreign_directory_is_no_state(guest: SimpleNamespace, tmp_path: Path, card: bytes | None) -> None:
    if card is not None:
        (tmp_path / "guest.json").write_bytes(card)
    with pytest.raises(guest.place.BadState, match=r"guest\.json"):
        guest.state_dir.read_state(tmp_path)


def test_a_card_cannot_point_out_of_its_directory(
    guest: SimpleNamespace, place: Any, identity: Any, tmp_path: Path
) -> None:
    guest.state_dir.commit_state(tmp_path, place, identity, fill)
    path = tmp_path / "step00000005" / "guest.json"
    card = json.loads(path.read_text())
    del card["seal"]
    (tmp_path / "outside").write_bytes(b"")
    card["files"].append(
        {"name": "../outside", "size_bytes": 0, "sha256": guest.state_dir.digest(tmp_path / "outside")}
    )
    path.write_text(json.dumps({**card, "seal": guest.state_dir._seal_of(card)}))
    with pytest.raises(guest.place.BadState, match="step00000005/outside"):
        guest.state_dir.read_state(tmp_path / "step00000005")


def test_a_training_with_other_numbers_is_named_number_by_number(guest: SimpleNamespace, identity: Any) -> None:
    identity.require_same(replace(identity))
    with pytest.raises(guest.place.BadState, match="total 10, now 12; seed 42, now 1"):
        identity.require_same(replace(identity, total=12, seed=1))


@pytest.mark.parametrize("grad_accum", [1, 2, 3])
@pytest.mark.parametrize(("step", "epoch", "batches"), [(1, 0, 2), (3, 0, 6), (4, 1, 2), (9, 2, 6)])
def test_the_engines_arithmetic_leaves_the_absolute_step(
    guest: SimpleNamespace, place: Any, grad_accum: int, step: int, epoch: int, batches: int
) -> None:
    """The lines of ``train_network.py``, with the engine's names."""
    max_train_steps, batches_per_epoch = 10, 6
    initial_step = guest.resuming.ResumePoint(replace(place, step=step, epoch=epoch, batches=batches))
    assert initial_step > 0
    assert max_train_steps > initial_step
    initial_step *= grad_accum
    epoch_to_start = initial_step // -(-batches_per_epoch // grad_accum)
    for _ in range(epoch_to_start):
        initial_step -= batches_per_epoch
    global_step = initial_step
    assert (epoch_to_start, len(range(max_train_steps - initial_step))) == (epoch, 10 - step)
    assert str(global_step) == str(step)
    global_step += 1
    assert (global_step, type(global_step)) == (step + 1, int)


class Generators:
    """Stands for every generator at once: a list of what it was set to, and where it is now."""

    def __init__(self) -> None:
        self.now: object = "start"
        self.was: list[object] = []

    def snapshot(self) -> object:
        return self.now

    def restore(self, states: object) -> None:
        self.now = states
        self.was.append(states)


@pytest.fixture
def random_now(guest: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Generators:
    found = Generators()
    monkeypatch.setattr(guest.rng_states, "snapshot", found.snapshot)
    monkeypatch.setattr(guest.rng_states, "restore", found.restore)
    return found


class Loader:
    """Reads one batch ahead, as accelerate's does, and says by which random numbers each was read."""

    def __init__(self, batches: range, resume: Any, random_now: Generators) -> None:
        self.batches, self.resume, self.random = list(batches), resume, random_now
        self.read: dict[int, object] = {}

    def __iter__(self) -> Iterator[int]:
        self.order_drawn_by = self.random.now
        for index, batch in enumerate(self.batches):
            if index == 0:
                self._read(batch)
            if index + 1 < len(self.batches):
                self._read(self.batches[index + 1])
            yield batch

    def _read(self, batch: int) -> None:
        self.resume.fetch_starts()
        self.read[batch] = self.random.now


def continued(guest: SimpleNamespace, place: Any, identity: Any, random_now: Generators) -> tuple[Loader, list[Any]]:
    """Walk the rest of an epoch of six; each batch with the random numbers it trains on."""
    place = replace(place, epoch_rng="epoch", fetch_rng=place.fetch_rng and "ahead", step_rng="boundary")
    resume = guest.resuming.Resume(Path("state"), place, identity)
    dataset = SimpleNamespace(set_current_epoch=lambda _epoch: random_now.restore("shuffled"))
    loader = Loader(range(place.batches, 6), resume, random_now)
    walked = [(each, random_now.now) for each in resume.rest_of_epoch(loader, dataset, SimpleNamespace())]
    return loader, walked


def test_the_batch_read_ahead_is_read_again_as_then(
    guest: SimpleNamespace, place: Any, identity: Any, random_now: Generators
) -> None:
    loader, walked = continued(guest, place, identity, random_now)
    assert loader.order_drawn_by == "epoch"
    assert loader.read == {4: "ahead", 5: "boundary"}
    assert walked == [(None, "start"), (4, "boundary"), (5, "boundary")]


def test_an_epochs_last_batch_trains_on_the_boundarys_numbers(
    guest: SimpleNamespace, place: Any, identity: Any, random_now: Generators
) -> None:
    loader, walked = continued(guest, replace(place, batches=5), identity, random_now)
    assert loader.read == {5: "ahead"}
    assert walked[1:] == [(5, "boundary")]


def test_at_an_epochs_end_nothing_is_left_but_the_boundarys_numbers(
    guest: SimpleNamespace, place: Any, identity: Any, random_now: Generators
) -> None:
    _, walked = continued(guest, replace(place, batches=6, fetch_rng=None), identity, random_now)
    assert walked == [(None, "start")]
    assert random_now.now == "boundary"


class Held:
    """A tensor's precision, and nothing else of it."""

    def __init__(self, dtype: str) -> None:
        self.dtype, self.device = dtype, "cpu"

    def to(self, _device: str) -> Held:
        return self


class CastingOptimizer:
    """Casts every tensor that it loads to the precision of its weights, as torch's optimizers do."""

    def __init__(self) -> None:
        self.param_groups = [{"params": ["a"]}, {"params": ["b"]}]
        self.state: dict[str, dict[str, Any]] = {}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        for name, parameter in ((0, "a"), (1, "b")):
            held = saved["state"].get(name, {})
            self.state[parameter] = {k: Held("bf16") if isinstance(v, Held) else v for k, v in held.items()}


def test_an_optimizers_state_keeps_the_precision_it_was_saved_in(guest: SimpleNamespace) -> None:
    optimizer = CastingOptimizer()
    saved = {
        "param_groups": [{"params": [0]}, {"params": [1]}],
        "state": {1: {"exp_avg": Held("fp32"), "codes": Held("bf16"), "step": 3}},
    }
    guest.resuming.exactly(optimizer)(saved)
    assert optimizer.state["a"] == {}
    assert {key: getattr(value, "dtype", value) for key, value in optimizer.state["b"].items()} == {
        "exp_avg": "fp32",
        "codes": "bf16",
        "step": 3,
    }


@pytest.fixture
def keeper(guest: SimpleNamespace, identity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(guest.rng_states, "snapshot", lambda: generators(guest, 1))
    events = guest.reporting.Events(str(tmp_path / "events.jsonl"))
    watch = guest.watch.Watch(events, guest.stopping.StopFlag(supervised=True))
    keeper = guest.keeping.Keeper(watch, tmp_path / "states", every=None)
    keeper.accelerator = SimpleNamespace(step=0, save_state=fill)
    keeper.identity = identity
    keeper.epoch_starts()
    return keeper


def take_step(keeper: Any, step: int) -> None:
    keeper.watch.step_taken(step)
    recorder = SimpleNamespace(loss_list=[0.5], loss_total=0.5)
    keeper.note(recorder, epoch=0, batches=step)
    keeper.keep_if_due()


def kept(keeper: Any) -> list[str]:
    return sorted(path.name for path in keeper.folder.glob("*"))


def test_a_checkpoint_brings_a_state_at_its_steps_end(keeper: Any, tmp_path: Path) -> None:
    take_step(keeper, 1)
    keeper.watch.step_taken(2)
    keeper.checkpoint_saved()
    assert kept(keeper) == [], "the step of the checkpoint has not ended yet"
    take_step(keeper, 2)
    take_step(keeper, 3)
    assert kept(keeper) == ["step00000002"]
    (state,) = (event for event in read_events(tmp_path / "events.jsonl") if isinstance(event, StateSaved))
    assert (state.dir, state.step) == ("step00000002", 2)
    held = {path.name: path.stat().st_size for path in (keeper.folder / state.dir).iterdir()}
    assert {file.name: file.size_bytes for file in state.files} == held


def test_a_checkpoint_at_an_epochs_end_brings_its_state_at_once(keeper: Any) -> None:
    take_step(keeper, 2)
    keeper.checkpoint_saved()
    assert kept(keeper) == ["step00000002"]


def test_a_state_is_saved_every_so_many_steps_if_wanted(keeper: Any) -> None:
    keeper.every = 2
    for step in range(1, 6):
        take_step(keeper, step)
    assert kept(keeper) == ["step00000002", "step00000004"]


def test_nothing_is_saved_at_the_last_step_or_before_the_first(keeper: Any) -> None:
    keeper.keep()
    take_step(keeper, 10)
    keeper.checkpoint_saved()
    keeper.keep()
    assert kept(keeper) == []


def test_a_state_is_not_saved_twice_nor_right_after_it_was_loaded(keeper: Any, place: Any) -> None:
    keeper.resumed(place)
    keeper.keep()
    assert kept(keeper) == []
    take_step(keeper, 6)
    keeper.keep()
    keeper.accelerator.save_state = None
    keeper.keep()
    assert kept(keeper) == ["step00000006"]


def test_weights_that_are_not_finite_become_no_state(
    guest: SimpleNamespace, keeper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_step(keeper, 1)
    keeper.watch.network = object()
    monkeypatch.setattr(guest.watch, "all_finite", lambda _network: False)
    with pytest.raises(guest.watch.Diverged, match="weights are not finite after step 1"):
        keeper.keep()
    assert kept(keeper) == []


def test_without_a_folder_nothing_is_noted(keeper: Any) -> None:
    keeper.folder = None
    keeper.watch.step_taken(1)
    keeper.note(None, epoch=0, batches=1)
    keeper.keep()
    assert keeper.place is None


def test_a_picture_cut_short_by_a_stop_is_removed(guest: SimpleNamespace, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-5])
    guest.pictures.drop_cut(tmp_path)
    guest.pictures.drop_cut(tmp_path / "nothing was sampled yet")
    assert [path.name for path in tmp_path.iterdir()] == ["whole.png"]


def test_the_guests_names_hide_no_module_that_python_or_the_engine_brings() -> None:
    names = {path.stem for path in GUEST.glob("*.py")}
    assert not names & set(sys.stdlib_module_names)
