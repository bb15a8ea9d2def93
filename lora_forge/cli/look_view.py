"""Progress while pictures are looked at: one moving line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from lora_forge.cli.output import Taste, console, message

if TYPE_CHECKING:
    from lora_forge.datasets.look import Progress

LINE_EVERY_S = 5.0
REDRAW_EVERY_S = 0.2
QUIET_FOR_S = 1.0
"""What is over sooner needs no progress."""


class LookView:
    """Draws on stderr; leaves the line empty behind it."""

    def __init__(self, taste: Taste, *, silent: bool) -> None:
        self._draws = taste.progress and not taste.quiet and not silent
        self._console = console(stderr=True)
        self._last_s = time.monotonic() + QUIET_FOR_S
        self._drawn = False

    def __enter__(self) -> LookView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            self._console.file.write("\r\x1b[K")
            self._console.file.flush()

    def watch(self, progress: Progress) -> None:
        if not self._draws:
            return
        now, is_terminal = time.monotonic(), self._console.is_terminal
        if now - self._last_s < (REDRAW_EVERY_S if is_terminal else LINE_EVERY_S):
            return
        self._last_s = now
        if is_terminal:
            self._drawn = True
            self._console.file.write(f"\r\x1b[K{progress_text(progress)}")
            self._console.file.flush()
        else:
            message(progress_text(progress))


def progress_text(progress: Progress) -> str:
    """How far, and how long still.

    >>> from lora_forge.datasets.look import Progress
    >>> progress_text(Progress(1200, 10000, 64.4))
    'looked at 1,200 of 10,000 pictures, 1 min 04 s left'
    """
    said = f"looked at {progress.done:,} of {progress.total:,} pictures"
    if progress.left_s is None:
        return said
    minutes, seconds = divmod(round(progress.left_s), 60)
    return f"{said}, {f'{minutes} min {seconds:02} s' if minutes else f'{seconds} s'} left"
