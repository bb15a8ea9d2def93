"""Supervision of the trainer: one child in a session of its own, watched, stopped, always reaped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from lora_forge.runs.descendants import adopting_orphans, children_of, end_descendants, signal_group
from lora_forge.runs.events import Event, EventTail
from lora_forge.runs.memory_kills import memory_kills
from lora_forge.runs.outcome import Heard, Outcome, log_tail, told_by
from lora_forge.runs.signals import StopRequests

TETHER = Path(__file__).with_name("tether.py")
POLL_S = 0.1
KILL_AFTER_S = 2.0  # between a group's SIGTERM and its SIGKILL, once the grace is over

Clock = Callable[[], float]
OnEvent = Callable[[Event], None]


def supervise(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    events: Path,
    on_event: OnEvent,
    stop: StopRequests,
    grace_s: float,
    clock: Clock = time.monotonic,
) -> Outcome:
    """Run the trainer to its end; nothing of it is left when this returns or raises.

    Its output goes straight from the kernel into ``log``, whatever its size;
    what it does is read from ``events``. The first stop request goes to the
    guest alone, which ends at its next step; after ``grace_s``, or at the second
    request, the whole group is ended by force. Should forge be killed, the tether
    ends all that it started.
    """
    began, began_mono, kills = clock(), time.monotonic(), memory_kills()
    heard, tail = Heard(), EventTail(events)

    def listen() -> None:
        for event in tail.new_events():
            heard.take(event)
            on_event(event)

    with adopting_orphans():
        spare = children_of(os.getpid())
        child = _start(argv, env=env, cwd=cwd, log=log, events=events)
        stopper = Stopper(child.pid, stop, grace_s, clock)
        try:
            while child.poll() is None:
                listen()
                stopper.act(heard.started.pid if heard.started else None)
                time.sleep(POLL_S)
        finally:
            _end(child, spare)
    listen()
    return replace(
        told_by(heard, began_mono),
        exit_code=child.returncode if child.returncode >= 0 else None,
        signal=-child.returncode if child.returncode < 0 else None,
        wall_s=clock() - began,
        evidence=log_tail(log),
        stop_signal=stop.signum,
        killed=stopper.killed,
        memory_kills=_risen(kills, memory_kills()),
    )


def _end(child: subprocess.Popen[bytes], spare: set[int]) -> None:
    """End what is left of the trainer; the child itself is waited for by its own object alone."""
    end_descendants(child.pid, spare | {child.pid})
    child.wait()
    end_descendants(child.pid, spare)


class Stopper:
    """Turns stop requests into signals: ask the guest, then end the group, then kill it."""

    def __init__(self, group: int, stop: StopRequests, grace_s: float, clock: Clock) -> None:
        self._group, self._stop, self._grace_s, self._clock = group, stop, grace_s, clock
        self._asked_at: float | None = None
        self._ended_at: float | None = None
        self.killed = False

    def act(self, guest: int | None) -> None:
        """Do what is due now; called again and again while the trainer lives."""
        if self._stop.signum is None:
            return
        if self._asked_at is None:
            self._asked_at = self._clock()
            self._ask(guest, self._stop.signum)
        if self._stop.count > 1:
            self._kill()
        elif self._ended_at is None and self._clock() - self._asked_at >= self._grace_s:
            self._ended_at = self._clock()
            self.killed = True
            signal_group(self._group, signal.SIGTERM)
        elif self._ended_at is not None and self._clock() - self._ended_at >= KILL_AFTER_S:
            self._kill()

    def _ask(self, guest: int | None, signum: int) -> None:
        """Ask the guest; before there is one, nothing can be lost and the launcher may go at once."""
        if guest is None:
            self._kill()
        elif _in_session(guest, self._group):
            with suppress(ProcessLookupError):
                os.kill(guest, signum)

    def _kill(self) -> None:
        self.killed = True
        signal_group(self._group, signal.SIGKILL)


def _start(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, events: Path
) -> subprocess.Popen[bytes]:
    """Start the command through the tether, deaf to the terminal, its whole output appended to ``log``."""
    tethered = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *argv]
    whole_env = {**env, "FORGE_GUEST_EVENTS": str(events), "FORGE_GUEST_SUPERVISOR": str(os.getpid())}
    with log.open("ab") as output:
        return subprocess.Popen(
            tethered,
            env=whole_env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _risen(before: int | None, after: int | None) -> int:
    return 0 if before is None or after is None else max(0, after - before)


def _in_session(pid: int, session: int) -> bool:
    """Check that a pid read from a file still means the process that wrote it."""
    try:
        return os.getsid(pid) == session
    except ProcessLookupError:
        return False
