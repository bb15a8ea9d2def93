"""What a person sees while a training runs: one live view on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lora_forge.cli.output import Taste, console, message

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from lora_forge.datasets.look import Watch
    from lora_forge.runs.directory import RunDir
    from lora_forge.runs.events import Event
    from lora_forge.runs.progress import Progress
    from lora_forge.workflow.planning import PlanResult

LINE_EVERY_S = 5.0
SILENCE_AT_MOST_S = 15.0
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
        self._live: Live | None = None
        self._last_line_s = 0.0
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
        if not (self._draws and self._console.is_terminal):
            with self._heartbeat():
                yield
            return
        from rich.live import Live

        with Live(get_renderable=self._view, console=self._console, refresh_per_second=4, transient=True) as live:
            self._live = live
            yield
        self._live = None

    @contextmanager
    def _heartbeat(self) -> Iterator[None]:
        """Say a line now and then while nothing happens: loading and caching tell nothing for minutes."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(1.0):
                if self._draws and time.monotonic() - self._last_line_s >= SILENCE_AT_MOST_S:
                    self._say()

        beating = threading.Thread(target=beat, daemon=True)
        beating.start()
        try:
            yield
        finally:
            over.set()
            beating.join()

    def event(self, event: Event) -> None:
        from lora_forge.runs.progress import advance

        before, self.progress = self.progress, advance(self.progress, event)
        if self._live is None and self._draws:
            self._say_line(entered=before.phase != self.progress.phase)

    def _say_line(self, *, entered: bool) -> None:
        last_step = self.progress.step == self.progress.total and self.progress.phase == "training"
        if entered or last_step or time.monotonic() - self._last_line_s >= LINE_EVERY_S:
            self._say()

    def _say(self) -> None:
        from lora_forge.runs.progress import duration, plain_line

        self._last_line_s = time.monotonic()
        message(f"{plain_line(self.progress)}, {duration(self._last_line_s - self._began_s)} gone")

    def _view(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        from lora_forge.runs.progress import duration, plain_line

        grid = Table.grid(padding=(0, 2))
        done = ProgressBar(total=max(self.progress.total, 1), completed=self.progress.step, width=BAR_WIDTH)
        grid.add_row(done, plain_line(self.progress), f"[dim]{duration(time.monotonic() - self._began_s)}[/]")
        return grid
