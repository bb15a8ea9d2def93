"""What was written and has no effect: one finding a key, and nothing of it is sent."""

from __future__ import annotations

from collections.abc import Iterator

from lora_forge.findings import Finding, warning
from lora_forge.plan.ignored import ignored_arguments, ignored_options, ignored_settings
from lora_forge.plan.model import Plan
from lora_forge.plan.rule import Context, written_at


def check_ignored(plan: Plan, context: Context) -> Iterator[Finding]:
    family = context.family
    for key, why in ignored_settings(plan, family).items():
        if context.choices.is_written(key):
            value = context.choices.value(key)
            yield _ignored("no-effect", f"{key} = {value}", why, written_at(key, context), context)
    for key, why in ignored_options(plan, family).items():
        value = plan.engine_options.value[key]
        yield _ignored("option-no-effect", f"{key} = {value}", why, written_at("engine.options", context, key), context)
    for key, why in ignored_arguments(plan, family).items():
        value = plan.network.args.value[key]
        yield _ignored("argument-no-effect", f"{key} = {value}", why, written_at("network.args", context, key), context)


def _ignored(code: str, what: str, why: str, where: str, context: Context) -> Finding:
    return warning(code, f"{what} has no effect on {context.family.title} here: {why}; it is not sent", where=where)
