"""The folder of runs: which there are, and which one a person means."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lora_forge.errors import InvalidInput
from lora_forge.runs.directory import never_began
from lora_forge.runs.ledger import has_ledger
from lora_forge.runs.lock import is_held
from lora_forge.runs.record import RunRecord, read_run

SHORTEST_PREFIX = 4


@dataclass(frozen=True)
class ShelvedRun:
    """One run folder; ``record`` is None where its ledger cannot be believed, ``problem`` says why."""

    folder: Path
    record: RunRecord | None
    problem: str = ""

    @property
    def status(self) -> str:
        """``running``, ``stopped``, ``failed``, ``done``, ``damaged`` or ``new``."""
        if is_held(self.folder):
            return "running"
        return "damaged" if self.record is None else status_of(self.record)


def status_of(record: RunRecord) -> str:
    """How a run stands that nobody holds."""
    if record.done:
        return "done"
    if not record.attempts:
        return "new"
    return "stopped" if record.attempts[-1].was_stopped else "failed"


def shelved(runs: Path) -> list[ShelvedRun]:
    """Every run below the folder, by name; what is no run is passed over."""
    entries = sorted(runs.iterdir()) if runs.is_dir() else []
    return [read_shelved(entry) for entry in entries if entry.is_dir() and has_ledger(entry)]


def read_shelved(folder: Path) -> ShelvedRun:
    try:
        return ShelvedRun(folder, read_run(folder))
    except InvalidInput as problem:
        return ShelvedRun(folder, None, problem.message)


def find_run(runs: Path, wanted: str, *, exact: bool = False) -> ShelvedRun:
    """The run whose folder has this name or, unless ``exact``, whose UUID begins with it.

    Raises:
        InvalidInput: there is none, or more than one.
    """
    all_of_them = shelved(runs)
    named = [run for run in all_of_them if run.folder.name == wanted]
    if named:
        return named[0]
    by_uuid: Callable[[str], bool] = wanted.__eq__ if exact else lambda uuid: uuid.startswith(wanted)
    found = [run for run in all_of_them if run.record and by_uuid(run.record.uuid)]
    if len(found) == 1 and (exact or len(wanted) >= SHORTEST_PREFIX):
        return found[0]
    what = "more than one run" if len(found) > 1 else "no run"
    raise InvalidInput(f"{what} in {runs} is called {wanted!r}", "forge runs ls")


def unfinished(runs: Path, name: str) -> Path | None:
    """The highest-numbered run of this name that has not finished; one killed before its ledger counts."""
    return next((folder for folder in numbered(runs, name) if _is_unfinished(folder)), None)


def numbered(runs: Path, name: str) -> Iterator[Path]:
    """The folders of one name, the latest first: by their numbers, not by any clock."""
    of_name = re.compile(re.escape(name) + r"-(\d{3,})")
    entries = runs.iterdir() if runs.is_dir() else ()
    found = [(int(match[1]), entry) for entry in entries if (match := of_name.fullmatch(entry.name))]
    yield from (entry for _, entry in sorted(found, reverse=True))


def _is_unfinished(folder: Path) -> bool:
    """What has a name and no ledger, such as the LoRA that ``runs rm --keep-lora`` left, is no run at all."""
    if not has_ledger(folder):
        return never_began(folder)
    record = read_shelved(folder).record
    return record is None or not record.done
