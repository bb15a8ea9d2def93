"""Signals become stop requests: the first asks, the second insists.

While nothing is worth keeping a request ends the work at once, wherever it
stands. Once there is, requests are only noted, and who does the work looks at
them where it can stop (``noting``).
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar

from lora_forge.errors import Interrupted


class StopNow(BaseException):
    """Ends work in the middle; like ``KeyboardInterrupt`` nothing on the way takes it for a failure to handle."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class StopRequests:
    """How often, and with which signal first, somebody asked to stop; a handler writes, a loop reads."""

    current: ClassVar[StopRequests | None] = None
    """The one that this process's handlers write to, while ``stop_on_signals`` holds."""

    def __init__(self) -> None:
        self.count = 0
        self.signum: int | None = None
        self.ending = False
        self._noted: float = 0  # so many requests are only noted

    def request(self, signum: int = signal.SIGTERM) -> None:
        if self.signum is None:
            self.signum = signum
        self.count += 1

    @contextmanager
    def noting(self, most: float = math.inf) -> Iterator[None]:
        """Only note requests while the block runs: all, or ``most`` more before one ends the block at once."""
        before, self._noted = self._noted, self.count + most
        try:
            yield
        finally:
            self._noted = before

    def settle(self) -> None:
        """Nothing is left that could be stopped: from now on requests are only noted."""
        self.ending, self._noted = False, math.inf

    def heard(self, signum: int) -> None:
        """What a handler does: count, and end what may be ended.

        Raises:
            StopNow: more requests came than are only noted.
        """
        self.request(signum)
        self.check()

    def check(self) -> None:
        if self.signum is not None and self.count > self._noted:
            self.ending = True
            raise StopNow(self.signum)

    def insist(self) -> None:
        """End what goes on although it was ended: native code may take the exception for a failure of its own."""
        if self.ending and self.signum is not None:
            raise StopNow(self.signum)


@contextmanager
def stop_on_signals() -> Iterator[StopRequests]:
    """Turn SIGINT, SIGTERM and a closing terminal into requests while the block runs.

    Within such a block it yields the same requests again, and a signal that was
    noted before ends it as it begins. A hang-up counts as SIGTERM, unless the person asked
    to survive it (nohup). Handlers belong to the main thread, as Python demands;
    in another one nobody is heard.

    Raises:
        Interrupted: a request ended the block, whatever became of that on the way out.
    """
    if StopRequests.current is not None:
        StopRequests.current.check()
        yield StopRequests.current
        return
    requests = StopRequests()
    try:
        with _handled(requests):
            yield requests
        requests.insist()
    except (StopNow, Exception) as problem:
        if requests.signum is None or not requests.ending:
            raise
        raise interrupted(requests.signum) from problem


def interrupted(signum: int) -> Interrupted:
    name = signal.Signals(signum).name
    return Interrupted(f"stopped by {name} before it was done", "start it again with the same command", signum=signum)


@contextmanager
def _handled(requests: StopRequests) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wanted.append(signal.SIGHUP)

    def note(signum: int, _frame: FrameType | None) -> None:
        requests.heard(signal.SIGTERM if signum == signal.SIGHUP else signum)

    before = {signum: signal.signal(signum, note) for signum in wanted}
    StopRequests.current = requests
    try:
        yield
    finally:
        StopRequests.current = None
        for signum, handler in before.items():
            signal.signal(signum, handler)
