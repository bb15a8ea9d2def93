"""From what was written to what is decided, one dotted key at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from lora_forge.families.family import Family, FamilyDefault, Lever
from lora_forge.plan.model import Decided
from lora_forge.plan.reasons import DEFAULTS
from lora_forge.policies.policy import Sized, Sizing
from lora_forge.presets.model import Preset
from lora_forge.settings import Origin, Source

BY_A_PERSON = {Source.PROJECT, Source.ENV, Source.CLI}
"""What a person wrote for this run stands before folders, levers and policies."""

S = TypeVar("S")
T = TypeVar("T")


class Choices:
    """What a preset and everything written over it say, with the family and the policy behind them.

    Order, highest first: a value written where the policy is named or above; the
    policy; a value written below; the family; forge's default.
    """

    def __init__(
        self,
        preset: Preset,
        origins: Mapping[str, Origin],
        family: Family,
        sizing: Sizing,
        levers: Mapping[str, Lever],
    ) -> None:
        self.preset = preset
        self.origins = origins
        self.family = family
        self.sizing = sizing
        self.levers = levers
        self._policy_layer = origins["policy"].layer if "policy" in origins else -1

    def value(self, key: str) -> object:
        """What the merged preset holds at ``key``, written or default."""
        found: object = self.preset
        for part in key.split("."):
            found = getattr(found, part)
        return found

    def of(self, key: str) -> Decided[object]:
        """The decision for a key that no policy sizes."""
        before = self._unlevered(key)
        lever = self.levers.get(key)
        if lever is None or before.source in BY_A_PERSON:
            return before
        if lever.cap and not _exceeds(before.value, lever.value):
            return before
        return Decided(value=lever.value, source=Source.MACHINE, why=lever.why)

    def _unlevered(self, key: str) -> Decided[object]:
        if key in self.origins:
            return self._as_written(key)
        default = self._family_default(key)
        if default:
            return Decided(value=default.value, source=Source.FAMILY, why=default.why)
        return Decided(value=self.value(key), source=Source.DEFAULT, why=DEFAULTS.get(key, "forge's default"))

    def sized(self, key: str, by_policy: Sized[int] | Sized[float] | None) -> Decided[object]:
        """The decision for a key that the policy may size."""
        if by_policy is None or self.outranks_policy(key):
            return self.of(key)
        return Decided(value=by_policy.value, source=Source.POLICY, why=by_policy.why)

    def outranks_policy(self, key: str) -> bool:
        """Whether ``key`` is written where the policy is named, or above."""
        return key in self.origins and self.origins[key].layer >= self._policy_layer

    def is_written(self, key: str) -> bool:
        return key in self.origins

    def _as_written(self, key: str) -> Decided[object]:
        written = self.origins[key].written
        why = written.why or f"written in {written.where}"
        return Decided(value=self.value(key), source=written.source, why=why, where=written.where)

    def _family_default(self, key: str) -> FamilyDefault | None:
        optimizer = self.preset.optimizer.name.lower()
        fitting = [d for d in self.family.defaults if d.key == key and d.optimizer in (None, optimizer)]
        return fitting[-1] if fitting else None


def _exceeds(value: object, limit: float) -> bool:
    return isinstance(value, (int, float)) and value > limit


def because(decided: Decided[S], value: T, source: Source, why: str) -> Decided[T]:
    """The same place, another value: a decision that had to give way."""
    return Decided(value=value, source=source, why=why, where=decided.where)
