"""Faults in real system calls, injected by strace; without strace a row says loudly that it was not tried."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

NO_STRACE = "NOT TRIED: strace is not installed (apt-get install strace), or may not trace here"
CHANGES = ("open", "openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "copy_file_range")
NAMES = ("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir")
ALL_CALLS = (*CHANGES, *NAMES)
_CALL = re.compile(r"^(\d+) +(\w+)\(")


def strace_works() -> bool:
    """A container may forbid to trace."""
    if shutil.which("strace") is None:
        return False
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=?fsync", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def strace(log: Path, paths: Sequence[Path], calls: Sequence[str], inject: str = "") -> list[str]:
    """The words to put before a command: its ``calls`` on exactly these paths are traced, ``inject`` befalls them.

    Without ``--seccomp-bpf``, which is faster and delivers no injected signal (strace 6.1).
    """
    wanted = ",".join(f"?{call}" for call in calls)
    befalls = ["-e", f"inject={wanted}:{inject}"] if inject else []
    on = [part for path in paths for part in ("-P", str(path))]
    return ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={wanted}", *befalls, *on]


def calls_in(log: Path) -> dict[str, int]:
    """How often each call was made by one thread at the most: strace counts call by call and thread by thread."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    counted = Counter(match.groups() for line in lines if (match := _CALL.match(line)))
    return {name: max(n for (_, each), n in counted.items() if each == name) for _, name in counted}


def was_injected(log: Path) -> bool:
    return "(INJECTED)" in log.read_text(errors="replace") if log.exists() else False


def moments_in(log: Path) -> list[tuple[str, int]]:
    """Every moment at which a fault can strike: the N-th of each call."""
    counted = calls_in(log)
    return [(call, moment) for call in ALL_CALLS for moment in range(1, counted.get(call, 0) + 1)]


def some_of(moments: Sequence[tuple[str, int]], at_most: int | None) -> list[tuple[str, int]]:
    """All, or as many spread evenly over them."""
    if at_most is None or len(moments) <= at_most:
        return list(moments)
    return [moments[(2 * index + 1) * len(moments) // (2 * at_most)] for index in range(at_most)]
