"""Committed LoRA files, compared with the ledger; what is gone or differs is put back where that is possible.

The engine saves into the folder of its attempt, and a commit gives that file a second name in ``output/``. So
whoever moves or replaces the one leaves the other; damage within the file itself is in both names.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from lora_forge.findings import Finding, info, warning
from lora_forge.runs.commit import has_size, is_as_recorded, place_file
from lora_forge.runs.directory import RunDir
from lora_forge.runs.disk import reason
from lora_forge.runs.record import Checkpoint, RunRecord
from lora_forge.safetensors_header import read_header

PARTIAL = ".partial.safetensors"
"""Ends the name of what a killed trainer did not finish; as guest/atomic_save.py, ``partial_name``."""
MISSING, DAMAGED, RESTORED = "checkpoint-missing", "checkpoint-damaged", "checkpoint-restored"


def changed_checkpoints(run: RunDir, record: RunRecord) -> list[Finding]:
    """Those that are gone or of another size: nothing is read, so it costs the same at any size."""
    hint = f"{forge_runs('resume', run)} puts back what its attempts still hold"
    return [_lost(run, kept, hint) for kept in record.checkpoints if not has_size(run.path / kept.file.path, kept.file)]


def restore_checkpoints(run: RunDir, record: RunRecord) -> list[Finding]:
    """Read every checkpoint, put back what is not as recorded, and say what was put back and what could not be."""
    changed = [kept for kept in record.checkpoints if not is_as_recorded(run.path, kept.file)]
    return [_restored(run, record, kept) for kept in changed]


def gather_loras(run: RunDir, record: RunRecord | None) -> None:
    """Leave no LoRA that is whole in an attempt's folder alone, as one that a killed forge did not commit.

    Raises:
        OSError: ``output/`` cannot be written.
    """
    if record is not None:
        restore_checkpoints(run, record)
    for attempt in run.attempts_there():
        for source in sorted(attempt.output.glob("*.safetensors")):
            target = run.output / source.name
            if not target.exists() and _is_whole(source):
                run.output.mkdir(exist_ok=True)
                place_file(source, target)


def forge_runs(command: str, run: RunDir, *more: str) -> str:
    """A command about this run that works in any folder."""
    return shlex.join(["forge", "runs", command, run.path.name, *more, "--runs", str(run.path.absolute().parent)])


def _restored(run: RunDir, record: RunRecord, kept: Checkpoint) -> Finding:
    target = run.path / kept.file.path
    hint = f"use another one, or train anew: {forge_runs('reproduce', run, '--start')}"
    lost = _lost(run, kept, hint)
    source = _sound_copy(run, record, kept)
    if source is None:
        return lost
    try:
        target.parent.mkdir(exist_ok=True)
        place_file(source, target)
    except OSError as problem:
        why = f"{lost.message}, and cannot be put back: {reason(problem)}"
        return warning(lost.code, why, f"it lies whole in {source.parent}", str(target))
    return info(RESTORED, f"{lost.message}; it was put back from the folder of an attempt", where=str(target))


def _sound_copy(run: RunDir, record: RunRecord, kept: Checkpoint) -> Path | None:
    """An attempt's own file that still is what was committed; any attempt may have made it alike."""
    file = kept.file._replace(path=Path(kept.file.path).name)
    folders = (run.attempt(attempt.number).output for attempt in reversed(record.attempts))
    return next((folder / file.path for folder in folders if is_as_recorded(folder, file)), None)


def _is_whole(path: Path) -> bool:
    try:
        return not path.name.endswith(PARTIAL) and not path.is_symlink() and read_header(path) is not None
    except (OSError, ValueError):
        return False


def _lost(run: RunDir, kept: Checkpoint, hint: str) -> Finding:
    path = run.path / kept.file.path
    if os.path.lexists(path):
        message = f"{kept.file.path} is no longer what was committed at step {kept.step:,}"
        return warning(DAMAGED, message, hint, str(path))
    return warning(MISSING, f"{kept.file.path}, committed at step {kept.step:,}, is gone", hint, str(path))
