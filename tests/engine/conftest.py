"""The engine tier: real trainings through the engine at its pin, with models small enough for seconds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from installed_engine import installed_engine
from tiny_training import FORGE, draw_pictures, engine_env, make_tiny_models, train_arguments

from lora_forge.engine.home import EngineHome


@pytest.fixture(scope="session")
def engine() -> EngineHome:
    return installed_engine()


@pytest.fixture(scope="session")
def tiny_models(engine: EngineHome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small random FLUX, SD 1.5 and SDXL base models with their tokenizers."""
    return make_tiny_models(engine, tmp_path_factory.mktemp("tiny-models"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small pictures in three shapes, captioned."""
    return draw_pictures(tmp_path_factory.mktemp("pictures"), 6)


@pytest.fixture(scope="session")
def reg_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("reg"), 3, caption="a person")


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
