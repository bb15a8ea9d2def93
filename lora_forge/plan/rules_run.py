"""Whether the preset, the family, the trigger and the regularization images go together."""

from __future__ import annotations

from lora_forge.findings import Severity
from lora_forge.plan.model import Plan
from lora_forge.plan.rule import Context, Rule

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


def family_unknown_to_preset(plan: Plan, context: Context) -> str | None:
    if {plan.family.value, context.family.like} & set(context.preset.families):
        return None
    return f"preset {context.preset.name} is made for {', '.join(context.preset.families)}, not for {plan.family.value}"


def trigger_missing(plan: Plan, context: Context) -> str | None:
    if plan.trigger.value or not context.preset.trigger_required or not plan.data.images.value:
        return None
    return (
        f"preset {context.preset.name} needs a trigger, and neither a flag, forge.yaml, the folder nor the "
        "captions as one name it"
    )


def no_steps(plan: Plan, context: Context) -> str | None:
    choices = context.choices
    if choices.sizing.steps or choices.is_written("schedule.steps") or choices.is_written("schedule.epochs"):
        return None
    return f"policy {plan.policy.value} leaves the steps to the preset, and nothing says how many"


def reg_demanded(plan: Plan, context: Context) -> str | None:
    if context.preset.reg_images != "required" or plan.data.reg_images.value:
        return None
    return f"preset {context.preset.name} needs regularization images, and there are none"


def reg_recommended(plan: Plan, context: Context) -> str | None:
    if context.preset.reg_images != "recommended" or plan.data.reg_images.value:
        return None
    return f"preset {context.preset.name} is better with regularization images, and there are none"


def family_unverified(_plan: Plan, context: Context) -> str | None:
    if context.family.verified:
        return None
    return f"{context.family.title} is rendered and checked against the engine's options, but not yet seen to train"


FAMILY_HINT = "--family with one of the preset's"
TRIGGER_HINT = "--trigger TOKEN, a made-up word that leads every caption"
REG_HINT = "--reg DIR with 20 to 50 pictures of the class"

RUN_RULES: tuple[Rule, ...] = (
    Rule("preset-family", ERROR, "families", "the preset", "", family_unknown_to_preset, FAMILY_HINT),
    Rule("trigger-missing", ERROR, "trigger", "the preset", "", trigger_missing, TRIGGER_HINT),
    Rule("no-steps", ERROR, "schedule.steps", "the preset", "", no_steps, "--set schedule.steps=1500"),
    Rule("reg-demanded", ERROR, "reg_images", "the preset", "", reg_demanded, REG_HINT),
    Rule("reg-recommended", INFO, "reg", "docs/presets.md", "", reg_recommended, REG_HINT),
    Rule("family-unverified", WARNING, "family", "docs/LOG.md", "", family_unverified, "try it with few steps first"),
)
