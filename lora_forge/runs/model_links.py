"""Base-model files that are symbolic links: under a path that the engine follows rightly.

The engine reads one link of a Stable Diffusion checkpoint by ``os.readlink`` (train_util.py,
sdxl_train_util.py) and then trusts the suffix of what it got: a relative link is
lost, and Hugging Face's cache, whose links end in nameless blobs, is taken for a
folder of Diffusers files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from lora_forge.runs.directory import RunDir

SUFFIX = ".safetensors"


def engine_path(run: RunDir, path: Path) -> Path:
    """The path to hand over: the file itself, else a link of the run's own that leads to the link."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))  # pathlib's own raises on a link that leads in a circle
    return target if target.suffix.lower() == SUFFIX or target.is_dir() else run.models / path.name


def link_models(run: RunDir, paths: Iterable[Path]) -> None:
    """Make the links that ``engine_path`` promised: one step ahead of the person's own, whose name has the suffix.

    May be done again: a file that was moved is found at its new place.
    """
    for path in paths:
        promised = engine_path(run, path)
        if promised.parent == run.models:
            run.models.mkdir(exist_ok=True)
            promised.unlink(missing_ok=True)
            promised.symlink_to(path.absolute())
