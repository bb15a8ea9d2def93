"""Pruning: old states go once newer ones are committed. LoRA checkpoints are never pruned.

The ledger lets go of a folder before the folder goes: killed in between, it is
rubbish that the next sweep removes, never a promise that is broken.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from lora_forge.runs.directory import RunDir
from lora_forge.runs.ledger import Ledger
from lora_forge.runs.record import STATE_DROPPED, State, fold

KEPT_STATES = 2
"""The newest, and one more in case the newest turns out damaged."""


def prune_states(run: RunDir, ledger: Ledger, keep: int = KEPT_STATES) -> tuple[State, ...]:
    """Drop all but the last committed states, in the ledger's order."""
    states = sorted(fold(run.path, ledger.records).states, key=lambda state: state.seq)
    old = states[:-keep] if keep else states
    drop_states(run, ledger, old, "older than the ones kept")
    return tuple(old)


def drop_states(run: RunDir, ledger: Ledger, states: Iterable[State], why: str) -> None:
    for state in states:
        ledger.append(STATE_DROPPED, name=state.name, why=why)
        shutil.rmtree(run.states / state.name, ignore_errors=True)


def sweep_states(run: RunDir, ledger: Ledger) -> tuple[str, ...]:
    """Remove what lies among the states and is not in the ledger: half-made, or never committed."""
    vouched = {state.name for state in fold(run.path, ledger.records).states}
    strays = [entry for entry in run.states.iterdir() if entry.name not in vouched] if run.states.is_dir() else []
    for stray in strays:
        if stray.is_dir() and not stray.is_symlink():
            shutil.rmtree(stray, ignore_errors=True)
        else:
            stray.unlink(missing_ok=True)
    return tuple(sorted(stray.name for stray in strays))
