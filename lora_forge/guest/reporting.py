"""Events: one JSON object a line, appended to the run's events file.

One ``os.write`` to a descriptor opened with ``O_APPEND`` carries each line, so
a reader sees whole lines or a cut last one, never two mixed. JSON knows no NaN:
a figure that is not finite is written as null.
"""

from __future__ import annotations

import json
import math
import os
import time


class Events:
    """Where the guest tells what happens; silent without a path (every process but the first)."""

    def __init__(self, path: str | None) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._fd = os.open(path, flags, 0o644) if path else None

    def write(self, event: str, **fields: object) -> None:
        if self._fd is None:
            return
        line = {"event": event, "wall": time.time(), "mono": time.monotonic(), **fields}
        os.write(self._fd, json.dumps(finite(line), allow_nan=False).encode() + b"\n")


def finite(value: object) -> object:
    """Replace NaN and the infinities by None, however deep they lie.

    >>> finite({"loss": float("nan"), "lr": {"unet": 1e-4}})
    {'loss': None, 'lr': {'unet': 0.0001}}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return value
