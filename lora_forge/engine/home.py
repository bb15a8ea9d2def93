"""Where the engine lies on this machine: its checkout and its own Python environment.

Pure path arithmetic: nothing here is created, and nothing says that it exists.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_forge.engine.pin import COMMIT
from lora_forge.errors import EngineError

LOCKS = Path(__file__).parent / "locks"

# What the locks are for: their numpy is the newest with wheels for 3.10 (ADR 0003).
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 12)
PYTHON_RANGE = ">=3.10,<3.13"

PACKAGES = (
    "torch",
    "torchvision",
    "accelerate",
    "transformers",
    "diffusers",
    "safetensors.torch",
    "cv2",
    "lycoris",
    "bitsandbytes",
)
SCRIPTS = ("library.train_util", "flux_train_network")


@dataclass(frozen=True)
class EngineHome:
    """Paths of one engine, and what has to lie there.

    ``packages`` must import before the environment counts as ready; ``scripts``
    are modules of the checkout that must import before it counts as verified.
    """

    checkout: Path
    environment: Path
    variant: str
    lock: Path
    lock_sha256: str
    commit: str = COMMIT
    packages: tuple[str, ...] = PACKAGES
    scripts: tuple[str, ...] = SCRIPTS

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def accelerate(self) -> Path:
        return self.environment / "bin" / "accelerate"

    @property
    def checkout_lock(self) -> Path:
        return self.checkout.with_name(f".{self.checkout.name}.lock")

    @property
    def environment_lock(self) -> Path:
        return self.environment.with_name(f".{self.environment.name}.lock")


def locate_engine(env: Mapping[str, str], *, variant: str = "cu124") -> EngineHome:
    """Say where the engine belongs; ``FORGE_HOME`` in ``env`` moves all of it.

    The environment's folder is named after the content of its lock, so several
    checkouts of forge share it and a changed lock is another environment.
    """
    lock = LOCKS / f"{variant}.txt"
    if variant not in variants():
        raise EngineError(f"there is no engine variant '{variant}'", f"choose one of: {', '.join(sorted(variants()))}")
    lock_sha256 = hashlib.sha256(lock.read_bytes()).hexdigest()
    data = _data_folder(env)
    return EngineHome(
        checkout=_checkout_folder(env, data),
        environment=data / "engine" / f"{variant}-{lock_sha256[:12]}-{python_tag(sys.version_info[:2])}",
        variant=variant,
        lock=lock,
        lock_sha256=lock_sha256,
    )


def variants() -> frozenset[str]:
    """Names of the shipped locks, one per torch and CUDA version."""
    return frozenset(path.stem for path in LOCKS.glob("*.txt"))


def suits_engine(version: tuple[int, int]) -> bool:
    """Whether the engine runs on this Python.

    >>> suits_engine((3, 12)), suits_engine((3, 13))
    (True, False)
    """
    return OLDEST_PYTHON <= version <= NEWEST_PYTHON


def python_tag(own: tuple[int, int]) -> str:
    """The engine's Python in a folder name: forge's own where it suits, else whichever uv finds.

    >>> python_tag((3, 11)), python_tag((3, 13))
    ('py3.11', 'py-found')
    """
    return f"py{own[0]}.{own[1]}" if suits_engine(own) else "py-found"


def _data_folder(env: Mapping[str, str]) -> Path:
    if home := env.get("FORGE_HOME"):
        return Path(home).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("lora_forge", appauthor=False)


def _checkout_folder(env: Mapping[str, str], data: Path) -> Path:
    root = Path(__file__).resolve().parents[2]
    in_source = (root / "pyproject.toml").is_file() and (root / "vendor").is_dir()
    return root / "vendor" / "sd-scripts" if in_source and not env.get("FORGE_HOME") else data / "sd-scripts"
