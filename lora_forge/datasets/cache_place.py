"""Where the pixel cache lies; apart from it, so that a plan without one loads no database."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

VERSION = 2
"""Raise it whenever ``measure_image`` answers otherwise than before."""


def default_cache_file(env: Mapping[str, str] | None = None) -> Path:
    """Where the cache lies; ``FORGE_CACHE`` moves it."""
    from platformdirs import user_cache_path

    given = (os.environ if env is None else env).get("FORGE_CACHE")
    return (Path(given) if given else user_cache_path("lora_forge")) / f"pixels-{VERSION}.sqlite"
