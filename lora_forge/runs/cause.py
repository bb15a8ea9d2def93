"""Cause: from a trainer that ended badly to one error with its evidence and one thing to try."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lora_forge.errors import Diverged, ForgeError, Interrupted, NoUsableLora, OutOfMemory
from lora_forge.findings import Finding
from lora_forge.runs.outcome import Outcome

LESS_GPU_MEMORY = "lower data.resolution or schedule.batch_size, or set memory.blocks_to_swap"
LESS_HOST_MEMORY = "close other programs, or use a machine with more memory"
LESS_RATE = "lower optimizer.learning_rate"

# How accelerate and torchrun word a child that the kernel ended; 137 is how a shell does.
KILLED_CHILD = re.compile(r"Signals\.SIGKILL|exitcode\s*:\s*-9\b|Signal 9 \(SIGKILL\)")


class Sign(NamedTuple):
    """One way a log betrays a cause."""

    pattern: re.Pattern[str]
    error: type[ForgeError]
    what: str
    hint: str


SIGNS = (
    Sign(
        re.compile(r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED"),
        OutOfMemory,
        "the GPU ran out of memory",
        LESS_GPU_MEMORY,
    ),
    Sign(
        re.compile(r"\bMemoryError\b|[Cc]an(?:'t|not) allocate memory|not enough memory"),
        OutOfMemory,
        "the machine ran out of memory",
        LESS_HOST_MEMORY,
    ),
    Sign(
        re.compile(r"No space left on device"),
        ForgeError,
        "the disk is full",
        "free some space: caches and checkpoints need room",
    ),
    Sign(
        re.compile(r"No data found"),
        NoUsableLora,
        "the engine found no images to train on",
        "run `forge dataset check`",
    ),
)

LAST_ERROR = re.compile(r"^\s*(?:[\w.]+\.)?\w*(?:Error|Exception)\b")


def cause_of(outcome: Outcome) -> ForgeError | None:
    """Name why the run ended badly; None where the trainer says it is done and its launcher agrees.

    The guest's own word goes first, then what forge itself did, then the kernel,
    then the log.
    """
    if outcome.outcome == "done" and outcome.exit_code == 0:
        return None
    if outcome.stop_signal is not None and outcome.outcome in ("stopped", "vanished"):
        return _interrupted(outcome, outcome.stop_signal)
    told = _TOLD.get(outcome.outcome)
    return told(outcome) if told else _from_the_log(outcome)


def refusal(findings: Sequence[Finding]) -> ForgeError | None:
    """Turn what verification found into the error that forge ends with; None where nothing is an error."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return None
    diverged = next((finding for finding in errors if finding.code == "lora-nan"), None)
    if diverged is not None:
        return Diverged(diverged.message, diverged.hint, findings=findings)
    return NoUsableLora(errors[0].message, errors[0].hint, findings=findings)


def _interrupted(outcome: Outcome, signum: int) -> ForgeError:
    how = "ended by force" if outcome.killed else "stopped"
    name = signal.Signals(signum).name
    return Interrupted(
        f"the training was {how} {_where(outcome)} ({name})",
        "start it again with the same command",
        signum=signum,
    )


def _out_of_memory(outcome: Outcome) -> ForgeError:
    gpu = SIGNS[0].pattern.search(outcome.message)
    where, hint = ("the GPU", LESS_GPU_MEMORY) if gpu else ("the machine", LESS_HOST_MEMORY)
    return OutOfMemory(f"{where} ran out of memory {_where(outcome)}: {outcome.message}", hint)


def _diverged(outcome: Outcome) -> ForgeError:
    return Diverged(f"the training diverged: {outcome.message}", LESS_RATE)


def _no_data(outcome: Outcome) -> ForgeError:
    return NoUsableLora(f"no data: {outcome.message}", "run `forge dataset check`")


def _failed(outcome: Outcome) -> ForgeError:
    for sign in SIGNS:  # a full disk or a worker out of memory arrives as an ordinary exception
        if sign.pattern.search(outcome.message):
            return sign.error(f"{sign.what} {_where(outcome)}: {outcome.message}", sign.hint)
    return ForgeError(f"the engine failed {_where(outcome)}: {outcome.message}", "read the end of engine.log")


_TOLD: dict[str, Callable[[Outcome], ForgeError]] = {
    "out-of-memory": _out_of_memory,
    "diverged": _diverged,
    "no-data": _no_data,
    "failed": _failed,
}


def _from_the_log(outcome: Outcome) -> ForgeError:
    """Read the log where the guest could not speak, newest line first."""
    newest_first = outcome.evidence[::-1]
    for sign in SIGNS:
        line = next((line for line in newest_first if sign.pattern.search(line)), None)
        if line is not None:
            return sign.error(f"{sign.what} {_where(outcome)}: {line.strip()}", sign.hint)
    if _killed_by_the_kernel(outcome):
        return OutOfMemory(
            f"the trainer was killed {_where(outcome)}, most likely by the kernel for want of memory",
            LESS_HOST_MEMORY,
        )
    last = next((line for line in newest_first if LAST_ERROR.match(line)), newest_first[0] if newest_first else "")
    said = f": {last.strip()}" if last else ", and its log is empty"
    return ForgeError(f"the engine {_left(outcome)} {_where(outcome)}{said}", "read the end of engine.log")


def _killed_by_the_kernel(outcome: Outcome) -> bool:
    if outcome.killed:
        return False
    by_signal = outcome.signal == signal.SIGKILL or outcome.exit_code == 128 + signal.SIGKILL
    return by_signal or any(KILLED_CHILD.search(line) for line in outcome.evidence)


def _where(outcome: Outcome) -> str:
    return f"at step {outcome.last_step} of {outcome.total}" if outcome.last_step else "before the first step"


def _left(outcome: Outcome) -> str:
    if outcome.signal is not None:
        return f"was ended by {signal.Signals(outcome.signal).name}"
    return f"left with exit code {outcome.exit_code}"
