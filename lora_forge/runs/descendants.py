"""No descendant outlives forge: orphans come to forge, and forge ends them.

A process group does not hold what has left it (a daemon, a worker in a session
of its own). As a *subreaper* (Linux) forge becomes the parent of every orphaned
descendant, so all of them can be found under it. Elsewhere only the group is ended.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
REAP_LIMIT_S = 5.0
REAP_POLL_S = 0.02


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """Be the subreaper while the block runs."""
    _set_subreaper(True)
    try:
        yield
    finally:
        _set_subreaper(False)


def signal_group(group: int, signum: int) -> None:
    """Signal a process group; one that is gone, or belongs to others by now, is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signum)


def children_of(parent: int) -> set[int]:
    """List the children of a process, zombies too, from /proc; empty where there is none."""
    return {pid for pid, parent_pid in _parents() if parent_pid == parent}


def end_descendants(group: int, spare: set[int]) -> None:
    """Kill the group and every child of this process that is not in ``spare``, until none is left.

    A killed child's own children turn up as ours in the next round.
    """
    deadline = time.monotonic() + REAP_LIMIT_S
    while True:
        signal_group(group, signal.SIGKILL)
        orphans = children_of(os.getpid()) - spare
        if not orphans or time.monotonic() > deadline:
            return
        for pid in orphans:
            _kill_and_reap(pid)
        time.sleep(REAP_POLL_S)


def _kill_and_reap(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it ended while we looked
        # "pid (name) state ppid …": the name may hold spaces and parentheses
        yield int(entry.name), int(text.rpartition(")")[2].split()[1])


def _set_subreaper(on: bool) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)
