"""The engine's rules and the field's advice, as a table of findings.

One row is one rule with its source. An error stops a run; what the engine would
silently ignore is a warning, and is not sent.
"""

from __future__ import annotations

from collections.abc import Iterator

from lora_forge.findings import Finding
from lora_forge.plan.model import Plan
from lora_forge.plan.rule import Context, Rule, place
from lora_forge.plan.rules_advice import ADVICE
from lora_forge.plan.rules_buckets import BUCKET_RULES
from lora_forge.plan.rules_ignored import check_ignored
from lora_forge.plan.rules_machine import MACHINE_RULES
from lora_forge.plan.rules_memory import MEMORY_RULES
from lora_forge.plan.rules_models import check_models
from lora_forge.plan.rules_network import NETWORK_RULES
from lora_forge.plan.rules_optimizer import OPTIMIZER_RULES
from lora_forge.plan.rules_options import OPTION_RULES
from lora_forge.plan.rules_run import RUN_RULES
from lora_forge.plan.rules_schedule import SCHEDULE_RULES
from lora_forge.plan.rules_text_encoder import TEXT_ENCODER_RULES


def all_rules() -> tuple[Rule, ...]:
    """Every rule about one plan, in the order in which they are said."""
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
    for rule in all_rules():
        message = rule.check(plan, context)
        if message:
            yield Finding(rule.code, rule.severity, message, rule.hint, place(rule, plan, context))
    yield from check_models(context.family, context.models)
    yield from check_ignored(plan, context)
