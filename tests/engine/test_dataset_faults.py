"""What docs/dataset-faults.md says of the bare engine is what the engine does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lora_forge.engine.home import EngineHome

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.engine


def without_levels(text: str) -> str:
    """Decoders differ by a level from machine to machine."""
    return re.sub(r"mean level \d+", "mean level", text)


def test_the_document_of_the_faults_is_what_the_engine_says_now(engine: EngineHome) -> None:
    env = {**os.environ, "FORGE_TEST_ENGINE": str(engine.checkout)}
    command = [sys.executable, str(ROOT / "scripts" / "show_dataset_faults"), "--markdown"]
    told = subprocess.run(command, env=env, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr[-2000:]
    written = (ROOT / "docs" / "dataset-faults.md").read_text(encoding="utf-8")
    assert without_levels(told.stdout) == without_levels(written)
