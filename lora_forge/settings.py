"""Where a written value came from, and which one wins.

A setting is a dotted preset key (``network.rank``). Several layers may write it;
the layers are ordered, lowest first:

    default < family < preset it extends < preset < user config < forge.yaml < environment < command line

A policy stands at the layer that names it: it overrides what lower layers wrote
and yields to what is written in the same layer or above. So a preset that names
a policy and a rank keeps the rank, and ``--set policy=tiers`` swaps the whole sizing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Union

Scalar = Union[str, int, float, bool, None]
Value = Union[Scalar, list[Scalar], dict[str, Scalar]]
"""What YAML, the environment or ``--set`` can say for one setting."""


class Source(str, Enum):
    """Who decided a value; the names are part of the JSON contract."""

    DEFAULT = "DEFAULT"
    FAMILY = "FAMILY"
    PRESET = "PRESET"
    POLICY = "POLICY"
    DATASET = "DATASET"
    MACHINE = "MACHINE"
    PROJECT = "PROJECT"
    ENV = "ENV"
    CLI = "CLI"


@dataclass(frozen=True)
class Written:
    """One value as somebody wrote it: ``where`` is ``file:line:column`` or a flag, ``why`` its comment."""

    value: Value
    source: Source
    where: str = ""
    why: str = ""
    parts: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Where each part of a list or table stands, by its index or key; empty where it is all one place."""

    def place(self, part: str) -> str:
        """Where one part of the value stands, as near as is known."""
        return self.parts.get(part, self.where)


@dataclass(frozen=True)
class Layer:
    """All that one place wrote, by dotted key. A value of None un-writes lower layers."""

    source: Source
    label: str
    values: Mapping[str, Written] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """The winning value's place: its layer's index (0 is the lowest) and how it was written."""

    layer: int
    written: Written


def winners(layers: Iterable[Layer]) -> dict[str, Origin]:
    """The highest layer's word for every key; keys un-written by None are left out.

    >>> low = Layer(Source.PRESET, "low", {"network.rank": Written(32, Source.PRESET)})
    >>> high = Layer(Source.PRESET, "high", {"network.rank": Written(None, Source.PRESET)})
    >>> winners([low]).keys() == {"network.rank"}, winners([low, high])
    (True, {})
    """
    found: dict[str, Origin] = {}
    for index, layer in enumerate(layers):
        for key, written in layer.values.items():
            found[key] = Origin(index, written)
    return {key: origin for key, origin in found.items() if origin.written.value is not None}


def nest(values: Mapping[str, Value]) -> dict[str, object]:
    """Turn dotted keys into nested tables.

    >>> nest({"network.rank": 16, "seed": 1})
    {'network': {'rank': 16}, 'seed': 1}
    """
    tree: dict[str, object] = {}
    for key, value in values.items():
        *sections, leaf = key.split(".")
        table = tree
        for section in sections:
            inner = table.setdefault(section, {})
            if not isinstance(inner, dict):  # `network: 16` beside `network.rank`
                inner = table[section] = {}
            table = inner
        table[leaf] = value
    return tree
