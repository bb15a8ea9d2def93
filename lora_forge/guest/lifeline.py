"""The trainer dies with whoever started it.

Two ties. The kernel kills this process when its launcher ends (Linux). And a
thread watches the launcher and forge itself, on every system: forge may be
killed while the launcher lives on, and then nobody is left to end the training.
A training that nobody supervises would go on for hours, unseen, on a GPU that
somebody else wants.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
POLL_S = 0.5
TETHER_S = 2.0
"""What forge's tether gets to end everything first: it is in this group, and knows those that have left it."""


def tie(supervisor: int | None) -> None:
    """Tie this process to its parent and, where forge started it, to the process ``supervisor``."""
    launcher = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != launcher or (supervisor is not None and not alive(supervisor)):
        end_all(supervisor)  # it died before the tie held
    threading.Thread(target=_watch, args=(launcher, supervisor), name="lifeline", daemon=True).start()


def _watch(launcher: int, supervisor: int | None) -> None:
    handle = pidfd(supervisor)
    while os.getppid() == launcher and (supervisor is None or alive(supervisor, handle)):
        time.sleep(POLL_S)
    if os.getppid() == launcher:
        time.sleep(TETHER_S)
    end_all(supervisor)


def pidfd(pid: int | None) -> int | None:
    """Open a descriptor that names the process itself: a number may be reused, and a zombie keeps its own."""
    opener = getattr(os, "pidfd_open", None)
    if pid is None or opener is None:
        return None
    try:
        return int(opener(pid))
    except OSError:
        return None


def alive(pid: int, handle: int | None = None) -> bool:
    if handle is not None:
        return not select.select([handle], [], [], 0)[0]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def end_all(supervisor: int | None) -> None:
    """End at once: the whole process group where forge made one, else this process alone."""
    if supervisor is not None and os.getpgrp() != pgid_of(supervisor):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def pgid_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
