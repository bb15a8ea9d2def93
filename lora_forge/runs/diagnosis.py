"""Diagnosis: from the lines of a log to one cause with its evidence and one thing to try.

The causes are a table (``diagnosis_machine.py``, ``diagnosis_input.py``), one row
each; ``docs/diagnosis.md`` is written from it. Codes are never renamed. Rows
stand in the order in which they explain each other: a full disk before the
assertion that it led to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lora_forge.errors import EngineError, ForgeError, InvalidInput, NoUsableLora
from lora_forge.neutral import one_line
from lora_forge.runs.diagnosis_input import INPUT_CAUSES
from lora_forge.runs.diagnosis_machine import MACHINE_CAUSES
from lora_forge.runs.diagnosis_rest import LAST_CAUSES
from lora_forge.runs.diagnosis_row import Cause

RECENT_LINES = 200
"""How far from a log's end its cause may stand before anything else there wins: two tracebacks and the launcher's."""


@dataclass(frozen=True)
class Diagnosis:
    """What happened: ``evidence`` is the line that says so, ``witness`` who said it, ``file`` the file it names."""

    code: str
    error: type[ForgeError]
    what: str
    hint: str
    evidence: str
    file: str | None = None
    step: int | None = None
    total: int | None = None
    witness: str = "the engine"

    @property
    def exit_code(self) -> int:
        return self.error.exit_code

    @property
    def where(self) -> str:
        if self.step is None:
            return ""
        return f"at step {self.step:,} of {self.total or self.step:,}" if self.step else "before the first step"

    @property
    def sentence(self) -> str:
        """The cause in one sentence: ``{where}`` where the row wants it, else at its end."""
        if "{where}" in self.what:
            return self.what.replace(" {where}", f" {self.where}" if self.where else "")
        timeless = issubclass(self.error, (InvalidInput, EngineError, NoUsableLora)) and not self.step
        return self.what if timeless or "at step" in self.what else f"{self.what} {self.where}".strip()


CAUSES = (*MACHINE_CAUSES, *INPUT_CAUSES, *LAST_CAUSES)
"""Every row, in the order in which they are tried."""


def cause_named(code: str) -> Cause:
    return next(row for row in CAUSES if row.code == code)


def diagnose_lines(lines: Sequence[str]) -> Diagnosis | None:
    """Find the cause: errors near the end first, then older ones, then warnings; None where nothing speaks.

    >>> found = diagnose_lines(["MemoryError", "OSError: [Errno 28] No space left on device"])
    >>> found.code if found else None
    'host-out-of-memory'
    """
    errors = [row for row in CAUSES if not row.remark]
    remarks = [row for row in CAUSES if row.remark]
    recent, older = lines[-RECENT_LINES:], lines[:-RECENT_LINES]
    found = _first_row(recent, errors) or _newest_line(older, errors) or _first_row(lines, remarks)
    step, total = last_step(lines)
    return found and replace(found, step=step, total=total)


def diagnose_line(line: str, around: Sequence[str] = ()) -> Diagnosis | None:
    """Diagnose one line that is known to be the error; ``around`` may name the file that the line does not."""
    for row in CAUSES:
        found = _match(row, line)
        if found and found.file is None:
            others = (_match(row, other) for other in reversed(around))
            naming = next((other for other in others if other and other.file), None)
            found = replace(found, file=naming.file, what=naming.what) if naming else found
        if found:
            return found
    return None


STEPS = re.compile(r"\bsteps:\s*\d+%\|[^|]*\|\s*(\d+)/(\d+)")


def last_step(lines: Iterable[str]) -> tuple[int | None, int | None]:
    """Read the last state of the engine's progress bar.

    >>> last_step(["steps:  50%|#### | 5/10 [00:01<00:01, 1.0it/s]"])
    (5, 10)
    """
    for line in reversed(list(lines)):
        states = STEPS.findall(line)
        if states:
            return int(states[-1][0]), int(states[-1][1])
    return None, None


def _first_row(lines: Sequence[str], rows: Sequence[Cause]) -> Diagnosis | None:
    """The first row that any line matches; of its lines the newest that names a file, else the newest."""
    for row in rows:
        found = [match for line in reversed(lines) if (match := _match(row, line))]
        if found:
            return next((match for match in found if match.file), found[0])
    return None


def _newest_line(lines: Sequence[str], rows: Sequence[Cause]) -> Diagnosis | None:
    for line in reversed(lines):
        for row in rows:
            found = _match(row, line)
            if found:
                return found
    return None


def _match(row: Cause, line: str) -> Diagnosis | None:
    for sign in row.signs:
        match = sign.search(line)
        if match:
            said = {name: text or "" for name, text in match.groupdict().items()}
            return Diagnosis(
                row.code,
                row.error,
                _filled(row.what, said),
                _filled(row.hint, said),
                one_line(line),
                said.get("file", "").strip("'\" ") or None,
            )
    return None


UNSAID = re.compile(r":? ?\{(?:file|said)\}")


def _filled(template: str, said: dict[str, str]) -> str:
    """Put what the line says in place; a colon with nothing after it goes."""
    for name, text in said.items():
        if text:
            template = template.replace("{" + name + "}", one_line(text, 200))
    return UNSAID.sub("", template)
