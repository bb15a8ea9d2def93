"""Steps, warm-up and scheduler."""

from __future__ import annotations

from lora_forge.datasets.notes import counted
from lora_forge.findings import Severity
from lora_forge.plan.model import Plan
from lora_forge.plan.optimizers import is_schedule_free
from lora_forge.plan.rule import Context, Rule
from lora_forge.presets.keys import meant
from lora_forge.presets.model import MOST_STEPS
from lora_forge.settings import Source

USABLE_SCHEDULERS = (
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "cosine_with_min_lr",
    "warmup_stable_decay",
)
"""Those that run at the pin; the others named by the engine fail or need arguments of their own."""

MUCH_WARMUP = 0.5


def _is_empty(plan: Plan) -> bool:
    """Epochs of no pictures: that there are none was said, and their 0 steps prove nothing about the schedule."""
    return not plan.schedule.steps.value


def scheduler_known(plan: Plan, _context: Context) -> str | None:
    name = plan.optimizer.scheduler.value
    if name in USABLE_SCHEDULERS:
        return None
    return f"scheduler {name!r} does not run at the engine's pin{meant(name, USABLE_SCHEDULERS)}"


def scheduler_ratio_missing(plan: Plan, _context: Context) -> str | None:
    options = plan.engine_options.value
    if plan.optimizer.scheduler.value != "cosine_with_min_lr" or options.get("lr_scheduler_min_lr_ratio") is not None:
        return None
    return "scheduler cosine_with_min_lr needs to know how low the rate may fall, and nothing says it"


def scheduler_replaced(plan: Plan, _context: Context) -> str | None:
    name = plan.engine_options.value.get("lr_scheduler_type")
    if not name:
        return None
    return f"lr_scheduler_type {name} replaces scheduler {plan.optimizer.scheduler.value}"


def replaced_scheduler_warmup(plan: Plan, _context: Context) -> str | None:
    warmup = plan.schedule.warmup_steps.value
    if not plan.engine_options.value.get("lr_scheduler_type") or not warmup:
        return None
    return f"a scheduler of one's own takes no warm-up, and warmup_steps is {warmup}"


def constant_with_warmup_steps(plan: Plan, _context: Context) -> str | None:
    warmup = plan.schedule.warmup_steps.value
    if plan.optimizer.scheduler.value != "constant" or not warmup or is_schedule_free(plan.optimizer.name.value):
        return None
    return f"scheduler constant takes no warm-up, and warmup_steps is {warmup}"


def warmup_outlasts_run(plan: Plan, _context: Context) -> str | None:
    warmup, steps = plan.schedule.warmup_steps.value, plan.schedule.steps.value
    if warmup < steps or _is_empty(plan):
        return None
    rate = plan.optimizer.learning_rate.value
    return f"warm-up takes {warmup} of {counted(steps, 'step')}: the learning rate never reaches {rate:g}"


def warmup_long(plan: Plan, _context: Context) -> str | None:
    warmup, steps = plan.schedule.warmup_steps.value, plan.schedule.steps.value
    if not steps * MUCH_WARMUP < warmup < steps:
        return None
    return f"warm-up takes {warmup} of {steps} steps, more than half of the run"


def steps_too_many(plan: Plan, _context: Context) -> str | None:
    """Written steps are bounded where they are read; epochs, repeats and images multiply."""
    steps = plan.schedule.steps.value
    if steps <= MOST_STEPS:
        return None
    return f"{steps:,} steps are more than the {MOST_STEPS:,} that a run may have"


def warmup_never_moves(plan: Plan, _context: Context) -> str | None:
    if plan.schedule.steps.value == 1 and plan.schedule.warmup_steps.value:
        return "the first warm-up step has learning rate 0, so one step would change nothing"
    return None


def unseen_images(plan: Plan, _context: Context) -> str | None:
    steps, epoch = plan.schedule.steps.value, plan.schedule.steps_per_epoch.value
    if steps >= epoch:
        return None
    end = "ends" if steps == 1 else "end"
    return f"{counted(steps, 'step')} {end} within the first epoch of {epoch}: some images are never seen"


def epochs_overruled(plan: Plan, context: Context) -> str | None:
    if not context.choices.is_written("schedule.epochs") or not plan.data.images.value:
        return None
    asked, given = context.choices.value("schedule.epochs"), plan.schedule.epochs.value
    if asked == given:
        return None
    steps = plan.schedule.steps.value
    are = "is" if steps == 1 else "are"
    return f"schedule.epochs = {asked} gives way to {counted(steps, 'step')}, which {are} {counted(given, 'epoch')}"


def checkpoints_none(plan: Plan, _context: Context) -> str | None:
    every, steps = plan.schedule.checkpoint_every.value, plan.schedule.steps.value
    if every < steps or _is_empty(plan):
        return None
    return (
        f"a checkpoint every {every} of {counted(steps, 'step')} means none before the end, and no pictures to compare"
    )


def folder_repeats_unused(plan: Plan, context: Context) -> str | None:
    """A kohya user's ``10_name`` says ten; a policy that sizes repeats itself says otherwise."""
    said = {s.folder.name: s.repeats for s in context.dataset.train_subsets if s.repeats is not None}
    used = plan.schedule.repeats.value
    other = [name for name, repeats in said.items() if isinstance(used, int) and repeats != used]
    if not other:
        return None
    are = "repeat is" if used == 1 else "repeats are"
    return f"{used} {are} used, as {_said_by(plan)}, not those of {', '.join(other)}"


def _said_by(plan: Plan) -> str:
    """Who decided the repeats, by a name that a person gave it."""
    repeats = plan.schedule.repeats
    if repeats.source is Source.POLICY:
        return f"the policy {plan.policy.value} says"
    if repeats.source is Source.PRESET:
        return f"the preset {plan.preset.value} says"
    return f"{repeats.where} says" if repeats.where else "forge does where nothing is said"


ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
GSF = "tu:5198 get_scheduler_fix"
SCHEDULER, WARMUP, STEPS = "optimizer.scheduler", "schedule.warmup_steps", "schedule.steps"
ONE_OF = "one of " + ", ".join(USABLE_SCHEDULERS)
RATIO = "--set 'engine.options={lr_scheduler_min_lr_ratio: 0.1}'"
WITH_WARMUP = "--set optimizer.scheduler=constant_with_warmup"
NO_WARMUP = "--set schedule.warmup_steps=0"
LESS_WARMUP = "--set schedule.warmup_steps=0, or more steps"

FOLDER_HINT = "--set schedule.repeats=N, or --set policy=epochs --set schedule.epochs=N"

SCHEDULE_RULES: tuple[Rule, ...] = (
    Rule("folder-repeats", INFO, "schedule.repeats", "docs/presets.md", "", folder_repeats_unused, FOLDER_HINT),
    Rule("scheduler-unknown", ERROR, SCHEDULER, GSF, "refuses", scheduler_known, ONE_OF),
    Rule("scheduler-min-rate", ERROR, SCHEDULER, GSF, "refuses", scheduler_ratio_missing, RATIO),
    Rule("scheduler-replaced", WARNING, "engine.options", GSF, "obeys", scheduler_replaced, "leave one of them out"),
    Rule("scheduler-own-warmup", ERROR, WARMUP, GSF, "refuses", replaced_scheduler_warmup, NO_WARMUP),
    Rule("constant-warmup", ERROR, WARMUP, GSF, "refuses", constant_with_warmup_steps, WITH_WARMUP),
    Rule("warmup-outlasts-run", WARNING, WARMUP, "arithmetic", "obeys", warmup_outlasts_run, LESS_WARMUP),
    Rule("warmup-long", WARNING, WARMUP, "arithmetic", "obeys", warmup_long, LESS_WARMUP),
    Rule("warmup-only", ERROR, STEPS, "tn, the training loop", "obeys", warmup_never_moves, "at least 2 steps"),
    Rule("steps-too-many", ERROR, STEPS, "presets/model.py", "", steps_too_many, "fewer epochs or repeats"),
    Rule("unseen-images", WARNING, STEPS, "arithmetic", "obeys", unseen_images, "more steps, or fewer repeats"),
    Rule(
        "epochs-overruled",
        WARNING,
        "schedule.epochs",
        "the plan",
        "",
        epochs_overruled,
        "leave out schedule.steps",
        judges_written=True,
    ),
    Rule("no-checkpoints", INFO, "schedule.checkpoint_every", "arithmetic", "obeys", checkpoints_none),
)
