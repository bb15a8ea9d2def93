"""A training that is interrupted and continued ends as if nothing had happened, to the bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tiny_training import FORGE, engine_env, train_arguments

from lora_forge.runs.events import Event, Resumed, StateSaved, read_events
from lora_forge.safetensors_header import read_header

pytestmark = pytest.mark.engine

SAMPLE_TIME = re.compile(r"_\d{14}")


@dataclass(frozen=True)
class Laid:
    """A run that is laid out, and the command that trains it."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Attempt:
    """One process: its own folder for what it writes, states included."""

    folder: Path
    code: int

    @property
    def events(self) -> list[Event]:
        return read_events(self.folder / "events.jsonl")

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]

    @property
    def end(self) -> dict[str, Any]:
        return next((event for event in self.told if event["event"] == "end"), {"outcome": "vanished"})

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def state(self, step: int) -> Path:
        return self.folder / "states" / f"step{step:08d}"

    @property
    def states(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "states").glob("*"))

    @property
    def rates(self) -> dict[int, object]:
        return {event["step"]: event["lr"] for event in self.told if event["event"] == "step"}

    @property
    def losses(self) -> dict[int, object]:
        return {event["step"]: event["loss"] for event in self.told if event["event"] == "step"}

    @property
    def loras(self) -> dict[str, bytes]:
        """The tensors of every LoRA, name by name; metadata tells the time of day and may differ."""
        found = {}
        for path in sorted((self.folder / "out").glob("*.safetensors")):
            data = path.read_bytes()
            found[path.name] = data[len(data) - read_header(path).tensor_bytes :]
        return found

    @property
    def metadata(self) -> dict[str, str]:
        """The last LoRA's own words about steps and epochs, which the engine counts anew where it resumes."""
        found = {path.name: read_header(path).metadata for path in (self.folder / "out").glob("*.safetensors")}
        keys = ("ss_steps", "ss_epoch", "ss_num_epochs", "ss_max_train_steps")
        return {f"{name} {key}": told[key] for name, told in found.items() for key in keys}

    @property
    def samples(self) -> dict[str, bytes]:
        pictures = sorted((self.folder / "out" / "sample").glob("*.png"))
        return {SAMPLE_TIME.sub("", path.name): path.read_bytes() for path in pictures}


@dataclass(frozen=True)
class Until:
    """Send ``signum`` to the guest once it tells an event with these fields."""

    signum: int
    fields: Mapping[str, object]

    def reached(self, told: Sequence[Mapping[str, object]]) -> bool:
        return any(self.fields.items() <= event.items() for event in told)


def killed(**fields: object) -> Until:
    return Until(signal.SIGKILL, fields)


def asked_to_stop(**fields: object) -> Until:
    return Until(signal.SIGTERM, fields)


LayOut = Callable[..., Laid]


@pytest.fixture
def lay_out(engine: object, tiny_models: Path, pictures: Path, tmp_path: Path) -> LayOut:
    def call(family: str, *settings: str, preset: str = "fast-iteration", flags: Sequence[str] = ()) -> Laid:
        return lay_out_run(tiny_models, pictures, tmp_path / "run", family, settings, preset, flags)

    return call


def lay_out_run(
    models: Path,
    pictures: Path,
    run_dir: Path,
    family: str,
    settings: Sequence[str],
    preset: str = "fast-iteration",
    flags: Sequence[str] = (),
) -> Laid:
    arguments = train_arguments(models, pictures, run_dir, family, preset, settings)
    command = [str(FORGE), "train", *arguments, *flags, "--dry-run", "--json"]
    done = subprocess.run(command, env=engine_env(), capture_output=True, text=True)
    answer = json.loads(done.stdout)
    assert done.returncode == 0, (answer["error"], done.stderr)
    rendered = answer["data"]["rendered"]
    return Laid(tuple(rendered["argv"]), rendered["env"])


def attempt(
    laid: Laid, folder: Path, *more: str, resume: Path | None = None, until: Until | None = None, every: int = 1
) -> Attempt:
    """Run the guest through accelerate to its end, or until something happens."""
    folder.mkdir(parents=True)
    events = folder / "events.jsonl"
    env = {
        **laid.env,
        "FORGE_GUEST_EVENTS": str(events),
        "FORGE_GUEST_STATES": str(folder / "states"),
        "FORGE_GUEST_STATE_EVERY": str(every),
        **({"FORGE_GUEST_RESUME": str(resume)} if resume else {}),
    }
    command = [*laid.argv, "--output_dir", str(folder / "out"), *more]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(command, env=engine_env(**env), stdout=log, stderr=subprocess.STDOUT)
        if until is not None:
            signal_once(child, events, until)
        return Attempt(folder, child.wait(timeout=240))


def signal_once(child: subprocess.Popen[bytes], events: Path, until: Until) -> None:
    """Wait for the event, then signal the guest itself; the launcher follows."""
    while child.poll() is None:
        lines = events.read_text().split("\n")[:-1] if events.exists() else []  # the last one may be cut
        told = [json.loads(line) for line in lines]
        if until.reached(told):
            os.kill(told[0]["pid"], until.signum)
            return
        time.sleep(0.005)


def assert_same(whole: Attempt, parts: Sequence[Attempt]) -> None:
    """Hold every attempt of a chain against one uninterrupted training."""
    for each in (whole, parts[-1]):
        assert each.end["outcome"] == "done", each.log
    for part in parts:
        assert [name for name, tensors in part.loras.items() if tensors != whole.loras[name]] == []
        assert part.rates == {step: whole.rates[step] for step in part.rates}
        assert part.losses == {step: whole.losses[step] for step in part.losses}
        assert {key: told for key, told in part.metadata.items() if told != whole.metadata[key]} == {}
    assert {name for part in parts for name in part.loras} == set(whole.loras) != set()
    assert {step for part in parts for step in part.rates} == set(whole.rates)
    assert {name: png for part in parts for name, png in part.samples.items()} == whole.samples


CHAIN = (
    killed(event="state", step=2),  # in mid-epoch: an epoch is six batches, three steps
    killed(event="state", step=3),  # at an epoch's end
    asked_to_stop(event="phase", phase="sampling", step=5),
    killed(event="state", step=6),
    asked_to_stop(event="step", step=8),
)


def test_a_training_interrupted_five_times_ends_the_same_to_the_bit(lay_out: LayOut, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("{trigger}\n{trigger} in snow\n")
    laid = lay_out(
        "sd15",
        *("schedule.steps=10", "schedule.repeats=1", "schedule.grad_accum=2", "schedule.checkpoint_every=5"),
        *("optimizer.scheduler=cosine", "schedule.warmup_steps=3", "sampling.steps=1"),
        *("augment.flip=true", "captions.shuffle=true", "captions.dropout=0.2"),
        flags=["--prompts", str(prompts)],
    )
    whole = attempt(laid, tmp_path / "whole")
    parts: list[Attempt] = []
    resume: Path | None = None
    for index, until in enumerate(CHAIN):
        part = attempt(laid, tmp_path / f"part{index}", resume=resume, until=until)
        expected = "stopped" if until.signum == signal.SIGTERM else "vanished"
        assert part.end["outcome"] == expected, part.log
        step = until.fields["step"] if expected == "vanished" else part.end["step"]
        resume = part.state(int(str(step)))
        parts.append(part)
    parts.append(attempt(laid, tmp_path / "last", resume=resume))
    assert_same(whole, parts)
    assert [event.step for event in parts[-1].events if isinstance(event, Resumed)] == [parts[-2].end["step"]]


def test_a_frozen_text_encoder_and_rounding_optimizer_continue_on_both_sides_of_the_switch(
    lay_out: LayOut, reg_pictures: Path, tmp_path: Path
) -> None:
    """Adafactor keeps float32 beside bf16 weights; torch would round it as it loads."""
    laid = lay_out(
        "flux",
        *("schedule.steps=8", "schedule.repeats=1", "schedule.checkpoint_every=4", "sampling.enabled=false"),
        *("text_encoder.mode=two-phase", "optimizer.name=Adafactor", "optimizer.learning_rate=1e-3"),
        "precision.full=true",
        flags=["--reg", str(reg_pictures)],
    )
    whole = attempt(laid, tmp_path / "whole")
    for step in (3, 6):
        part = attempt(laid, tmp_path / f"from{step}", resume=whole.state(step))
        assert_same(whole, [whole, part])
        frozen = [event["step"] for event in part.told if event["event"] == "text-encoder-frozen"]
        assert frozen == [4]


def test_states_come_with_checkpoints_and_not_at_the_end(lay_out: LayOut, tmp_path: Path) -> None:
    laid = lay_out("flux", "schedule.steps=4", "schedule.checkpoint_every=2", "sampling.enabled=false")
    whole = attempt(laid, tmp_path / "whole", every=0)
    (saved,) = (event for event in whole.events if isinstance(event, StateSaved))
    assert whole.states == [saved.dir] == ["step00000002"]
    held = {path.name: path.stat().st_size for path in whole.state(2).iterdir()}
    assert {file.name: file.size_bytes for file in saved.files} == held
    order = [event["event"] for event in whole.told if event.get("step") == 2 and event["event"] in ("saved", "state")]
    assert order == ["saved", "state"]
    refused = attempt(laid, tmp_path / "other-rank", "--network_dim", "2", resume=whole.state(2))
    assert refused.end["outcome"] == "bad-state"
    assert "does not fit this training" in refused.end["message"]
    assert refused.rates == {}
    damaged = tmp_path / "damaged"
    shutil.copytree(whole.state(2), damaged)
    (damaged / "optimizer.bin").write_bytes((damaged / "optimizer.bin").read_bytes()[:-1])
    refused = attempt(laid, tmp_path / "cut", resume=damaged)
    assert [event["event"] for event in refused.told] == ["start", "phase", "end"], "told before anything is loaded"
    assert refused.end["outcome"] == "bad-state"
    assert "optimizer.bin" in refused.end["message"]


def test_a_training_that_diverges_leaves_no_checkpoint_and_no_state_of_it(lay_out: LayOut, tmp_path: Path) -> None:
    laid = lay_out(
        "flux",
        *("schedule.steps=8", "schedule.checkpoint_every=1", "sampling.enabled=false"),
        *("optimizer.learning_rate=1e30", "optimizer.scheduler=constant"),
    )
    diverged = attempt(laid, tmp_path / "diverged")
    assert diverged.end["outcome"] == "diverged", diverged.log
    for path in (tmp_path / "diverged").rglob("*.safetensors"):
        assert all_finite(path), path
    announced = [event["step"] for event in diverged.told if event["event"] in ("saved", "state")]
    assert all(step < diverged.end["step"] for step in announced)


def all_finite(path: Path) -> bool:
    """Look for the exponent of NaN and infinity in every bf16 or float32 number."""
    header = read_header(path)
    data = path.read_bytes()
    for tensor in header.tensors.values():
        width = {"BF16": 2, "F32": 4}.get(tensor.dtype)
        if width is None:
            continue
        high = data[tensor.begin + width - 1 : tensor.end : width]
        low = data[tensor.begin + width - 2 : tensor.end : width]
        if any(a & 0x7F == 0x7F and b & 0x80 for a, b in zip(high, low, strict=True)):
            return False
    return True
