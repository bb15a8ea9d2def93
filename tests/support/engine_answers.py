"""One process of the engine's own Python, asked many questions."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts" / "dump_engine_rules"


def ask_engine(python: Path, checkout: Path, request: dict[str, object]) -> dict[str, dict[str, str]]:
    """Answers to ``cases``, ``tomls`` and ``optimizers``; see the script for each."""
    quiet = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    asked = subprocess.run(
        [python, SCRIPT, checkout], input=json.dumps(request), env=quiet, capture_output=True, text=True, timeout=300
    )
    if asked.returncode:
        raise OSError(asked.stderr[-2000:])
    return json.loads(asked.stdout.strip().splitlines()[-1])  # type: ignore[no-any-return]
