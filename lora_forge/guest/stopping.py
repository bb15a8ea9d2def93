"""A request to stop: SIGTERM or SIGINT, sent to the guest's own pid."""

from __future__ import annotations

import os
import signal
from types import FrameType


class Stopped(BaseException):
    """The training ends because it was asked to.

    Not an ``Exception``: the engine catches those around single images and
    would carry on.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class StopFlag:
    """The first signal asks; without forge, the second one ends the process where it stands.

    While ``at_once`` holds (loading, caching, sampling: nothing to lose) the
    first signal ends the work immediately; otherwise the next optimizer-step
    boundary looks at the flag.

    Under forge (``supervised``) a second signal says nothing: a service manager or a CI
    cancel signals every process, and forge hands on its own. Forge ends by force what
    is asked twice, or takes too long.
    """

    def __init__(self, *, supervised: bool) -> None:
        self.supervised = supervised
        self.signum: int | None = None
        self.at_once = False

    def install(self) -> None:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        if self.signum is not None:
            if not self.supervised:
                os._exit(128 + signum)
            return
        self.signum = signum
        if self.at_once:
            raise Stopped(signum)

    def check(self) -> None:
        if self.signum is not None:
            raise Stopped(self.signum)


def restore_defaults() -> None:
    """Undo an inherited ``ignore``: forge's tether shields the launcher with it."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_DFL)
