"""The engine tier: real trainings through the engine at its pin, with models small enough for seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from installed_engine import installed_engine

from lora_forge.engine.home import EngineHome

TINY = Path(__file__).parent / "tiny"
FORGE = Path(sys.executable).with_name("forge")

FLUX_FILES = {"model": "tiny-flux", "clip-l": "tiny-clip-l", "t5xxl": "tiny-t5xxl", "ae": "tiny-ae"}
FAMILY_FILES = {"flux": FLUX_FILES, "sd15": {"model": "tiny-sd15"}, "sdxl": {"model": "tiny-sdxl"}}


@pytest.fixture(scope="session")
def engine() -> EngineHome:
    return installed_engine()


@pytest.fixture(scope="session")
def tiny_models(engine: EngineHome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small random FLUX, SD 1.5 and SDXL base models with their tokenizers."""
    folder = tmp_path_factory.mktemp("tiny-models")
    command = [str(engine.python), str(TINY / "make_tiny_models.py"), str(folder)]
    made = subprocess.run(command, cwd=engine.checkout, env=engine_env(), capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-4000:]
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small pictures in three shapes, captioned."""
    return draw(tmp_path_factory.mktemp("pictures"), 6)


@pytest.fixture(scope="session")
def reg_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("reg"), 3, caption="a person")


def draw(folder: Path, count: int, caption: str = "ohwx, scene {index}") -> Path:
    from PIL import Image, ImageDraw

    for index in range(count):
        size = ((128, 128), (96, 160), (160, 96))[index % 3]
        picture = Image.new("RGB", size, (40 * index % 255, 90, 160))
        ImageDraw.Draw(picture).ellipse((10, 10, 60 + 5 * index, 60), fill=(250, 200 - 20 * index, 40))
        picture.save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(caption.format(index=index) + "\n")
    return folder


def engine_env(**more: str) -> dict[str, str]:
    """The environment in which the engine's modules come up small."""
    path = os.pathsep.join(filter(None, (str(TINY), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path, "FORGE_TEST_TINY": "1", **more}


@dataclass(frozen=True)
class Trained:
    """One finished call of ``forge train --json``."""

    code: int
    answer: dict[str, Any]
    run_dir: Path
    stderr: str

    @property
    def lora(self) -> Path:
        return Path(self.answer["data"]["lora"])

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.run_dir / "events.jsonl").read_text().splitlines()]


Train = Callable[..., Trained]
SMALL = (
    "data.resolution=64",
    "data.min_bucket=64",
    "data.max_bucket=128",
    "schedule.steps=4",
    "schedule.warmup_steps=0",
)


def train_arguments(
    models: Path, dataset: Path, run_dir: Path, family: str, preset: str, settings: Sequence[str]
) -> list[str]:
    named = {flag: models / f"{stem}.safetensors" for flag, stem in FAMILY_FILES[family].items()}
    return [
        *("--preset", preset, "--family", family, "--dataset", str(dataset), "--trigger", "ohwx"),
        *("--tokenizers", str(models / "tokenizers"), "--run-dir", str(run_dir)),
        *(part for flag, path in named.items() for part in (f"--{flag}", str(path))),
        *(part for setting in (*SMALL, *settings) for part in ("--set", setting)),
    ]


@pytest.fixture
def train(engine: EngineHome, tiny_models: Path, pictures: Path, tmp_path: Path) -> Train:
    """Train through the real command; ``settings`` are ``--set`` arguments."""

    def call(
        family: str,
        *settings: str,
        preset: str = "fast-iteration",
        flags: Sequence[str] = (),
        dataset: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> Trained:
        run_dir = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        arguments = train_arguments(tiny_models, dataset or pictures, run_dir, family, preset, settings)
        done = subprocess.run(
            [str(FORGE), "train", *arguments, *flags, "--json"],
            env=engine_env(**(env or {})),
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        log = run_dir / "engine.log"
        tail = log.read_text(errors="replace")[-3000:] if log.exists() else ""
        return Trained(done.returncode, json.loads(done.stdout), run_dir, done.stderr + tail)

    return call
