"""The files that a base model's weights lie in: one, or of a Diffusers folder those that the engine reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

PARTS = ("text_encoder", "text_encoder_2", "transformer", "unet", "vae")
"""What the engine takes from such a folder (train_util.py, sdxl_train_util.py, flux_utils.py): no safety checker."""
WEIGHTS = (".safetensors", ".bin")


def weight_files(models: Mapping[str, Path]) -> dict[str, Path]:
    """Every weight file by the name of its model; in a folder also by its place, as ``model/unet/….safetensors``."""
    found: dict[str, Path] = {}
    for name, path in models.items():
        files = _in_folder(path) if path.is_dir() else [path]
        found.update({f"{name}/{file.relative_to(path).as_posix()}" if file != path else name: file for file in files})
    return found


def _in_folder(folder: Path) -> list[Path]:
    files = (file for part in PARTS for file in sorted((folder / part).glob("*")))
    return [file for file in files if file.suffix in WEIGHTS and file.is_file()]
