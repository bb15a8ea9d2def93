"""Training that gives way: where memory runs out, the next lever, a few times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from lora_forge.errors import OutOfMemory, PlanError
from lora_forge.runs.signals import stop_on_signals
from lora_forge.workflow.invocation import Invocation

MOST_RETRIES = 3

R = TypeVar("R")
Act = Callable[[Invocation], R]


@stop_on_signals()
def start_smaller(
    call: Invocation, start: Act[R], resume: Act[R], say: Callable[[str], None], *, resuming: bool = False
) -> R:
    """Start, or go on; each time memory runs out, say so and try again with the cheapest lever that is left.

    A lever that bears on no number of the training keeps what is done: the same
    run goes on from its last state. With any other it would be another training,
    so that is a run of its own, which names the one before it as its parent.

    Raises:
        OutOfMemory: no lever is left, or three were not enough.
    """
    asked, act = call, resume if resuming else start
    for retry in range(1, MOST_RETRIES + 1):
        try:
            return act(call)
        except OutOfMemory as problem:
            if not problem.smaller or set(problem.smaller) <= set(call.settings):  # a lever that did not bite
                raise
            act, call, how = _next(problem, call, asked, retry, start, resume)
            flags = " ".join(f"--set {setting}" for setting in problem.smaller)
            say(f"{problem.message}; {how} with {flags} (retry {retry} of {MOST_RETRIES})")
    return act(call)


def _next(
    problem: OutOfMemory, call: Invocation, asked: Invocation, retry: int, start: Act[R], resume: Act[R]
) -> tuple[Act[R], Invocation, str]:
    """What to do with the lever pulled, with which call, and how to say it."""
    anew = _anew(problem, replace(call, run_dir=asked.run_dir), retry)
    if problem.folder is None or not _may_go_on(problem):
        return start, anew, "again"

    def go_on(same: Invocation) -> R:
        try:
            return resume(same)
        except PlanError:  # the lever moved something else along: that is another training
            return start(anew)

    return go_on, replace(call, settings=anew.settings, run_dir=problem.folder), "going on"


def _may_go_on(problem: OutOfMemory) -> bool:
    from lora_forge.runs.resume import may_change

    return all(may_change(setting.partition("=")[0]) for setting in problem.smaller)


def _anew(problem: OutOfMemory, call: Invocation, retry: int) -> Invocation:
    """The call for a new run; a run directory that was named gets a number."""
    run_dir: Path | None = call.run_dir and call.run_dir.with_name(f"{call.run_dir.name}-smaller{retry}")
    return replace(call, settings=(*call.settings, *problem.smaller), run_dir=run_dir, parent=problem.run)
