"""The committer: what the guest says it saved is verified, given its place, and recorded.

In a thread of its own: reading a gigabyte takes seconds, in which a stop request
must still be heard. One checkpoint that cannot be committed stops nothing; it is
tried once more at the end.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from lora_forge.errors import ForgeError
from lora_forge.findings import Finding, Severity, warning
from lora_forge.runs.commit import describe_file, is_as_recorded, place_file, sync_directory, sync_file
from lora_forge.runs.directory import STATE_NAME, AttemptDir, RunDir
from lora_forge.runs.events import Event, Saved, StateSaved
from lora_forge.runs.ledger import Ledger
from lora_forge.runs.prune import prune_states
from lora_forge.runs.record import CHECKPOINT, STATE, as_json, fold

Check = Callable[[Path, Saved], Sequence[Finding]]
"""What speaks against a checkpoint at its step."""


class Committer:
    """Commits for one attempt; ``final`` is the finished LoRA's file name, which is not committed here."""

    def __init__(self, run: RunDir, attempt: int, ledger: Ledger, check: Check, final: str) -> None:
        self._run, self._attempt, self._ledger, self._check, self._final = run, attempt, ledger, check, final
        self._waiting: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="committer", daemon=True)
        self._failed: list[tuple[Event, str]] = []
        self._thread.start()

    @property
    def attempt_dir(self) -> AttemptDir:
        return self._run.attempt(self._attempt)

    def take(self, event: Event) -> None:
        """Note an event; what it says was saved is committed soon."""
        if isinstance(event, (Saved, StateSaved)):
            self._waiting.put(event)

    def close(self) -> tuple[Finding, ...]:
        """Wait for the work to be done, try again what failed, and say what could not be committed."""
        self._waiting.put(None)
        self._thread.join()
        again, self._failed = self._failed, []
        for event, _ in again:
            self._commit(event)
        return tuple(_not_committed(event, why) for event, why in self._failed)

    def _work(self) -> None:
        while (event := self._waiting.get()) is not None:
            self._commit(event)

    def _commit(self, event: Event) -> None:
        try:
            if isinstance(event, Saved):
                self._commit_checkpoint(event)
            elif isinstance(event, StateSaved):
                commit_state(self._run, self._ledger, self._attempt, event)
        except Exception as problem:  # noqa: BLE001  # whatever it is, what is saved next must still be committed
            self._failed.append((event, _said(problem)))

    def _commit_checkpoint(self, event: Saved) -> None:
        if Path(event.file).name != self._final:
            commit_checkpoint(self._run, self._ledger, self._attempt, event, self._check)


def commit_checkpoint(
    run: RunDir, ledger: Ledger, attempt: int, event: Saved, check: Check, *, final: bool = False
) -> Path:
    """Verify a saved LoRA, give it its place in ``output/`` and record it.

    What was committed is replaced only where it is no longer what it was, and only by what another attempt
    made: a file that the same attempt left is as old as the damage.

    Raises:
        ForgeError: it is not what the plan says, or the ledger cannot be written.
        OSError: it cannot be read or placed.
    """
    source = run.attempt(attempt).output / Path(event.file).name
    target = run.output / source.name
    kept = fold(run.path, ledger.records).checkpoint_at(f"{run.output.name}/{source.name}")
    if kept is not None and (kept.attempt == attempt or is_as_recorded(run.path, kept.file)):
        return target
    refused = [finding for finding in check(source, event) if finding.severity is Severity.ERROR]
    if refused:
        raise ForgeError(refused[0].message, refused[0].hint, findings=refused)
    run.output.mkdir(exist_ok=True)
    place_file(source, target)
    file = describe_file(target, run.path)
    ledger.append(CHECKPOINT, step=event.step, attempt=attempt, final=final, files=as_json([file]))
    return target


def commit_state(run: RunDir, ledger: Ledger, attempt: int, event: StateSaved) -> None:
    """Read and sync every file of a state folder, record it, then let go of the ones it replaces.

    Raises:
        ValueError: it is no state folder of this run, or holds what is no plain file.
        OSError: it cannot be read.
    """
    name = Path(event.dir).name
    folder = run.states / name
    if not STATE_NAME.fullmatch(name) or folder.is_symlink():
        raise ValueError(f"{event.dir} is no state folder of this run")
    found = sorted(folder.rglob("*"))
    if any(path.is_symlink() or not (path.is_file() or path.is_dir()) for path in found):
        raise ValueError(f"the state folder {name} holds a link or a special file")
    files = [path for path in found if path.is_file()]
    if not files:
        raise ValueError(f"the state folder {name} is empty")
    for path in files:
        sync_file(path)
    sync_directory(folder)
    described = [describe_file(path, folder) for path in files]
    if {tuple(file) for file in described} != {(file.name, file.size_bytes, file.sha256) for file in event.files}:
        raise ValueError(f"the state folder {name} is not what the guest saw when it wrote it")
    if any((state.name, state.files) == (name, tuple(described)) for state in fold(run.path, ledger.records).states):
        return
    ledger.append(STATE, step=event.step, attempt=attempt, name=name, files=as_json(described))
    prune_states(run, ledger)


def _said(problem: Exception) -> str:
    """What went wrong; of what nobody foresaw, its kind too."""
    foreseen = isinstance(problem, (OSError, ValueError, ForgeError))
    return str(problem) if foreseen else f"{type(problem).__name__}: {problem}"


def _not_committed(event: Event, why: str) -> Finding:
    what = Path(event.file).name if isinstance(event, Saved) else getattr(event, "dir", "")
    return warning("not-committed", f"{what} was saved but not committed: {why}", "the ones before it are intact")
