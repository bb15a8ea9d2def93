"""Real trainings: what the plan says is what the engine does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tiny_training import FORGE, TINY, engine_env, train_arguments

from lora_forge.safetensors_header import read_header

from .conftest import Train

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("family", ["flux", "sd15", "sdxl"])
def test_each_family_trains_and_its_lora_is_what_the_plan_said(family: str, train: Train) -> None:
    trained = train(family)
    assert trained.code == 0, trained.stderr
    plan = trained.answer["data"]["plan"]
    assert trained.answer["data"]["verified"] is True
    header = read_header(trained.lora)
    assert header.tensor_bytes == plan["outputs"]["lora_bytes"]["value"]
    assert header.metadata["ss_steps"] == "4"
    assert header.metadata["ss_network_dim"] == str(plan["network"]["rank"]["value"])


def test_the_engine_counts_what_the_plan_counted(train: Train) -> None:
    trained = train("flux", "schedule.batch_size=2", "schedule.grad_accum=2", "schedule.repeats=3")
    assert trained.code == 0, trained.stderr
    plan = trained.answer["data"]["plan"]
    counted = next(event for event in trained.events if event["event"] == "counts")
    planned = [dict(bucket) for bucket in plan["data"]["buckets"]["value"]]
    assert counted["buckets"] == planned
    assert counted["batches_per_epoch"] == sum(bucket["batches"] for bucket in planned)
    assert counted["epochs"] == plan["schedule"]["epochs"]["value"]
    assert counted["max_train_steps"] == plan["schedule"]["steps"]["value"]


def test_guest_and_plain_engine_write_the_same_weights_to_the_bit(train: Train, tmp_path: Path) -> None:
    trained = train("flux")
    assert trained.code == 0, trained.stderr
    rendered = trained.answer["data"]["rendered"]
    plain_out = tmp_path / "plain"
    command = [*rendered["plain_argv"], "--output_dir", str(plain_out)]
    script = next(part for part in command if part.endswith("_network.py"))
    done = subprocess.run(
        command, cwd=Path(script).parent, env=engine_env(**rendered["env"]), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]

    def tensors(path: Path) -> bytes:
        header = read_header(path)
        data = path.read_bytes()
        return data[len(data) - header.tensor_bytes :]

    assert tensors(trained.lora) == tensors(plain_out / trained.lora.name)


def test_checkpoints_come_where_the_plan_said(train: Train) -> None:
    trained = train("sd15", "schedule.checkpoint_every=2", "sampling.enabled=false")
    assert trained.code == 0, trained.stderr
    names = sorted(path.name for path in trained.lora.parent.glob("*-step*.safetensors"))
    assert names == [f"{trained.lora.stem}-step0000000{step}.safetensors" for step in (2, 4)]
    assert trained.answer["data"]["plan"]["outputs"]["checkpoints"]["value"] == [2, 4]


def test_a_persons_folder_is_only_read(train: Train, pictures: Path) -> None:
    before = {path.name: path.read_bytes() for path in pictures.iterdir()}
    assert train("sd15", "memory.cache_to_disk=true").code == 0
    assert {path.name: path.read_bytes() for path in pictures.iterdir()} == before


def test_a_learning_rate_that_diverges_is_exit_6(train: Train) -> None:
    trained = train("sd15", "optimizer.learning_rate=1e30", "optimizer.scheduler=constant", "schedule.steps=8")
    assert trained.code == 6, (trained.answer["error"], trained.stderr)


def cut_picture(folder: Path) -> Path:
    """A picture whose header is whole and whose pixels are not."""
    from PIL import Image

    folder.mkdir()
    Image.new("RGB", (128, 128)).save(folder / "a.png")
    data = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(data[: len(data) // 2])
    (folder / "a.txt").write_text("ohwx, cut off\n")
    return folder


def test_a_cut_picture_is_refused_before_the_engine_starts(train: Train, tmp_path: Path) -> None:
    trained = train("sd15", dataset=cut_picture(tmp_path / "broken"))
    assert trained.code == 3, trained.stderr
    found = [one for one in trained.answer["findings"] if one["code"] == "image-truncated"]
    assert found and "a.png" in found[0]["message"]
    assert not trained.run_dir.exists()


def test_an_engine_failure_is_exit_1_and_names_its_own_words(train: Train, tmp_path: Path) -> None:
    """Here a person's own optimizer, which they trust, breaks at its first step."""
    (tmp_path / "own_optimizer.py").write_text(
        "import torch\nclass Own(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n        raise RuntimeError('the own optimizer is at its wits end')\n"
    )
    path = os.pathsep.join((str(TINY), str(tmp_path)))
    settings = ("optimizer.name=own_optimizer.Own", "optimizer.args={}")
    trained = train("sd15", *settings, flags=("--trust-code",), env={"PYTHONPATH": path})
    assert trained.code == 1, (trained.answer["error"], trained.stderr)
    assert "at its wits end" in json.dumps(trained.answer)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_the_run_cleanly_and_leaves_nobody_behind(
    signum: int, engine: object, tiny_models: Path, pictures: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    arguments = train_arguments(tiny_models, pictures, run_dir, "sd15", "fast-iteration", ["schedule.steps=5000"])
    forge = subprocess.Popen(
        [str(FORGE), "train", *arguments, "--json"], env=engine_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    events = run_dir / "events.jsonl"
    deadline = time.monotonic() + 120
    while not (events.exists() and '"step"' in events.read_text()) and time.monotonic() < deadline:
        time.sleep(0.2)
    forge.send_signal(signum)
    out, _ = forge.communicate(timeout=60)
    assert forge.returncode == 128 + signum
    assert json.loads(out)["error"]["code"] == "interrupted"
    guest = next(json.loads(line)["pid"] for line in events.read_text().splitlines() if '"start"' in line)
    with pytest.raises(ProcessLookupError):
        os.kill(guest, 0)
