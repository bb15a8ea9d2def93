"""Training that gives way: where memory runs out, the next lever in a new run, a few times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from lora_forge.errors import OutOfMemory
from lora_forge.workflow.gather import Invocation

MOST_RETRIES = 3

R = TypeVar("R")


def start_smaller(call: Invocation, start: Callable[[Invocation], R], say: Callable[[str], None]) -> R:
    """Start; each time memory runs out, say so and start again with the cheapest lever that is left.

    A smaller plan is another plan, so each try is a run of its own that names
    the one before it as its parent.

    Raises:
        OutOfMemory: no lever is left, or three were not enough.
    """
    for retry in range(1, MOST_RETRIES + 1):
        try:
            return start(call)
        except OutOfMemory as problem:
            if not problem.smaller or set(problem.smaller) <= set(call.settings):  # a lever that did not bite
                raise
            flags = " ".join(f"--set {setting}" for setting in problem.smaller)
            say(f"{problem.message}; again with {flags} (retry {retry} of {MOST_RETRIES})")
            call = smaller_call(call, problem, retry)
    return start(call)


def smaller_call(call: Invocation, problem: OutOfMemory, retry: int) -> Invocation:
    """The same call with the lever pulled; a run directory that was named gets a number."""
    run_dir = call.run_dir
    if run_dir is not None:
        first = run_dir.name.removesuffix(f"-smaller{retry - 1}")
        run_dir = run_dir.with_name(f"{first}-smaller{retry}")
    return replace(call, settings=(*call.settings, *problem.smaller), run_dir=run_dir, parent=problem.run)
