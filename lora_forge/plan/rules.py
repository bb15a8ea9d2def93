"""The engine's rules and the field's advice, as a table of findings.

One row is one rule with its source. An error stops a run; what the engine would
silently ignore is a warning, and is not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lora_forge.datasets.facts import DatasetFacts
from lora_forge.families.family import Family
from lora_forge.findings import Finding, Severity
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


@dataclass(frozen=True)
class Rule:
    """``source`` names the engine's file and line (tn, tu, fn as in docs/engine-rules.md) or the advice."""

    code: str
    severity: Severity
    where: str
    source: str
    check: Check
    hint: str = ""


def check_plan(plan: Plan, context: Context) -> Iterator[Finding]:
    """Every broken rule at once, in the order of the table."""
    from lora_forge.plan.rules_advice import ADVICE
    from lora_forge.plan.rules_engine import ENGINE_RULES
    from lora_forge.plan.rules_models import check_models

    for rule in (*ENGINE_RULES, *ADVICE):
        message = rule.check(plan, context)
        if message:
            yield Finding(
                code=rule.code,
                severity=rule.severity,
                message=message,
                hint=rule.hint,
                where=_place(rule.where, context),
            )
    yield from check_models(context.family, context.models)
    yield from _inert(context)


def _place(where: str, context: Context) -> str:
    """The file and line that wrote the key, where somebody did."""
    origin = context.choices.origins.get(where)
    return origin.written.where if origin and origin.written.where else where


def _inert(context: Context) -> Iterator[Finding]:
    """What the preset says and the engine ignores for this family: shown, and not sent."""
    inert: Mapping[str, str] = context.family.inert
    for key, why in inert.items():
        if context.choices.is_written(key):
            value = context.choices.value(key)
            yield Finding(
                code="no-effect",
                severity=Severity.WARNING,
                message=f"{key} = {value} has no effect on {context.family.title}: {why}; it is not sent",
                hint="",
                where=_place(key, context),
            )
