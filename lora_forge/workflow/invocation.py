"""What one call of forge was given; every use case that plans starts from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_forge.settings import Value


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
