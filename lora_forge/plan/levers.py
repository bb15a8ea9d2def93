"""Memory levers: what a small card changes, from the family's documented table.

A lever yields to what a person wrote (forge.yaml, environment, flag) and overrides
what a preset or default says.
"""

from __future__ import annotations

from collections.abc import Mapping

from lora_forge.families.family import Family, Lever
from lora_forge.machine import Machine
from lora_forge.plan.choices import BY_A_PERSON
from lora_forge.settings import Source, Written

CARD_CLASSES_GIB = (8, 10, 12, 16, 24)
"""The sizes that the documented tables speak of."""

SMALL_CARD_RANK = 24
"""LoHa and LoKr on 8 GB, if everything else leaves them too large (docs/presets.md)."""

DRIVER_SHARE_GIB = 0.6
"""What a card of a nominal size may lack: an 8 GB card reports 7.6 GiB at the least."""


def vram(given: Written | None, machine: Machine) -> Written:
    """The memory to plan for, in GiB: as given, else that of the smallest card, else None."""
    if given is not None:
        return given
    if not machine.gpus:
        return Written(None, Source.MACHINE, why="no GPU was found")
    smallest = min(machine.gpus, key=lambda gpu: gpu.vram_gib)
    return Written(round(smallest.vram_gib, 1), Source.MACHINE, why=f"{smallest.name}, as its driver says")


def for_another_machine(vram: Source, machine: Machine) -> bool:
    """A card was named and none is here: the plan is made for elsewhere, and this machine's lack does not count."""
    return not machine.gpus and vram in BY_A_PERSON


def card_class(vram_gib: float) -> int | None:
    """The largest documented size that fits in ``vram_gib``; None from 24 GB on, where nothing need change.

    >>> [card_class(gib) for gib in (6.0, 7.7, 11.0, 15.6, 23.6, 80.0)]
    [8, 8, 10, 16, None, None]
    """
    fitting = [size for size in CARD_CLASSES_GIB if size <= vram_gib + DRIVER_SHARE_GIB]
    size = max(fitting, default=CARD_CLASSES_GIB[0])
    return None if size == CARD_CLASSES_GIB[-1] else size


def wants_lean_optimizer(family: Family, vram_gib: float | None) -> bool:
    """Whether this card has no room for an optimizer's whole state beside this family's model."""
    size = None if vram_gib is None else card_class(vram_gib)
    return size is not None and size <= family.lean_optimizer_up_to_gib


def active_levers(family: Family, vram_gib: float | None, kind: str) -> Mapping[str, Lever]:
    """The levers that this card pulls, by preset key; of several for one key, the smallest card's."""
    size = None if vram_gib is None else card_class(vram_gib)
    if size is None:
        return {}
    fitting = [lever for lever in family.levers if size <= lever.up_to_gib and kind in lever.kinds]
    return {lever.key: lever for lever in sorted(fitting, key=lambda lever: -lever.up_to_gib)}
