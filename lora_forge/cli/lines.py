"""Lines on stderr while a training runs, from a thread of their own.

A reader who stalls (a log collector that hangs, a connection that is gone but not yet
closed) blocks whoever writes: that must not be the thread that stops the training and
records what it saves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import TracebackType

from lora_forge.cli.output import message

SILENCE_AT_MOST_S = 15.0
LAST_WORD_S = 1.0
"""How long the end waits for a reader who has stalled."""


class Lines:
    """Says what it is given, and ``idle_line()`` after a silence: loading and caching tell nothing for minutes."""

    def __init__(self, idle_line: Callable[[], str], silence_s: float = SILENCE_AT_MOST_S) -> None:
        self._idle_line, self._silence_s = idle_line, silence_s
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="lines", daemon=True)
        self._problem: BaseException | None = None

    def say(self, line: str) -> None:
        self._waiting.put(line)

    def __enter__(self) -> Lines:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        """End after the last line, or without it.

        Raises:
            OSError, SystemExit: a line could not be written; the latter is rich's, where nobody reads any more.
        """
        self._waiting.put(None)
        self._thread.join(LAST_WORD_S)
        if self._problem is not None and kind is None:
            raise self._problem

    def _work(self) -> None:
        try:
            while (line := self._next()) is not None:
                message(line)
        except (Exception, SystemExit) as problem:  # noqa: BLE001  # raised where the block ends
            self._problem = problem

    def _next(self) -> str | None:
        try:
            return self._waiting.get(timeout=self._silence_s)
        except Empty:
            return self._idle_line()


def at_most(seconds: float, action: Callable[[], object]) -> None:
    """Do it, and go on without it where that takes longer.

    Raises:
        BaseException: what the action raised in that time.
    """
    problems: list[BaseException] = []

    def work() -> None:
        try:
            action()
        except BaseException as problem:  # noqa: BLE001  # raised below, in the caller's own thread
            problems.append(problem)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if problems:
        raise problems[0]
