"""The engine's rules and the field's advice, as a table of findings.

One row is one rule with its source. An error stops a run; what the engine would
silently ignore is a warning, and is not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

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


def all_rules() -> tuple[Rule, ...]:
    """Every rule about one plan, in the order in which they are said."""
    from lora_forge.plan.rules_advice import ADVICE
    from lora_forge.plan.rules_buckets import BUCKET_RULES
    from lora_forge.plan.rules_machine import MACHINE_RULES
    from lora_forge.plan.rules_memory import MEMORY_RULES
    from lora_forge.plan.rules_network import NETWORK_RULES
    from lora_forge.plan.rules_optimizer import OPTIMIZER_RULES
    from lora_forge.plan.rules_options import OPTION_RULES
    from lora_forge.plan.rules_run import RUN_RULES
    from lora_forge.plan.rules_schedule import SCHEDULE_RULES
    from lora_forge.plan.rules_text_encoder import TEXT_ENCODER_RULES

    return (
        *RUN_RULES,
        *NETWORK_RULES,
        *BUCKET_RULES,
        *SCHEDULE_RULES,
        *OPTIMIZER_RULES,
        *MEMORY_RULES,
        *TEXT_ENCODER_RULES,
        *OPTION_RULES,
        *MACHINE_RULES,
        *ADVICE,
    )


def check_plan(plan: Plan, context: Context) -> Iterator[Finding]:
    """Every broken rule at once, in the order of the table."""
    from lora_forge.plan.rules_ignored import check_ignored
    from lora_forge.plan.rules_models import check_models

    for rule in all_rules():
        message = rule.check(plan, context)
        if message:
            yield Finding(rule.code, rule.severity, message, rule.hint, place(rule.where, context))
    yield from check_models(context.family, context.models)
    yield from check_ignored(plan, context)


def place(where: str, context: Context) -> str:
    """The file and line that wrote the key, where somebody did."""
    origin = context.choices.origins.get(where)
    return origin.written.where if origin and origin.written.where else where
