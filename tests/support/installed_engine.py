"""The engine of this machine, as forge itself would choose it; a test that needs it says loudly when it has none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lora_forge.engine.choice import choose_engine
from lora_forge.engine.home import EngineHome
from lora_forge.engine.status import engine_status
from lora_forge.machine import probe_machine


def installed_engine() -> EngineHome:
    """The engine, whole; ``ENGINE_TIER=required`` makes its absence a failure instead of a skip."""
    home = choose_engine(os.environ, probe_machine(Path.cwd()))
    status = engine_status(home)
    if not status.usable:
        lacking(f"ENGINE TIER NOT RUN: {status.reason}; run `forge engine install`")
    return home


def lacking(reason: str) -> None:
    if os.environ.get("ENGINE_TIER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)
