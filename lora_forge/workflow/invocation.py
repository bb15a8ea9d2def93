"""What one call of forge was given; every use case that plans starts from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.settings import Value

if TYPE_CHECKING:
    from lora_forge.datasets.splitting import Holdout


@dataclass(frozen=True)
class Invocation:
    """One call of forge: what was given, and the world it was given in."""

    flags: Mapping[str, Value]
    settings: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    run_dir: Path | None = None
    trust_code: bool = False
    prompts: Path | None = None
    """A file of sample prompts, one a line."""
    parent: str | None = None
    """The UUID of the run that this one makes anew."""
    holdout: Holdout | None = None
    """The images that a run which goes on, or is made anew, holds out; None leaves it to the project's record."""
