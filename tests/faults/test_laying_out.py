"""Before the trainer starts: killed or refused a write at any call, the same command goes on."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import fault_cases as faults
import pytest
from fault_world import NAME, World

from lora_forge.errors import ForgeError
from lora_forge.runs.ledger import has_ledger
from lora_forge.runs.record import read_run
from lora_forge.workflow import run_resuming, run_training
from lora_forge.workflow.invocation import Invocation
from lora_forge.workflow.run_resuming import resume_run
from lora_forge.workflow.run_task import Watcher
from lora_forge.workflow.run_training import start_run

pytestmark = pytest.mark.processes

MOST_CALLS = 400
REACHED = "the trainer would start now"
Use = Callable[[], object]


@pytest.fixture(autouse=True)
def no_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested ends where the trainer would start."""
    for module in (run_training, run_resuming):
        monkeypatch.setattr(module, "run_attempt", lambda *_: REACHED)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """With pictures that can be told apart, and a base model that is a link to a nameless blob."""
    from PIL import Image

    world = World(tmp_path_factory.mktemp("world"))
    chance = random.Random(3)
    for index in range(4):
        noise = Image.frombytes("RGB", (32, 32), chance.randbytes(3 * 32 * 32))
        noise.resize((512, 512)).save(world.project / "photos" / f"{index}.png", compress_level=1)
    blob = world.root / "0f3a"
    (world.root / "base.safetensors").rename(blob)
    (world.root / "base.safetensors").symlink_to(blob)
    return world


def call(world: World, run: Path | None, *settings: str) -> Invocation:
    flags = {
        "preset": "fast-iteration",
        "family": "sdxl",
        "trigger": "ohwx",
        "dataset": str(world.project / "photos"),
        "model": str(world.root / "base.safetensors"),
    }
    figures = ("schedule.steps=12", "schedule.checkpoint_every=3", "network.rank=4", "network.alpha=2")
    rest = ("schedule.warmup_steps=0", "sampling.enabled=false", "data.validation=1")
    return Invocation(flags, (*figures, *rest, *settings), world.env, world.project, run_dir=run)


class Nobody:
    """Looks on at nothing."""

    def looking(self) -> AbstractContextManager[Any]:
        return nullcontext(lambda *_: None)


def start(call: Invocation) -> object:
    return start_run(call, cast("Watcher", Nobody()))


def resume(call: Invocation) -> object:
    return resume_run(call, cast("Watcher", Nobody()))


def moments(prepare: Callable[[], object], use: Use) -> Iterator[int]:
    """Kill a child that does it before its N-th call into the system, for all N."""
    for moment in range(1, MOST_CALLS):
        prepare()
        child = os.fork()
        if child == 0:
            _killed_at(use, moment)
        _, status = os.waitpid(child, 0)
        yield moment
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            return
    raise AssertionError("it has no end")


def _killed_at(use: Use, moment: int) -> None:
    def act(count: int, _name: str) -> None:
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        with faults.calls_counted(act):
            code = 0 if use() == REACHED else 1
    finally:
        os._exit(code)


def test_a_run_killed_at_any_call_while_it_is_laid_out_begins_at_the_next_one(world: World) -> None:
    run = world.project / "laid"
    start(call(world, world.project / "warm"))  # what is imported once is no call

    def clear() -> None:
        shutil.rmtree(run, ignore_errors=True)

    for moment in moments(clear, lambda: start(call(world, run))):
        assert resume(call(world, run)) == REACHED, moment
        record = read_run(run)
        assert sorted(path.suffix for path in (run / "dataset").rglob("*.*")) == [".png"] * 4 + [".txt"] * 4
        assert not record.attempts


def test_a_run_killed_while_it_is_laid_out_may_also_be_started_anew(world: World) -> None:
    run = world.project / "anew"
    (run / "dataset" / "01-photos").mkdir(parents=True)
    (run / "dataset" / "01-photos" / "00009-of_another_request.png").write_bytes(b"half")
    (run / ".laying-out").touch()
    assert start(call(world, run)) == REACHED
    assert not list(run.rglob("*another_request*"))
    assert not (run / ".laying-out").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_while_a_run_is_laid_out_leaves_nothing_in_the_way(
    world: World, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, lay_out = world.project / f"full-{number}", run_training.lay_out
    for moment in range(1, MOST_CALLS):
        count = [0]
        monkeypatch.setattr(run_training, "lay_out", _failing(lay_out, moment, number, count))
        try:
            assert start(call(world, run)) == REACHED
        except ForgeError as failed:
            assert (failed.exit_code, failed.code) == (1, "disk-full" if number == errno.ENOSPC else "failed"), moment
            assert "None" not in failed.message
            assert has_ledger(run) or not run.exists(), (moment, failed.message)
        shutil.rmtree(run, ignore_errors=True)
        if count[0] < moment:
            assert moment > 20
            return
    raise AssertionError("it has no end")


def _failing(real: Callable[..., object], moment: int, number: int, count: list[int]) -> Callable[..., object]:
    """Laying out with its N-th call into the system refused; ``count`` is how many it made."""

    def act(now: int, _name: str) -> None:
        count[0] = now
        if now == moment:
            raise OSError(number, os.strerror(number))

    def lay_out(*arguments: object) -> object:
        with faults.calls_counted(act):
            return real(*arguments)

    return lay_out


def test_a_changed_resume_killed_at_any_call_goes_on_with_or_without_the_change(world: World, tmp_path: Path) -> None:
    begun, run = tmp_path / "begun", tmp_path / "changed"
    start(call(world, begun))

    def copy() -> None:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(begun, run, symlinks=True)

    def change() -> object:
        return resume(call(world, run, "schedule.checkpoint_every=2"))

    for moment in moments(copy, change):
        settings = ("schedule.checkpoint_every=2",) if moment % 2 else ()
        assert resume(call(world, run, *settings)) == REACHED, moment


def test_what_is_no_abandoned_run_is_never_begun_in(world: World) -> None:
    """Such as the LoRA that ``runs rm --keep-lora`` leaves."""
    kept = world.project / "runs" / f"{NAME}-001" / "output" / f"{NAME}.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"kept")
    with pytest.raises(ForgeError, match=r"holds 'output' and no ledger"):
        resume(call(world, kept.parents[1]))
    assert resume(call(world, None)) == REACHED
    assert has_ledger(world.project / "runs" / f"{NAME}-002")
    assert kept.read_bytes() == b"kept"


def test_no_damage_to_what_lies_beside_the_ledger_keeps_a_run_from_going_on(world: World, tmp_path: Path) -> None:
    begun, run, chance = tmp_path / "begun", tmp_path / "hurt", random.Random(5)
    start(call(world, begun))
    for name in ("plan.json", "request.json", ".request.mirror.json", "preset.yaml", ".preset.mirror.yaml") * 2:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(begun, run, symlinks=True)
        faults.mutate(run / name, chance)
        assert resume(Invocation({}, (), world.env, world.project, run_dir=run)) == REACHED, name
        assert read_run(run).plan == read_run(begun).plan, name


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--resume",)])
def test_a_folder_of_somebody_elses_is_refused_and_nothing_is_left_in_it(world: World, more: tuple[str, ...]) -> None:
    theirs = world.project / "theirs"
    shutil.rmtree(theirs, ignore_errors=True)
    theirs.mkdir()
    (theirs / "diary.txt").write_text("dear diary")
    code, told = world.forge(*world.arguments("--run-dir", str(theirs), *more))
    assert code == 3, told
    assert "theirs" in told["error"]["message"]
    assert [entry.name for entry in theirs.iterdir()] == ["diary.txt"]
