"""What a rule is: one row with its source, and what it may look at beside the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from lora_forge.datasets.facts import DatasetFacts
from lora_forge.families.family import Family
from lora_forge.findings import Severity
from lora_forge.machine import Machine
from lora_forge.models.facts import ModelFacts
from lora_forge.plan.choices import Choices
from lora_forge.plan.model import Plan
from lora_forge.policies.policy import Policy
from lora_forge.presets.model import Preset


@dataclass(frozen=True)
class Context:
    """What a rule may look at beside the plan."""

    preset: Preset
    choices: Choices
    family: Family
    policy: Policy
    dataset: DatasetFacts
    models: Mapping[str, ModelFacts]
    machine: Machine


Check = Callable[[Plan, Context], "str | None"]
"""The message where the rule is broken, else None."""

Fate = Literal["refuses", "fails", "ignores", "misreads", "obeys", ""]
"""What the engine does with a plan that breaks the rule.

It refuses at the start, fails later, ignores what was asked, does something else
instead, or obeys and gets what nobody wanted; empty where the rule is forge's own.
"""


class Rule(NamedTuple):
    """``source`` names the engine's file and line (as in docs/engine-rules.md) or the document behind the advice."""

    code: str
    severity: Severity
    where: str
    source: str
    engine: Fate
    check: Check
    hint: str = ""


def place(where: str, context: Context) -> str:
    """The file and line that wrote the key, where somebody did."""
    origin = context.choices.origins.get(where)
    return origin.written.where if origin and origin.written.where else where
