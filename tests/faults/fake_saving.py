"""What the fake engine puts on disk: LoRA, state and caches in the real formats, as slowly as a test wants them.

The LoRA goes through safetensors' own writer, the caches through numpy's, as the
engine's do. ``FAKE_SAVE_S`` spreads each file's bytes over that time, in place, so
that a kill finds it half written: what a disk slower than a test's does by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import toml
from safetensors.numpy import save, save_file

MODEL_SHA256 = "ab" * 32
SLICES = 16
OPTIMIZER_BYTES = 3 << 20
PICTURES = (".png", ".jpg", ".jpeg", ".webp")

Tensors = dict[str, "np.ndarray[Any, Any]"]


def save_lora(file: Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    slowly = float(os.environ.get("FAKE_SAVE_S", "0"))
    if slowly:
        write_slowly(file, save(tensors, dict(metadata)), slowly)
    else:
        save_file(tensors, str(file), dict(metadata))


def write_slowly(file: Path, content: bytes, seconds: float) -> None:
    size = -(-len(content) // SLICES)
    with file.open("wb", buffering=0) as stream:
        for start in range(0, len(content), size):
            stream.write(content[start : start + size])
            time.sleep(seconds / SLICES)


def save_state(folder: Path, tensors: Tensors, chain: bytes, step: int) -> None:
    """The files that accelerate would leave; ``optimizer.bin`` is of some megabytes, and pickle."""
    folder.mkdir()
    save_lora(folder / "model.safetensors", tensors, {})
    slowly = float(os.environ.get("FAKE_SAVE_S", "0"))
    content = {
        "optimizer.bin": {"chain": chain, "moments": chain * (OPTIMIZER_BYTES // len(chain))},
        "scheduler.bin": {"last_epoch": step},
        "random_states_0.pkl": {"step": step},
    }
    for name, value in content.items():
        write_slowly(folder / name, pickle.dumps(value), slowly if name == "optimizer.bin" else 0)


def load_chain(folder: Path) -> bytes:
    """Digests were compared before: ``state_dir.read_state``."""
    chain = pickle.loads((folder / "optimizer.bin").read_bytes())["chain"]
    assert isinstance(chain, bytes)
    return chain


def lora_tensors(chain: bytes, alpha: float) -> Tensors:
    """As many numbers as forge expects, drawn from the chain of digests over all steps."""
    shapes = json.loads(Path(os.environ["FAKE_SHAPES"]).read_text())
    return {name: _tensor(name, tuple(shape), chain, alpha) for name, shape in shapes.items()}


def _tensor(name: str, shape: tuple[int, ...], chain: bytes, alpha: float) -> np.ndarray[Any, Any]:
    if name.endswith(".alpha"):
        return np.full(shape, alpha, np.float16)
    digest = np.frombuffer(hashlib.sha256(chain + name.encode()).digest(), np.uint8)
    return np.resize(digest.astype(np.float16) / 256 + 1, shape)


def lora_metadata(step: int, rank: int) -> dict[str, str]:
    return {"ss_steps": str(step), "ss_new_sd_model_hash": MODEL_SHA256, "ss_network_dim": str(rank)}


def cache_latents(dataset_config: Path) -> None:
    """One cache beside each staged picture, written in place; one that is there must be readable, as in the engine."""
    slowly = float(os.environ.get("FAKE_LOAD_S", "0")) / 8
    for picture in sorted(_pictures(dataset_config)):
        cache = picture.with_name(f"{picture.stem}_0512x0512_sdxl.npz")
        if cache.exists():
            _read_back(cache)
            continue
        latents = np.frombuffer(hashlib.sha256(picture.read_bytes()).digest() * 128, np.float32)
        with cache.open("wb") as stream:
            np.savez(stream, latents=np.nan_to_num(latents), original_size=np.array([512, 512]))
            time.sleep(slowly)


def _pictures(dataset_config: Path) -> Iterator[Path]:
    for dataset in toml.load(str(dataset_config))["datasets"]:
        for subset in dataset["subsets"]:
            yield from (path for path in Path(subset["image_dir"]).iterdir() if path.suffix in PICTURES)


def _read_back(cache: Path) -> None:
    try:
        with np.load(cache) as held:
            found = {name: held[name].size for name in held.files}
    except Exception as problem:
        raise RuntimeError(f"Error loading {cache}") from problem
    if set(found) != {"latents", "original_size"}:
        raise RuntimeError(f"Error loading {cache}")
