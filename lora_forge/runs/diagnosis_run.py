"""What a run adds to a diagnosis: the person's own file behind a staged link, and the lever to try next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lora_forge.errors import ForgeError, OutOfMemory
from lora_forge.findings import Finding, info
from lora_forge.plan.smaller import Smaller
from lora_forge.runs.diagnosis import Diagnosis
from lora_forge.runs.directory import RunDir

STAGED_STEM = re.compile(r"\d{5}-[0-9a-f]{12}")
"""How staged links begin (``staging.py``); a cache's name goes on after it."""

ON_THE_GPU = ("gpu-out-of-memory",)


@dataclass(frozen=True)
class Known:
    """What is known of the run that failed: its folder, and what its plan could still give up."""

    run: RunDir | None = None
    gpu_levers: Sequence[Smaller] = ()
    host_levers: Sequence[Smaller] = ()
    uuid: str | None = None
    calmer: str = ""
    """The settings, as they are typed, with which the same training is less likely to diverge."""

    def levers(self, diagnosis: Diagnosis) -> Sequence[Smaller]:
        if diagnosis.error is not OutOfMemory:
            return ()
        return self.gpu_levers if diagnosis.code in ON_THE_GPU else self.host_levers


def refine(diagnosis: Diagnosis, known: Known) -> Diagnosis:
    """Name the person's own file, the lever and the command, where the run tells them."""
    if diagnosis.file:
        own = person_file(diagnosis.file, known.run)
        diagnosis = replace(diagnosis, file=own, what=diagnosis.what.replace(diagnosis.file, own))
    levers = known.levers(diagnosis)
    if levers:
        hint = f"{levers[0].flags} ({levers[0].why}; costs {levers[0].costs}); --retry-smaller does it"
        diagnosis = replace(diagnosis, hint=hint)
    if diagnosis.code == "diverged" and known.calmer:
        diagnosis = replace(diagnosis, hint=known.calmer)
    if known.run is not None:
        diagnosis = replace(diagnosis, hint=diagnosis.hint.replace("RUN", shlex.quote(str(known.run.path))))
    return diagnosis


def as_error(diagnosis: Diagnosis, known: Known) -> ForgeError:
    """Turn a diagnosis into what forge ends with; the evidence goes along as a finding."""
    error = diagnosis.error(
        diagnosis.sentence, diagnosis.hint, findings=evidence_findings(diagnosis), code=diagnosis.code
    )
    levers = known.levers(diagnosis)
    if isinstance(error, OutOfMemory):
        error.smaller = levers[0].settings if levers else ()
        error.run, error.folder = known.uuid, known.run.path if known.run else None
    return error


def evidence_findings(diagnosis: Diagnosis) -> tuple[Finding, ...]:
    """The line that says so, under the diagnosis's own code."""
    if not diagnosis.evidence:
        return ()
    where = diagnosis.file or ("engine.log" if diagnosis.witness == "the engine" else "")
    return (info(diagnosis.code, f"{diagnosis.witness} said: {diagnosis.evidence}", where=where),)


def person_file(named: str, run: RunDir | None = None) -> str:
    """Lead a staged link, or a cache beside it, back to the person's own file; else the name as it is.

    The engine may name the file alone or by its whole path. A staging folder of
    copies (a disk without links) leads nowhere, so the staged name stays.
    """
    path = Path(named)
    match = STAGED_STEM.match(path.name)
    if match is None:
        return named
    folders = [path.parent] if path.is_absolute() else []
    if run is not None:
        folders += [run.dataset, *(folder for folder in _folders(run.dataset) if folder not in folders)]
    links = (link for folder in folders for link in _matching(folder, match[0]))
    target = next((link.readlink() for link in links if link.is_symlink()), None)
    return named if target is None else str(target)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError:
        return []


def _matching(folder: Path, stem: str) -> list[Path]:
    try:
        return sorted(folder.glob(f"{stem}.*"))
    except OSError:
        return []
