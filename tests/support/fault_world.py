"""A world for the real ``forge`` command with a fake engine in it: home, model, pictures, and a run to break."""

from __future__ import annotations

import json
import math
import os
import random
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fault_watching import MARK, PATIENCE_S, ended, engine_pids, kill_hard, steps_taken, wait_until

from lora_forge.engine.home import locate_engine
from lora_forge.engine.pin import COMMIT, REPOSITORY
from lora_forge.engine.stamps import CheckoutStamp, EnvironmentStamp, write_checkout_stamp, write_environment_stamp

__all__ = [
    "DIFFUSERS_UNET",
    "EVERY",
    "FORGE",
    "MODEL",
    "NAME",
    "PATIENCE_S",
    "STEPS",
    "World",
    "ended",
    "engine_pids",
    "kill_hard",
    "steps_taken",
    "wait_until",
    "write_model",
]

ENGINE = Path(__file__).parents[1] / "faults" / "fake_engine.py"
FORGE = Path(sys.executable).with_name("forge")
STEPS, EVERY = 12, 3
PICTURES = 4
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
DIFFUSERS = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
DIFFUSERS_UNET = {
    "conv_in.weight": (8, 4, 3, 3),
    "down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3),
    "add_embedding.linear_1.weight": (8, 8),
    f"{DIFFUSERS}.to_q.weight": (WIDTH, WIDTH),
    f"{DIFFUSERS}.to_k.weight": (WIDTH, WIDTH),
}


class World:
    """Everything below one folder; nothing of this machine's own forge is seen."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = root / "project"
        self.home = root / "home"
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("FORGE_")},
            MARK: str(root),
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

    def start(
        self, *arguments: str, env: Mapping[str, str] | None = None, behind: Sequence[str] = (), **more: Any
    ) -> subprocess.Popen[bytes]:
        """Start forge, ``behind`` the words of another command where some are given."""
        return subprocess.Popen(
            [*behind, str(FORGE), *arguments],
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
        return loras_in(run or self.run)

    def use_engine(self, script: Path) -> None:
        """Let this script be the trainer, behind a launcher in the place of the engine's Python."""
        python = locate_engine({"FORGE_HOME": str(self.home)}).python
        launcher = ENGINE.with_name("fake_launcher.py")
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{launcher}" "{script}" "$@"\n')
        python.chmod(0o755)

    def _make_engine(self) -> None:
        home = locate_engine({"FORGE_HOME": str(self.home)})
        (home.checkout / ".git").mkdir(parents=True, exist_ok=True)
        (home.checkout / ".git" / "HEAD").write_text(COMMIT + "\n")
        write_checkout_stamp(home.checkout, CheckoutStamp(REPOSITORY, COMMIT))
        home.python.parent.mkdir(parents=True, exist_ok=True)
        self.use_engine(ENGINE)
        write_environment_stamp(home.environment, EnvironmentStamp(home.lock_sha256, "3.11.0", "2.6.0"))

    def _make_model(self) -> None:
        write_model(self.root / "base.safetensors", MODEL)

    def _make_pictures(self) -> None:
        from PIL import Image

        photos = self.project / "photos"
        photos.mkdir(exist_ok=True)
        for index in range(PICTURES):
            small = random.Random(index).randbytes(8 * 8 * 3)  # each its own: one may be held out for validation
            Image.frombytes("RGB", (8, 8), small).resize((512, 512)).save(photos / f"{index}.png", compress_level=1)
            (photos / f"{index}.txt").write_text(f"ohwx, a man in scene {index}\n")

    def _make_shapes(self) -> None:
        """The tensors that forge itself expects for this base model and rank."""
        down, up = {"lora_down.weight": [RANK, WIDTH], "alpha": []}, {"lora_up.weight": [WIDTH, RANK]}
        stem = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1"
        shapes = {f"{stem}_{end}.{key}": side for end in ("to_q", "to_k") for key, side in {**down, **up}.items()}
        (self.root / "shapes.json").write_text(json.dumps(shapes))


def write_model(path: Path, shapes: Mapping[str, Sequence[int]]) -> None:
    """A safetensors file of zeros, in a folder of its own where there is none."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)


def loras_in(run: Path) -> dict[str, bytes]:
    return {path.name: lora_content(path) for path in sorted((run / "output").glob("*.safetensors"))}


def lora_content(path: Path) -> bytes:
    """Header and numbers; safetensors writes the header's entries in no fixed order."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    return json.dumps(header, sort_keys=True).encode() + content[8 + length :]
