"""Outcome: all that is known of a trainer that has ended."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from lora_forge.runs.events import Counted, Ended, Event, Resumed, Saved, Started, StepTaken

# What the guest leaves unsaid: the process was gone before it could tell.
VANISHED = "vanished"

EVIDENCE_LINES = 60
EVIDENCE_BYTES = 64 * 1024
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Outcome:
    """``outcome`` is the guest's own last word (see ``Ended``), or "vanished".

    The launcher's ``exit_code`` is no cause: accelerate makes 1 of everything.
    ``signal`` is what ended the launcher, ``stop_signal`` what a person sent,
    ``killed`` says that forge had to end it by force, ``memory_kills`` how many
    processes the kernel ended for want of memory meanwhile, ``with_forge`` that forge
    was ended with it and wrote nothing down. ``saved`` names the files that this
    attempt, and no earlier one, put in place.
    """

    exit_code: int | None
    signal: int | None
    outcome: str
    message: str
    last_step: int
    total: int
    wall_s: float
    first_step_s: float | None
    evidence: tuple[str, ...]
    stop_signal: int | None = None
    killed: bool = False
    memory_kills: int = 0
    with_forge: bool = False
    saved: tuple[Saved, ...] = ()
    counted: Counted | None = None


@dataclass
class Heard:
    """What the events of one attempt have said so far."""

    started: Started | None = None
    ended: Ended | None = None
    counted: Counted | None = None
    last_step: int = 0
    total: int = 0
    first_step_mono: float | None = None
    saved: list[Saved] = field(default_factory=list)

    def take(self, event: Event) -> None:
        if isinstance(event, Started):
            self.started = event
        elif isinstance(event, StepTaken):
            self.last_step, self.total = event.step, event.total
            self.first_step_mono = self.first_step_mono or event.mono
        elif isinstance(event, Resumed):
            self.last_step = event.step
        elif isinstance(event, Counted):
            self.counted, self.total = event, event.max_train_steps
        elif isinstance(event, Saved):
            self.saved.append(event)
        elif isinstance(event, Ended):
            self.ended = event


def told_by(heard: Heard, began_mono: float) -> Outcome:
    """Make the part of an outcome that the guest's events tell; the supervisor adds its own."""
    first = heard.first_step_mono
    return Outcome(
        exit_code=None,
        signal=None,
        outcome=heard.ended.outcome if heard.ended else VANISHED,
        message=heard.ended.message if heard.ended else "",
        last_step=heard.last_step,
        total=heard.total,
        wall_s=0.0,
        first_step_s=None if first is None else first - began_mono,
        evidence=(),
        saved=tuple(heard.saved),
        counted=heard.counted,
    )


def log_tail(log: Path, lines: int = EVIDENCE_LINES) -> tuple[str, ...]:
    """Read the last lines of a log of any size, as a person would see them.

    A progress bar overwrites itself by carriage returns: only its last state
    counts. Colours and control characters go.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - EVIDENCE_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ()
    seen = (_ANSI.sub("", line.rstrip("\r").rpartition("\r")[2]).rstrip() for line in text.split("\n"))
    return tuple(line for line in seen if line)[-lines:]
