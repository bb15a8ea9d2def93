"""Cause: from a trainer that ended badly to one error with a stable code, its evidence and one thing to try."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace

from lora_forge.errors import Diverged, ForgeError, Interrupted, NoUsableLora
from lora_forge.findings import Finding, warning
from lora_forge.neutral import one_line
from lora_forge.runs.diagnosis import RECENT_LINES, Diagnosis, cause_named, diagnose_line, diagnose_lines
from lora_forge.runs.diagnosis_run import Known, as_error, refine
from lora_forge.runs.outcome import Outcome

NOTHING_KNOWN = Known()

TOLD = {"out-of-memory": "host-out-of-memory", "diverged": "diverged", "no-data": "no-data"}
"""The guest's last word → the cause it means where its message matches no row."""

BY_SIGNAL = {
    signal.SIGKILL: "killed",
    signal.SIGSEGV: "segfault",
    signal.SIGBUS: "bus-error",
    signal.SIGILL: "illegal-instruction",
    signal.SIGABRT: "aborted",
    signal.SIGTERM: "terminated",
}
REFUSALS = {
    "no-output": NoUsableLora,
    NoUsableLora.code: NoUsableLora,
    Diverged.code: Diverged,
}
"""Codes of errors that verification ends with, though the engine said that it was done."""

WITHOUT_NAME = ("failed", "engine-assertion")
"""Rows that only repeat the engine's words: what the kernel did says more."""


def cause_of(outcome: Outcome, known: Known = NOTHING_KNOWN) -> ForgeError | None:
    """Name why the run ended badly; None where the trainer says it is done: then the LoRA has to tell.

    What forge itself did goes first, then the guest's own word, then the log,
    then the kernel's signal.
    """
    if outcome.outcome == "done":
        return None
    if outcome.stop_signal is not None and outcome.outcome in ("stopped", "vanished"):
        return _interrupted(outcome, outcome.stop_signal)
    return as_error(diagnosis_of(outcome, known), known)


def untidy_end(outcome: Outcome) -> tuple[Finding, ...]:
    """A trainer that was done and then left badly, as in a GPU driver's teardown: no fault of the LoRA's.

    A stop that came as it was leaving spoils its exit code too, and is no news.
    """
    if outcome.exit_code == 0 or outcome.stop_signal is not None:
        return ()
    message = f"the engine was done and then {_left(outcome)}: the LoRA was looked at all the same, and is whole"
    return (warning("untidy-end", message, "the end of engine.log"),)


def diagnosis_of(outcome: Outcome, known: Known = NOTHING_KNOWN) -> Diagnosis:
    """Diagnose an outcome that was not asked for by a signal to forge."""
    found = _told(outcome) if outcome.message else _from_the_log(outcome)
    if found.code == "killed" and outcome.memory_kills:
        said = f"{outcome.memory_kills} more killed for want of memory"
        found = replace(_of_row("killed-for-memory", said), witness="the kernel")
    step = outcome.last_step
    return refine(replace(found, step=step, total=outcome.total), known)


def refusal(findings: Sequence[Finding], known: Known = NOTHING_KNOWN) -> ForgeError | None:
    """Turn what verification found into the error that forge ends with; None where nothing is an error."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return None
    diverged = next((finding for finding in errors if finding.code == "lora-nan"), None)
    if diverged is not None:
        return Diverged(diverged.message, known.calmer or diverged.hint, findings=findings)
    code = "no-output" if errors[0].code == "lora-missing" else None
    return NoUsableLora(errors[0].message, errors[0].hint, findings=findings, code=code)


def _interrupted(outcome: Outcome, signum: int) -> ForgeError:
    how = "ended by force" if outcome.killed else "stopped"
    name = signal.Signals(signum).name
    where = f"at step {outcome.last_step:,} of {outcome.total:,}" if outcome.last_step else "before the first step"
    return Interrupted(
        f"the training was {how} {where} ({name})", "start it again with the same command", signum=signum
    )


def _told(outcome: Outcome) -> Diagnosis:
    """Take the guest at its word; the log may name the file that its message does not."""
    meant = TOLD.get(outcome.outcome)
    if meant in ("diverged", "no-data"):
        return _of_row(meant, outcome.message)
    found = diagnose_line(outcome.message, outcome.evidence)
    if found is None or (meant and found.code in WITHOUT_NAME):
        return _of_row(meant or "failed", outcome.message)
    return found


def _from_the_log(outcome: Outcome) -> Diagnosis:
    found = diagnose_lines(outcome.evidence[-RECENT_LINES:])
    by_signal = None if outcome.killed else _by_signal(outcome)
    if by_signal and (found is None or found.code in WITHOUT_NAME):
        return by_signal
    if found is None and outcome.with_forge:
        return _of_row("killed", "")
    return found or _silent(outcome)


def _by_signal(outcome: Outcome) -> Diagnosis | None:
    """What ended the launcher itself; a shell says 128 and the signal's number."""
    code = outcome.exit_code or 0
    signum = outcome.signal or (code - 128 if code > 128 else 0)
    name = BY_SIGNAL.get(signal.Signals(signum)) if signum in set(signal.Signals) else None
    return _of_row(name, "") if name else None


def _silent(outcome: Outcome) -> Diagnosis:
    last = outcome.evidence[-1] if outcome.evidence else ""
    said = f": {one_line(last, 200)}" if last else ", and its log is empty"
    what = f"the engine {_left(outcome)} {{where}}{said}"
    return Diagnosis("silent", ForgeError, what, "read the end of engine.log", one_line(last))


def _of_row(code: str, message: str) -> Diagnosis:
    row = cause_named(code)
    said = one_line(message, 200)
    what = row.what.replace("{said}", said)
    if code in ("diverged", "no-data") and said and said not in what:
        what = f"{row.what}: {said}"
    return Diagnosis(code, row.error, what, row.hint, one_line(message))


def _left(outcome: Outcome) -> str:
    if outcome.signal is not None:
        return f"was ended by {signal.Signals(outcome.signal).name}"
    return "vanished" if outcome.exit_code is None else f"left with exit code {outcome.exit_code}"
