"""The second lock, torch 2.8.0 for CUDA 12.8: tried wherever it is installed (`ENGINE_VARIANTS=all scripts/test`)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lora_forge.engine.home import EngineHome, locate_engine
from lora_forge.engine.status import engine_status, verify_engine

from .conftest import Train

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def newer() -> EngineHome:
    home = locate_engine(os.environ, variant="cu128")
    status = engine_status(home)
    if not status.usable:
        pytest.skip(f"NEWER ENGINE NOT TRIED: {status.reason}; run `forge engine install --cuda 12.8`")
    return home


def test_the_newer_lock_imports_all_that_the_engine_needs(newer: EngineHome) -> None:
    status = verify_engine(newer)
    assert status.verified, status.reason
    assert (status.torch, status.cuda) == ("2.8.0", "12.8")


def test_the_newer_lock_trains(newer: EngineHome, train: Train, tmp_path: Path) -> None:
    """Alone in a home of its own it is the engine that forge chooses, whatever the card."""
    home = tmp_path / "home"
    (home / "engine").mkdir(parents=True)
    (home / "engine" / newer.environment.name).symlink_to(newer.environment)
    (home / "sd-scripts").symlink_to(newer.checkout)
    trained = train("flux", preset="identity", env={"FORGE_HOME": str(home)})
    assert trained.code == 0, trained.stderr
    assert trained.answer["data"]["verified"]
