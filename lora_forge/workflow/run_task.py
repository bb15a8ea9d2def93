"""What one run is handed on as: its task, its onlooker, its result."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lora_forge.errors import PlanError
from lora_forge.findings import Finding
from lora_forge.workflow.invocation import Invocation
from lora_forge.workflow.planning import PlanResult

if TYPE_CHECKING:
    from lora_forge.datasets.look import Watch
    from lora_forge.engine.launch import Rendered
    from lora_forge.runs.directory import RunDir
    from lora_forge.runs.events import Event
    from lora_forge.runs.ledger import Ledger

STOP_GRACE_S = 30.0
"""How long a stopped training may take to end its step before it is ended by force."""


class Watcher(Protocol):
    """Who looks on while a training runs; the face draws it, a test counts it."""

    def looking(self) -> AbstractContextManager[Watch]: ...

    def planned(self, planned: PlanResult, run: RunDir) -> None: ...

    def live(self) -> AbstractContextManager[object]: ...

    def event(self, event: Event) -> None: ...


@dataclass(frozen=True)
class RunResult:
    """A run that ended with a verified LoRA, or (``dry_run``) one that was only laid out."""

    plan: PlanResult
    dry_run: bool
    noticed: tuple[Finding, ...] = ()
    lora: Path | None = None
    size_bytes: int = 0
    steps: int = 0
    wall_s: float = 0.0
    first_step_s: float | None = None
    checkpoints: tuple[Path, ...] = ()
    attempts: int = 1

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*self.plan.findings, *self.noticed)

    @property
    def exit_code(self) -> int:
        return 0

    def data(self) -> dict[str, object]:
        return {
            **self.plan.data(),
            "dry_run": self.dry_run,
            "verified": self.lora is not None,
            "lora": self.lora and str(self.lora),
            "size_bytes": self.size_bytes,
            "steps": self.steps,
            "wall_s": self.wall_s,
            "first_step_s": self.first_step_s,
            "checkpoints": [str(path) for path in self.checkpoints],
            "attempts": self.attempts,
        }


@dataclass(frozen=True)
class Task:
    """All that one attempt needs: the world it was called in, what is planned, and where it is written down."""

    call: Invocation
    planned: PlanResult
    run: RunDir
    ledger: Ledger
    watcher: Watcher
    grace_s: float = STOP_GRACE_S

    @property
    def name(self) -> str:
        return self.planned.planned.plan.name.value

    @property
    def final(self) -> str:
        return self.run.lora(self.name).name


def rendered_of(task: Task) -> Rendered:
    if task.planned.rendered is None:
        raise PlanError("nothing was rendered", "forge plan")
    return task.planned.rendered
