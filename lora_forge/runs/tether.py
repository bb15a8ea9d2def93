"""Run as a script around the trainer's command: ties it, and all that comes of it, to forge.

    python -I -S tether.py FORGE_PID COMMAND…

It starts the command, waits, and ends as the command ended. When forge ends
first, even by SIGKILL, it ends the command and every descendant: as a
*subreaper* (Linux) it is the parent of each orphan below it, so one that left
the process group, or its session, is found too. Should the tether itself be
killed, the kernel kills the command, and forge adopts what is left. Elsewhere
than on Linux the group is ended, and the guest's own watch does the rest.

It ignores SIGINT and SIGTERM, and so does the command until it sets handlers of
its own: a signal to the whole group (a CI cancel, a service manager) cannot take
the launcher away from under a trainer that is just saving. A separate program
because the same done between fork and exec inside forge is unsafe beside a
thread that draws.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import signal
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LINUX = sys.platform == "linux"
FORGE_ENDED = signal.SIGUSR1
"""What the kernel sends here when forge's starting thread ends; the parent's id says whether forge did."""

LOOK_S, REAP_S = 0.5, 0.02
LIMIT_S = 5.0
"""How long the end of a command waits for its last descendants; forge, where it lives, ends the rest."""

IGNORED = (signal.SIGINT, signal.SIGTERM)
WAITED_FOR = {signal.SIGCHLD, FORGE_ENDED}


def main(argv: list[str]) -> None:
    forge, command = int(argv[0]), argv[1:]
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # one inherited as ignored would reap the command unseen
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)
    prctl(PR_SET_PDEATHSIG, FORGE_ENDED)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != forge:
        sys.exit("forge ended before its trainer began")
    for signum in IGNORED:
        signal.signal(signum, signal.SIG_IGN)
    tether, child = os.getpid(), os.fork()
    if child == 0:
        become(command, tether)
    status = wait_for(child, forge)
    end_all(LIMIT_S)
    end_as(status)


def become(command: list[str], tether: int) -> None:
    """Be the command, which dies with the tether."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITED_FOR)
    if os.getppid() != tether:
        os._exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606  # no shell is the point
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(1)


def wait_for(child: int, forge: int) -> int:
    """Wait until the command ends, adopted orphans beside; the status as ``waitpid`` tells it.

    The clock looks too: a signal may have been lost to an earlier one.
    """
    while True:
        if os.getppid() != forge:
            end_all()
            end_group()
            sys.exit("forge ended before its trainer")
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return status
        if pid == 0 and LINUX:
            signal.sigtimedwait(WAITED_FOR, LOOK_S)
        elif pid == 0:
            time.sleep(LOOK_S)


def end_all(limit_s: float = math.inf) -> None:
    """Kill every child until none is left; a killed child's own children turn up as ours.

    One that hangs in a driver dies when the driver lets go of it: with forge gone
    nobody else is left to see to that, so there is no limit then.
    """
    deadline, nap = time.monotonic() + limit_s, REAP_S
    while (children := children_of(os.getpid())) and time.monotonic() < deadline:
        for pid in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        reap()
        time.sleep(nap)
        nap = min(2 * nap, LOOK_S)


def end_group() -> None:
    """Where the children cannot be listed the group is all that is known, ourselves with it."""
    if not LINUX:
        os.killpg(0, signal.SIGKILL)


def reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def children_of(parent: int) -> list[int]:
    """As ``descendants.children_of``, which cannot be imported here; dead ones are ours until they are reaped."""
    found = []
    for name in os.listdir("/proc") if LINUX else ():  # noqa: PTH208  # pathlib costs more than all the rest
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                text = file.read()
        except OSError:
            continue  # no process, or it ended while we looked
        if int(text.rpartition(")")[2].split()[1]) == parent:
            found.append(int(name))
    return found


def end_as(status: int) -> None:
    """End in the same way as the command, for forge to see; without a core of our own."""
    if not os.WIFSIGNALED(status):
        sys.exit(os.WEXITSTATUS(status))
    signum = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if signum != signal.SIGKILL:
        signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})
    os.kill(os.getpid(), signum)


def prctl(option: int, value: int) -> None:
    if LINUX:
        ctypes.CDLL(None).prctl(option, int(value), 0, 0, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
