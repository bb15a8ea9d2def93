"""Signals become stop requests: the first asks, the second insists."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequests:
    """How often, and with which signal first, somebody asked to stop; a handler writes, a loop reads."""

    def __init__(self) -> None:
        self.count = 0
        self.signum: int | None = None

    def request(self, signum: int = signal.SIGTERM) -> None:
        if self.signum is None:
            self.signum = signum
        self.count += 1


@contextmanager
def stop_on_signals(requests: StopRequests) -> Iterator[StopRequests]:
    """Turn SIGINT, SIGTERM and a closing terminal into requests while the block runs.

    A hang-up counts as SIGTERM, unless the person asked to survive it (nohup).
    Handlers belong to the main thread, as Python demands.
    """
    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wanted.append(signal.SIGHUP)

    def note(signum: int, _frame: FrameType | None) -> None:
        requests.request(signal.SIGTERM if signum == signal.SIGHUP else signum)

    before = {signum: signal.signal(signum, note) for signum in wanted}
    try:
        yield requests
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
