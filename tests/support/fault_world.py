"""A world for the real ``forge`` command with a fake engine in it: home, model, pictures, and a run to break."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from lora_forge.engine.home import locate_engine
from lora_forge.engine.pin import COMMIT, REPOSITORY
from lora_forge.engine.stamps import CheckoutStamp, EnvironmentStamp, write_checkout_stamp, write_environment_stamp

ENGINE = Path(__file__).parents[1] / "faults" / "fake_engine.py"
FORGE = Path(sys.executable).with_name("forge")
PATIENCE_S = 60.0
STEPS, EVERY = 12, 3
NAME = "ohwx-fast-iteration"
WIDTH, RANK = 1024, 256  # a LoRA of 2 MB, so that a save takes long enough to be broken
UNET = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1"
MODEL = {
    "model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3),
    "model.diffusion_model.label_emb.0.0.weight": (8, 8),
    "conditioner.embedders.0.x": (1,),
    "conditioner.embedders.1.x": (1,),
    "first_stage_model.decoder.x": (1,),
    f"{UNET}.to_q.weight": (WIDTH, WIDTH),
    f"{UNET}.to_k.weight": (WIDTH, WIDTH),
}


class World:
    """Everything below one folder; nothing of this machine's own forge is seen."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = root / "project"
        self.home = root / "home"
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("FORGE_")},
            "FORGE_HOME": str(self.home),
            "HOME": str(root / "person"),
            "XDG_CONFIG_HOME": str(root / "no-config"),
            "HF_HUB_OFFLINE": "0",
            "FAKE_SHAPES": str(root / "shapes.json"),
            "NO_COLOR": "1",
        }
        for folder in (self.project, root / "person"):
            folder.mkdir(parents=True, exist_ok=True)
        self._make_engine()
        self._make_model()
        self._make_pictures()
        self._make_shapes()

    def arguments(self, *more: str) -> list[str]:
        settings = {
            "schedule.steps": STEPS,
            "schedule.checkpoint_every": EVERY,
            "schedule.warmup_steps": 0,
            "network.rank": RANK,
            "network.alpha": RANK // 2,
            "precision.save": "fp16",
            "memory.cache_to_disk": "true",
            "sampling.enabled": "false",
        }
        return [
            *("train", "--preset", "fast-iteration", "--family", "sdxl", "--trigger", "ohwx", "--json"),
            *("--dataset", str(self.project / "photos"), "--model", str(self.root / "base.safetensors")),
            *(part for key, value in settings.items() for part in ("--set", f"{key}={value}")),
            *more,
        ]

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, **more: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(FORGE), *arguments],
            cwd=self.project,
            env={**self.env, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )

    def train(self, *more: str, **env: str) -> subprocess.Popen[bytes]:
        return self.start(*self.arguments(*more), env=env)

    def forge(self, *arguments: str, **env: str) -> tuple[int, dict[str, Any]]:
        """Run to the end; exit code and the one JSON object."""
        return ended(self.start(*arguments, env=env))

    @property
    def run(self) -> Path:
        return self.project / "runs" / f"{NAME}-001"

    def loras(self, run: Path | None = None) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(((run or self.run) / "output").glob("*.safetensors"))}

    def _make_engine(self) -> None:
        home = locate_engine({"FORGE_HOME": str(self.home)})
        (home.checkout / ".git").mkdir(parents=True, exist_ok=True)
        (home.checkout / ".git" / "HEAD").write_text(COMMIT + "\n")
        write_checkout_stamp(home.checkout, CheckoutStamp(REPOSITORY, COMMIT))
        home.python.parent.mkdir(parents=True, exist_ok=True)
        home.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ENGINE}" "$@"\n')
        home.python.chmod(0o755)
        write_environment_stamp(home.environment, EnvironmentStamp(home.lock_sha256, "3.11.0", "2.6.0"))

    def _make_model(self) -> None:
        header, offset = {}, 0
        for name, shape in MODEL.items():
            size = 2
            for side in shape:
                size *= side
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps(header).encode()
        (self.root / "base.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))

    def _make_pictures(self) -> None:
        from PIL import Image

        photos = self.project / "photos"
        photos.mkdir(exist_ok=True)
        for index in range(4):
            Image.new("RGB", (512, 512), (index * 40, 60, 120)).save(photos / f"{index}.png")
            (photos / f"{index}.txt").write_text(f"ohwx, a man in scene {index}\n")

    def _make_shapes(self) -> None:
        """The tensors that forge itself expects for this base model and rank."""
        down, up = {"lora_down.weight": [RANK, WIDTH], "alpha": []}, {"lora_up.weight": [WIDTH, RANK]}
        stem = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1"
        shapes = {f"{stem}_{end}.{key}": side for end in ("to_q", "to_k") for key, side in {**down, **up}.items()}
        (self.root / "shapes.json").write_text(json.dumps(shapes))


def ended(process: subprocess.Popen[bytes]) -> tuple[int, dict[str, Any]]:
    out, err = process.communicate(timeout=PATIENCE_S)
    assert out, (process.returncode, err.decode(errors="replace"))
    told = json.loads(out)
    assert isinstance(told, dict)
    return process.returncode, told


def steps_taken(run: Path) -> list[dict[str, Any]]:
    """Every step event of every attempt, in order."""
    found = []
    for events in sorted(run.glob("attempts/*/events.jsonl")):
        for line in events.read_bytes().split(b"\n"):
            if b'"step"' in line and line.endswith(b"}"):
                event = json.loads(line)
                found += [event] if event["event"] == "step" else []
    return found


def wait_until(true: Callable[[], object], process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        assert process is None or process.poll() is None, process.communicate()  # type: ignore[union-attr]
        time.sleep(0.01)


def engine_pids(world: World) -> list[int]:
    """Every living process of the fake engine below this world."""
    mark, found = str(world.root), []
    for process in psutil.process_iter(["pid"]):
        try:
            if "fake_engine.py" in " ".join(process.cmdline()) and process.environ().get("FAKE_SHAPES", "").startswith(
                mark
            ):
                found += [process.pid] if process.status() != psutil.STATUS_ZOMBIE else []
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def kill_hard(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()
