"""scripts/dump_engine_answers as a module, and as the question that it puts to the installed engine."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from installed_engine import installed_engine

DUMP = Path(__file__).resolve().parents[2] / "scripts" / "dump_engine_answers"


def _load(path: Path) -> Any:
    loader = SourceFileLoader("dump_engine_answers", str(path))
    loader.set_data = lambda *args, **kwargs: None  # type: ignore[method-assign]  # no bytecode beside the script
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


dump = _load(DUMP)
"""The script that asked the engine: its recipes and its digest are the ones to compare with."""


def ask_afresh(folder: Path, which: str, *options: str) -> Any:
    """Let the installed engine answer one set of the committed questions again."""
    home = installed_engine()
    command = [str(home.python), str(DUMP), str(home.checkout), str(folder), "--only", which, *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / f"{which}.json").read_text(encoding="utf-8"))
