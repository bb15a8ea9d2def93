"""Evidence of the kernel's kill for want of memory: it counts every one, by control group and in all.

SIGKILL alone says nothing of who sent it, so a killed trainer is out of memory
only where this count rose while it ran. The trainer is in forge's own group.
Linux's cgroup-v2.rst (memory.events), cgroup-v1/memory.rst (memory.oom_control).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

KEY = "oom_kill"


def memory_kills(root: Path = Path("/")) -> int | None:
    """How many processes were killed for memory so far: in this group, else on this machine; None where untold."""
    for counter in (*_group_counters(root), root / "proc/vmstat"):
        found = _read(counter)
        if found is not None:
            return found
    return None


def _group_counters(root: Path) -> Iterator[Path]:
    """The counters of this process's group; in a container its own group may be mounted as the root."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":  # version 2
            yield from (mounted / group.lstrip("/") / "memory.events", mounted / "memory.events")
        elif "memory" in controllers.split(","):
            version1 = mounted / "memory"
            yield from (version1 / group.lstrip("/") / "memory.oom_control", version1 / "memory.oom_control")


def _read(counter: Path) -> int | None:
    try:
        lines = counter.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    fields = (line.split() for line in lines)
    return next((int(field[1]) for field in fields if len(field) == 2 and field[0] == KEY), None)
