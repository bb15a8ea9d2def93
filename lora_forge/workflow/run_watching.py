"""Looking on must cost nothing: a view that fails is dropped, and the training goes on without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

from lora_forge.findings import Finding, warning

if TYPE_CHECKING:
    from lora_forge.datasets.look import Watch
    from lora_forge.runs.directory import RunDir
    from lora_forge.runs.events import Event
    from lora_forge.workflow.planning import PlanResult
    from lora_forge.workflow.run_task import Watcher


class Dispensable:
    """A watcher whose first failure is its last: a terminal that went away must not cost a night's work.

    ``SystemExit`` counts: rich raises it where nobody reads what it prints.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._lost = ""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What became of the view, where it was lost."""
        if not self._lost:
            return ()
        return (warning("view-lost", f"the training could not be shown to its end: {self._lost}", "forge runs show"),)

    def looking(self) -> AbstractContextManager[Watch]:
        """Before the training there is nothing to lose: a view that fails then may say so."""
        return self._watcher.looking()

    def planned(self, planned: PlanResult, run: RunDir) -> None:
        self._spare(lambda: self._watcher.planned(planned, run))

    @contextmanager
    def live(self) -> Iterator[None]:
        """Let the view live around the block; what the block raises is none of its business."""
        view = ExitStack()
        self._spare(lambda: view.enter_context(self._watcher.live()))
        try:
            yield
        finally:
            self._spare(view.close, last=True)

    def event(self, event: Event) -> None:
        self._spare(lambda: self._watcher.event(event))

    def _spare(self, show: Callable[[], object], *, last: bool = False) -> None:
        if self._lost and not last:
            return
        try:
            show()
        except (Exception, SystemExit) as problem:  # noqa: BLE001  # told at the end, as a finding
            self._lost = self._lost or f"{type(problem).__name__}: {problem}"
