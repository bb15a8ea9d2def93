"""``forge train --resume`` on the real engine: a stopped and a killed run end as an undisturbed one."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tiny_training import FORGE, engine_env, train_arguments

from lora_forge.runs.record import read_run
from lora_forge.safetensors_header import read_header

from .conftest import Train

pytestmark = pytest.mark.engine

SETTINGS = (
    *("schedule.steps=8", "schedule.checkpoint_every=3", "sampling.enabled=false"),
    "memory.cache_to_disk=true",  # what a killed attempt leaves there must not change what the next one draws
)


def tensors(path: Path) -> bytes:
    data = path.read_bytes()
    return data[len(data) - read_header(path).tensor_bytes :]


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    command = [str(FORGE), "train", *arguments, "--json"]
    return subprocess.Popen(command, env=engine_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_first_step(run: Path) -> None:
    deadline = time.monotonic() + 300
    while '"event": "step"' not in ((run / "events.jsonl").read_text() if (run / "events.jsonl").exists() else ""):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_state(run: Path, states: int) -> None:
    deadline = time.monotonic() + 300
    while not (run / "ledger.jsonl").exists() or len(read_run(run).states) < states:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_and_a_stopped_run_end_as_an_undisturbed_one(
    train: Train, tiny_models: Path, pictures: Path, tmp_path: Path
) -> None:
    undisturbed = train("sd15", *SETTINGS)
    assert undisturbed.code == 0, undisturbed.stderr
    run = tmp_path / "broken"
    arguments = train_arguments(tiny_models, pictures, run, "sd15", "fast-iteration", SETTINGS)
    forge = start(arguments)
    wait_for_first_step(run)
    forge.kill()
    forge.communicate(timeout=120)
    assert not read_run(run).states
    for states, signum in ((1, signal.SIGKILL), (2, signal.SIGTERM)):
        forge = start([*arguments, "--resume"])
        wait_for_state(run, states)
        forge.send_signal(signum)
        forge.communicate(timeout=120)
    done = start([*arguments, "--resume"])
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, (out, err)
    told = json.loads(out)["data"]
    assert told["verified"] or told["already_done"]
    names = sorted(path.name for path in undisturbed.lora.parent.glob("*.safetensors"))
    assert sorted(path.name for path in (run / "output").glob("*.safetensors")) == names
    for name in names:
        assert tensors(run / "output" / name) == tensors(undisturbed.lora.parent / name), name
    model = read_run(run).models["model"].sha256
    assert model == read_header(undisturbed.lora).metadata["ss_new_sd_model_hash"]
