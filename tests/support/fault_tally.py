"""What a fault came to: how often it was tried, what went wrong, and what an undisturbed run is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_watching import steps_taken
from fault_world import World, loras_in

from lora_forge.runs.commit import is_as_recorded
from lora_forge.runs.ledger import has_ledger
from lora_forge.runs.record import RunRecord, read_run


@dataclass
class Tally:
    """How often a fault was tried, and what went wrong; ``not_tried`` says why it was not."""

    what: str
    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    not_tried: str = ""
    note_said: str = ""

    def note(self, problem: str) -> None:
        self.tried += 1
        if problem:
            self.wrong.append(problem)


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run comes to."""

    loras: dict[str, bytes]
    trace: dict[int, tuple[float, float]]


def reference_of(world: World) -> Reference:
    code, told = world.forge(*world.arguments("--run-dir", "undisturbed"))
    assert code == 0, told
    return Reference(world.loras(world.project / "undisturbed"), trace(world.project / "undisturbed"))


def trace(run: Path) -> dict[int, tuple[float, float]]:
    """Loss and learning rate of each step; a step taken twice must have been the same both times."""
    found: dict[int, tuple[float, float]] = {}
    for event in steps_taken(run):
        seen = (event["loss"], event["lr"]["unet"])
        assert found.setdefault(event["step"], seen) == seen, event
    return found


def resume(world: World, run: Path, *more: str, by_id: bool = False) -> tuple[int, dict[str, Any]]:
    """By the whole command again, ``more`` as it was, or by the run's name alone."""
    if by_id:
        return world.forge("runs", "resume", run.name, "--runs", str(run.parent), "--json")
    return world.forge(*world.arguments("--resume", "--run-dir", str(run), *more))


def resumes_to(world: World, run: Path, reference: Reference, *more: str, by_id: bool = False) -> str:
    """Resume unaided to the end, which must be the undisturbed one, with everything that was committed before."""
    committed = read_run(run) if has_ledger(run) else None
    code, told = resume(world, run, *more, by_id=by_id and committed is not None)
    if code:
        return f"{run.name}: resume ended with {code}: {told['error']}"
    return as_reference(run, reference) or still_there(run, committed)


def as_reference(run: Path, reference: Reference) -> str:
    found = loras_in(run)
    if found != reference.loras:
        different = [name for name in {*found, *reference.loras} if found.get(name) != reference.loras.get(name)]
        return f"{run.name}: not as undisturbed: {sorted(different)}"
    if any(reference.trace.get(step) != seen for step, seen in trace(run).items()):
        return f"{run.name}: another loss or learning rate than undisturbed"
    return ""


def still_there(run: Path, committed: RunRecord | None) -> str:
    kept = committed.checkpoints if committed else ()
    lost = [checkpoint.file.path for checkpoint in kept if not is_as_recorded(run, checkpoint.file)]
    return f"{run.name}: lost {lost}" if lost else ""
