"""Events: one JSON object a line, appended to the run's events file.

One ``os.write`` to a descriptor opened with ``O_APPEND`` carries each line, so
a reader sees whole lines or a cut one, never two mixed: after a line that a full
disk cut, the next one begins on a line of its own. JSON knows no NaN: a figure
that is not finite is written as null.
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
        self._cut = False

    def write(self, event: str, **fields: object) -> None:
        """Append one line.

        Raises:
            OSError: the disk took none of it, or only its beginning.
        """
        if self._fd is None:
            return
        told = {"event": event, "wall": time.time(), "mono": time.monotonic(), **fields}
        line = json.dumps(finite(told), allow_nan=False).encode() + b"\n"
        rest = b"\n" + line if self._cut else line
        self._cut = True  # until all of it is there
        while rest:  # the kernel may take less than it was offered: only the next write says why
            rest = rest[os.write(self._fd, rest) :]
        self._cut = False


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
