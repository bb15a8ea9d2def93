"""Going on with a run: from which state, and whether what is asked for now continues what was begun."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from lora_forge.plan.choices import BY_A_PERSON
from lora_forge.runs.commit import is_as_recorded
from lora_forge.runs.record import RunRecord, State
from lora_forge.runs.staging import StagedFile, folder_name

SETTINGS_MAY_CHANGE = (
    "schedule.checkpoint_every",
    "sampling.*",
    "memory.cache_to_disk",
    "memory.blocks_to_swap",
    "memory.gradient_checkpointing",
)
"""Those of the plan keys below that a preset has too, though it says of samples only whether there are any."""

MAY_CHANGE = (
    *SETTINGS_MAY_CHANGE,
    "outputs.checkpoints",
    "outputs.header_bytes",
    "outputs.disk_bytes",
    "vram_gib",
    "preset",
    "policy",
)
"""Plan keys that bear on no number of the training: names of where values came from, cadence, memory."""

MAY_CHANGE_TEXT = "checkpoint cadence, samples, caching to disk, block swap and gradient checkpointing may change"
SAMPLES = "sampling.every"
"""Null where none are drawn, and so is all that lies beside it."""
FOLDER = "dataset folder"
SHOWN_DIFFERENCES = 6


@dataclass(frozen=True)
class Difference:
    """One thing that differs: ``breaks`` says that the continuation would be another training."""

    key: str
    before: object
    after: object
    breaks: bool

    def __str__(self) -> str:
        return f"{self.key} was {_short(self.before)}, now {_short(self.after)}"


@dataclass(frozen=True)
class Choice:
    """Where to go on: a sound state or, without one, the beginning; ``damaged`` are newer ones passed over."""

    state: State | None
    damaged: tuple[State, ...]


def choose_state(states_folder: Path, record: RunRecord) -> Choice:
    """Take the newest state whose every byte is as the ledger says; newest by sequence, not by any clock."""
    damaged: list[State] = []
    for state in sorted(record.states, key=lambda each: each.seq, reverse=True):
        if is_sound(states_folder / state.name, state):
            return Choice(state, tuple(damaged))
        damaged.append(state)
    return Choice(None, tuple(damaged))


def is_sound(folder: Path, state: State) -> bool:
    """Whether the folder holds exactly the recorded files: it is Python pickle, so nothing else may lie there."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    recorded = {file.path for file in state.files}
    return found == recorded and all(is_as_recorded(folder, file) for file in state.files)


def plan_differences(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[Difference, ...]:
    """Compare two plans as JSON, value by value; sources and reasons do not count."""
    old, new = dict(plan_values(before)), dict(plan_values(after))
    return tuple(
        Difference(key, old.get(key), new.get(key), breaks=not may_change(key))
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    )


def settings_since(begun: Mapping[str, object], last: Mapping[str, object]) -> tuple[str, ...]:
    """What somebody, or a retry in less memory, changed since the run began, in words that ``--set`` takes.

    What the machine or forge itself decided is decided anew: the machine may be another.
    """
    before = dict(plan_values(begun))
    return tuple(
        _as_setting(key, leaf["value"])
        for key, leaf in _leaves(last)
        if _matches(key, SETTINGS_MAY_CHANGE) and leaf["source"] in BY_A_PERSON
        if leaf["value"] != before.get(key) and (leaf["value"] not in (None, []) or key == SAMPLES)
    )


def vram_since(begun: Mapping[str, object], last: Mapping[str, object]) -> int | None:
    """The memory that somebody named since the run began, from which forge decides what gives way."""
    was, now = (dict(_leaves(plan)).get("vram_gib", {}) for plan in (begun, last))
    value = now.get("value")
    given = now.get("source") in BY_A_PERSON and value != was.get("value")
    return int(value) if given and isinstance(value, (int, float)) else None


def dataset_differences(before: Sequence[StagedFile], after: Sequence[StagedFile]) -> tuple[Difference, ...]:
    """Compare pictures and captions by content, place by place."""
    if list(before) == list(after):
        return ()
    count = Difference("dataset images", len(before), len(after), breaks=True)
    pairs = zip(before, after, strict=False)
    changed = dict.fromkeys(_file_difference(old, new) for old, new in pairs if old != new)
    return (*((count,) if len(before) != len(after) else ()), *changed)


def plan_values(tree: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Every value of a plan's JSON, by dotted key.

    >>> list(plan_values({"network": {"rank": {"value": 16, "source": "POLICY", "why": ""}}}))
    [('network.rank', 16)]
    """
    return ((key, leaf["value"]) for key, leaf in _leaves(tree))


def shown(differences: Sequence[Difference]) -> str:
    text = "; ".join(str(difference) for difference in differences[:SHOWN_DIFFERENCES])
    rest = len(differences) - SHOWN_DIFFERENCES
    return text + (f"; and {rest} more" if rest > 0 else "")


def way_out(breaking: Sequence[Difference]) -> str:
    """What to do about differences that keep a run from going on."""
    back = ", its folders named as they were" if any(each.key == FOLDER for each in breaking) else ""
    return f"go on as it was begun{back}, or start a new run; {MAY_CHANGE_TEXT}"


def may_change(key: str) -> bool:
    """Whether a run may go on with another value of this plan key."""
    return _matches(key, MAY_CHANGE)


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _leaves(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, Mapping[str, object]]]:
    if "value" in tree and "source" in tree:
        yield prefix, tree
        return
    for key, branch in tree.items():
        if isinstance(branch, Mapping):
            yield from _leaves(branch, f"{prefix}.{key}" if prefix else key)


def _as_setting(key: str, value: object) -> str:
    """A decided value as it is written in a preset, where samples are merely on or off."""
    if key == SAMPLES:
        return f"sampling.enabled={json.dumps(value is not None)}"
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def _file_difference(old: StagedFile, new: StagedFile) -> Difference:
    """What of one picture is another; the folder's own name is said once for all pictures in it."""
    if old.sha256 != new.sha256:
        return Difference(old.name, f"picture {old.sha256[:12]}", f"picture {new.sha256[:12]}", breaks=True)
    if old.caption_sha256 != new.caption_sha256:
        return Difference(old.name, "one caption", "another caption", breaks=True)
    if folder_name(old) != folder_name(new):
        return Difference(FOLDER, folder_name(old), folder_name(new), breaks=True)
    return Difference(old.name, old.name, new.name, breaks=True)


def _short(value: object, longest: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"
