"""The optimizer's name, its arguments and its learning rate."""

from __future__ import annotations

import math

from lora_forge.findings import Severity
from lora_forge.plan.model import Plan
from lora_forge.plan.optimizers import (
    NAMES,
    NOT_INSTALLED,
    arguments_of,
    is_known,
    is_schedule_free,
    wants_rate_near_one,
)
from lora_forge.plan.rule import Context, Rule
from lora_forge.presets.keys import meant

HIGHEST_RATE = 1e-2
LOWEST_RATE = 1e-7
LOWEST_FREE_RATE = 0.1
"""The engine itself warns below it (tu, get_optimizer)."""


def _name(plan: Plan) -> str:
    return plan.optimizer.name.value


def optimizer_known(plan: Plan, _context: Context) -> str | None:
    name = _name(plan)
    return None if is_known(name) else f"the engine has no optimizer {name!r}{meant(name, NAMES)}"


def optimizer_package(plan: Plan, _context: Context) -> str | None:
    if not _name(plan).lower().startswith(NOT_INSTALLED):
        return None
    return f"{_name(plan)} needs the package dadaptation, which is not in the engine's locked environment"


def optimizer_arguments(plan: Plan, _context: Context) -> str | None:
    known = arguments_of(_name(plan))
    unknown = [key for key in plan.optimizer.args.value if known is not None and key not in known]
    return f"{_name(plan)} takes no {', '.join(unknown)}" if unknown else None


def optimizer_equals(plan: Plan, _context: Context) -> str | None:
    wrong = [
        key for key, value in plan.optimizer.args.value.items() if "=" in f"{key}{value}" or not key.isidentifier()
    ]
    return f"optimizer.args.{wrong[0]} cannot be written as key=value with one =" if wrong else None


def optimizer_not_finite(plan: Plan, _context: Context) -> str | None:
    values = plan.optimizer.args.value.items()
    wrong = [key for key, v in values if isinstance(v, float) and not math.isfinite(v)]
    return f"optimizer.args.{wrong[0]} is no number that the engine can read" if wrong else None


def adafactor_relative(plan: Plan, _context: Context) -> str | None:
    if _name(plan).lower() != "adafactor" or plan.optimizer.args.value.get("relative_step") is False:
        return None
    return "Adafactor without relative_step=False discards the learning rate and the scheduler"


def adafactor_warmup_init(plan: Plan, _context: Context) -> str | None:
    args = plan.optimizer.args.value
    if _name(plan).lower() != "adafactor" or not args.get("warmup_init") or args.get("relative_step") is not False:
        return None
    return "Adafactor's warmup_init turns relative_step on again, which discards learning rate and scheduler"


def schedule_free(plan: Plan, _context: Context) -> str | None:
    scheduler, warmup = plan.optimizer.scheduler.value, plan.schedule.warmup_steps.value
    if not is_schedule_free(_name(plan)) or (scheduler == "constant" and not warmup):
        return None
    return f"{_name(plan)} has no scheduler: {scheduler} and {warmup} warm-up steps are ignored"


def free_rate(plan: Plan, _context: Context) -> str | None:
    rate = plan.optimizer.learning_rate.value
    if not wants_rate_near_one(_name(plan)) or rate > LOWEST_FREE_RATE:
        return None
    return f"{_name(plan)} finds the rate itself, and scales what it finds by {rate:g}: it would hardly learn"


def rate_extreme(plan: Plan, _context: Context) -> str | None:
    rate = plan.optimizer.learning_rate.value
    if LOWEST_RATE <= rate <= HIGHEST_RATE or wants_rate_near_one(_name(plan)):
        return None
    fate = "diverges" if rate > HIGHEST_RATE else "changes next to nothing"
    return f"a learning rate of {rate:g} {fate} on every base model"


ERROR, WARNING = Severity.ERROR, Severity.WARNING
NAME, ARGS, RATE = "optimizer.name", "optimizer.args", "optimizer.learning_rate"
GO = "tu:4857 get_optimizer"
ONE_OF = "one of " + ", ".join(NAMES)
FIXED = "--set 'optimizer.args={relative_step: false, scale_parameter: false, warmup_init: false}'"
NO_ARGS = "--set optimizer.args={} where they were meant for another optimizer, else look the name up"
FREE = "--set optimizer.scheduler=constant --set schedule.warmup_steps=0"

OPTIMIZER_RULES: tuple[Rule, ...] = (
    Rule("optimizer-unknown", ERROR, NAME, GO, "refuses", optimizer_known, ONE_OF),
    Rule("optimizer-package", ERROR, NAME, GO, "refuses", optimizer_package, "Prodigy, which is installed"),
    Rule("optimizer-argument", ERROR, ARGS, GO, "refuses", optimizer_arguments, NO_ARGS),
    Rule("optimizer-equals", ERROR, ARGS, "tu:4900", "refuses", optimizer_equals, "a plain name and value"),
    Rule("optimizer-infinite", ERROR, ARGS, "tu:4901", "refuses", optimizer_not_finite, "a finite number"),
    Rule("adafactor-relative-step", ERROR, ARGS, "tu:5047-5093", "misreads", adafactor_relative, FIXED),
    Rule("adafactor-warmup-init", ERROR, ARGS, "tu:5051", "misreads", adafactor_warmup_init, FIXED),
    Rule("schedule-free", WARNING, "optimizer.scheduler", "tu:5203", "ignores", schedule_free, FREE),
    Rule("rate-prodigy", WARNING, RATE, GO, "obeys", free_rate, "--set optimizer.learning_rate=1.0"),
    Rule("rate-extreme", WARNING, RATE, "docs/presets.md", "obeys", rate_extreme, "--set optimizer.learning_rate=1e-4"),
)
