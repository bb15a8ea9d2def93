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
from lora_forge.plan.model import Decided, Plan
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
    judges_written: bool = False
    """Whether it judges what somebody wrote, even where something else was decided."""


def place(rule: Rule, plan: Plan, context: Context) -> str:
    """Where the judged value comes from: the file and line, or the flag, of its writer; the key where nobody wrote it.

    A key may be written in one place and decided by the policy, the family or the
    machine all the same: then its writer is not to blame.
    """
    leaf = None if rule.judges_written else _leaf(plan, rule.where)
    return written_at(rule.where, context) if leaf is None else leaf.where or rule.where


def written_at(key: str, context: Context, part: str = "") -> str:
    """The file and line that wrote the key, or one part of its table, where somebody did."""
    origin = context.choices.origins.get(key)
    return origin.written.place(part) if origin and origin.written.where else key


def _leaf(plan: Plan, key: str) -> Decided[object] | None:
    """The plan's decision at a dotted key; None for what a plan does not repeat."""
    found: object = plan
    for part in key.replace("engine.options", "engine_options").split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, Decided) else None
