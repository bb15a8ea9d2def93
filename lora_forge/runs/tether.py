"""Run as a script before the trainer's command: ties it to forge, then becomes it.

    python -I -S tether.py FORGE_PID COMMAND…

Two things that outlive ``exec``: the kernel kills the command when forge ends,
even by SIGKILL (Linux; elsewhere the guest's own watch does it), and SIGINT and
SIGTERM are ignored, so that a signal to the whole group (a CI cancel, a service
manager) cannot take the launcher away from under a trainer that is just saving.
The trainer sets handlers of its own. A separate program because the same done
between fork and exec inside forge is unsafe beside a thread that draws.

The kernel counts the death of the forking *thread*: start from the main one.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    forge, command = int(argv[0]), argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != forge:
        sys.exit("forge ended before its trainer began")
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    try:
        os.execvp(command[0], command)  # noqa: S606  # no shell is the point
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
