"""Child processes of an install: output line by line, a clean environment, nothing left running.

Secrets (index passwords, proxies) travel in the environment and in the tools'
own files, never in an argument; lines that echo one are masked.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

TAIL_LINES = 30

# Each of these would make the new environment's Python, pip or uv look or install somewhere else.
MISLEADING = (
    "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV",
    "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_REQUIREMENT", "PIP_CONSTRAINT",
    "UV_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_SYSTEM_PYTHON", "UV_TARGET", "UV_CONSTRAINT", "UV_OVERRIDE",
)  # fmt: skip


class Ended(NamedTuple):
    """How a child ended, and the last of what it said."""

    returncode: int
    tail: str


def run_child(argv: Sequence[str], *, cwd: Path, report: Callable[[str], None], keep_open: Sequence[int] = ()) -> Ended:
    """Run ``argv`` to its end, handing each line on; an exception here ends the child first.

    ``keep_open`` are descriptors that the child inherits (see ``holding``).
    """
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with subprocess.Popen(
        argv,
        cwd=cwd,
        env=clean_environment(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=tuple(keep_open),
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as child:
        try:
            for line in child.stdout or ():
                tail.append(masked(line.rstrip()))
                report(tail[-1])
        except BaseException:
            child.kill()
            raise
    return Ended(child.returncode, "\n".join(tail))


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """``env`` without what leads Python astray; proxies, indexes and credentials stay."""
    kept = {name: value for name, value in env.items() if name not in MISLEADING}
    return kept | {"PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1"}


def masked(text: str) -> str:
    """Hide a password in a URL.

    >>> masked("fetching https://me:secret@host/simple")
    'fetching https://***@host/simple'
    """
    return re.sub(r"(\w+://)[^/\s@]+@", r"\1***@", text)
