"""What a person sees while a training runs: one live view on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lora_forge.cli.lines import LAST_WORD_S, Lines, at_most
from lora_forge.cli.output import Taste, console, message

if TYPE_CHECKING:
    from rich.table import Table

    from lora_forge.datasets.look import Watch
    from lora_forge.runs.directory import RunDir
    from lora_forge.runs.events import Event
    from lora_forge.runs.progress import Progress
    from lora_forge.workflow.planning import PlanResult

LINE_EVERY_S = 5.0
BAR_WIDTH = 30


class LiveView:
    """Watches a run and draws it on stderr; ``--json`` and ``--quiet`` leave only the end."""

    def __init__(self, taste: Taste, *, as_json: bool) -> None:
        from lora_forge.runs.progress import Progress

        self.progress: Progress = Progress()
        self._taste = taste
        self._silent = taste.quiet or as_json
        self._draws = taste.progress and not self._silent
        self._console = console(stderr=True)
        self._lines: Lines | None = None
        self._last_news_s = 0.0
        self._began_s = time.monotonic()

    @contextmanager
    def looking(self) -> Iterator[Watch]:
        """Draw while the pictures are looked at, which is over at once where they were seen before."""
        from lora_forge.cli.look_view import LookView

        with LookView(self._taste, silent=self._silent) as view:
            yield view.watch

    def planned(self, planned: PlanResult, run: RunDir) -> None:
        """Say what begins, before anything can go wrong."""
        if self._silent:
            return
        from lora_forge.cli.output import print_findings
        from lora_forge.cli.plan_view import print_plan

        print_plan(planned.planned.plan, self._console)
        print_findings(planned.findings)
        message(f"run directory {run.path}")

    @contextmanager
    def live(self) -> Iterator[None]:
        """Draw while the block runs; without a terminal, lines take the view's place."""
        self._began_s = time.monotonic()
        if not self._draws:
            yield
        elif self._console.is_terminal:
            with self._drawing():
                yield
        else:
            with Lines(self._line) as self._lines:
                yield

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """Rich draws from a thread of its own; its end waits for a terminal that stalls no longer than a line does."""
        from rich.live import Live

        live = Live(get_renderable=self._view, console=self._console, refresh_per_second=4, transient=True)
        live.start()
        try:
            yield
        finally:
            at_most(LAST_WORD_S, live.stop)

    def event(self, event: Event) -> None:
        from lora_forge.runs.progress import advance

        before, self.progress = self.progress, advance(self.progress, event)
        if self._lines is not None and self._is_news(before):
            self._last_news_s = time.monotonic()
            self._lines.say(self._line())

    def _is_news(self, before: Progress) -> bool:
        entered = before.phase != self.progress.phase
        last_step = self.progress.step == self.progress.total and self.progress.phase == "training"
        return entered or last_step or time.monotonic() - self._last_news_s >= LINE_EVERY_S

    def _line(self) -> str:
        from lora_forge.runs.progress import duration, plain_line

        return f"{plain_line(self.progress)}, {duration(time.monotonic() - self._began_s)} gone"

    def _view(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        from lora_forge.runs.progress import duration, plain_line

        grid = Table.grid(padding=(0, 2))
        done = ProgressBar(total=max(self.progress.total, 1), completed=self.progress.step, width=BAR_WIDTH)
        grid.add_row(done, plain_line(self.progress), f"[dim]{duration(time.monotonic() - self._began_s)}[/]")
        return grid
