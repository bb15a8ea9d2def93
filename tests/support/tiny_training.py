"""Trainings through the real engine at its pin, with models small enough for seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lora_forge.engine.home import EngineHome

TINY = Path(__file__).parents[1] / "engine" / "tiny"
FORGE = Path(sys.executable).with_name("forge")

FLUX_FILES = {"model": "tiny-flux", "clip-l": "tiny-clip-l", "t5xxl": "tiny-t5xxl", "ae": "tiny-ae"}
FAMILY_FILES = {"flux": FLUX_FILES, "sd15": {"model": "tiny-sd15"}, "sdxl": {"model": "tiny-sdxl"}}
SMALL = (
    "data.resolution=64",
    "data.min_bucket=64",
    "data.max_bucket=128",
    "schedule.steps=4",
    "schedule.warmup_steps=0",
)


def make_tiny_models(engine: EngineHome, folder: Path, *families: str) -> Path:
    """Small random base models with their tokenizers; all of FLUX, SD 1.5 and SDXL where none is named."""
    command = [str(engine.python), str(TINY / "make_tiny_models.py"), str(folder)]
    command += [part for family in families for part in ("--family", family)]
    made = subprocess.run(command, cwd=engine.checkout, env=engine_env(), capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-4000:]
    return folder


def draw_pictures(folder: Path, count: int, caption: str = "ohwx, scene {index}") -> Path:
    """Small pictures in three shapes, captioned."""
    from PIL import Image, ImageDraw

    folder.mkdir(exist_ok=True)
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
