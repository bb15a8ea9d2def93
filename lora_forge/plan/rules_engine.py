"""What the engine would refuse, ignore or get wrong, one row a rule.

Sources: tn = train_network.py, tu = library/train_util.py, fn = flux_train_network.py,
sn = sdxl_train_network.py, at the pinned commit.
"""

from __future__ import annotations

from lora_forge.findings import Severity
from lora_forge.plan.buckets import round_bounds
from lora_forge.plan.model import Plan
from lora_forge.plan.rules import Context, Rule

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


def family_unknown_to_preset(plan: Plan, context: Context) -> str | None:
    if plan.family.value in context.preset.families:
        return None
    return f"preset {context.preset.name} is made for {', '.join(context.preset.families)}, not for {plan.family.value}"


def network_kind(plan: Plan, context: Context) -> str | None:
    kind = plan.network.kind.value
    if kind in context.family.network_modules:
        return None
    return f"the engine has no {kind} for {context.family.title}"


def min_bucket(plan: Plan, _context: Context) -> str | None:
    data = plan.data
    low, _ = round_bounds(data.min_bucket.value, data.max_bucket.value, data.bucket_step.value)
    if low <= data.resolution.value:
        return None
    return f"the smallest bucket side {low} is larger than the resolution {data.resolution.value}"


def max_bucket(plan: Plan, _context: Context) -> str | None:
    data = plan.data
    _, high = round_bounds(data.min_bucket.value, data.max_bucket.value, data.bucket_step.value)
    if high >= data.resolution.value:
        return None
    return f"the largest bucket side {high} is smaller than the resolution {data.resolution.value}"


def bucket_step(plan: Plan, context: Context) -> str | None:
    step, divisor = plan.data.bucket_step.value, context.family.bucket_divisor
    return (
        f"a bucket step of {step} is no multiple of {divisor}, which {context.family.title} needs"
        if step % divisor
        else None
    )


def no_steps(plan: Plan, context: Context) -> str | None:
    choices = context.choices
    if choices.sizing.steps or choices.is_written("schedule.steps") or choices.is_written("schedule.epochs"):
        return None
    return f"policy {plan.policy.value} leaves the steps to the preset, and nothing says how many"


def scheduler_known(plan: Plan, _context: Context) -> str | None:
    name = plan.optimizer.scheduler.value
    return None if name in USABLE_SCHEDULERS else f"scheduler {name!r} does not run at the engine's pin"


def constant_with_warmup_steps(plan: Plan, _context: Context) -> str | None:
    warmup = plan.schedule.warmup_steps.value
    if plan.optimizer.scheduler.value != "constant" or not warmup:
        return None
    return f"scheduler constant takes no warm-up, and warmup_steps is {warmup}"


def warmup_outlasts_run(plan: Plan, _context: Context) -> str | None:
    warmup, steps = plan.schedule.warmup_steps.value, plan.schedule.steps.value
    if warmup < steps:
        return None
    return f"warm-up takes {warmup} of {steps} steps: the learning rate never reaches {plan.optimizer.learning_rate.value:g}"


def warmup_never_moves(plan: Plan, _context: Context) -> str | None:
    if plan.schedule.steps.value == 1 and plan.schedule.warmup_steps.value:
        return "the first warm-up step has learning rate 0, so one step would change nothing"
    return None


def adafactor_relative(plan: Plan, _context: Context) -> str | None:
    if plan.optimizer.name.value.lower() != "adafactor" or plan.optimizer.args.value.get("relative_step") is False:
        return None
    return "Adafactor without relative_step=False discards the learning rate and the scheduler"


def swap_limit(plan: Plan, context: Context) -> str | None:
    swap, limit = plan.memory.blocks_to_swap.value, context.family.max_blocks_to_swap
    if not swap or limit is None or swap <= limit:
        return None
    return f"{swap} blocks to swap are more than {context.family.title}'s {limit}"


def huber_snr(plan: Plan, context: Context) -> str | None:
    loss = plan.loss
    if context.family.name != "flux" and "loss.guidance_scale" in context.family.inert:
        return None
    if loss.kind.value == "l2" or loss.huber_schedule.value in ("constant", "exponential"):
        return None
    return f"{loss.kind.value} loss with the engine's default schedule snr crashes on {context.family.title}"


def full_needs_mixed(plan: Plan, _context: Context) -> str | None:
    precision = plan.precision
    if precision.mixed.value == "no" and precision.fp8_base.value:
        return "an fp8 base needs mixed precision fp16 or bf16"
    return None


def two_phase_needs_reg(plan: Plan, _context: Context) -> str | None:
    if not plan.text_encoder.reg_required.value or plan.data.reg_images.value:
        return None
    return f"text_encoder.mode {plan.text_encoder.mode.value} needs regularization images, and there are none"


def trigger_missing(plan: Plan, context: Context) -> str | None:
    if plan.trigger.value or not context.preset.trigger_required or not plan.data.images.value:
        return None
    return f"preset {context.preset.name} needs a trigger, and neither a flag, forge.yaml, the folder nor the captions name one"


ERROR, WARNING = Severity.ERROR, Severity.WARNING

ENGINE_RULES: tuple[Rule, ...] = (
    Rule(
        "preset-family",
        ERROR,
        "families",
        "the preset",
        family_unknown_to_preset,
        "--family with one of the preset's",
    ),
    Rule("network-kind", ERROR, "network.kind", "networks/", network_kind, "--set network.kind=lora"),
    Rule(
        "trigger-missing",
        ERROR,
        "trigger",
        "the preset",
        trigger_missing,
        "--trigger TOKEN, a made-up word that leads every caption",
    ),
    Rule("no-steps", ERROR, "schedule.steps", "the preset", no_steps, "--set schedule.steps=1500"),
    Rule(
        "bucket-min",
        ERROR,
        "data.min_bucket",
        "tu:766",
        min_bucket,
        "lower data.min_bucket or raise data.resolution",
    ),
    Rule(
        "bucket-max",
        ERROR,
        "data.max_bucket",
        "tu:769",
        max_bucket,
        "raise data.max_bucket or lower data.resolution",
    ),
    Rule("bucket-step", ERROR, "data.bucket_step", "tn:175, sn:43", bucket_step, "--set data.bucket_step=64"),
    Rule(
        "scheduler-unknown",
        ERROR,
        "optimizer.scheduler",
        "tu get_scheduler_fix",
        scheduler_known,
        "one of " + ", ".join(USABLE_SCHEDULERS),
    ),
    Rule(
        "constant-warmup",
        ERROR,
        "schedule.warmup_steps",
        "tu get_scheduler_fix",
        constant_with_warmup_steps,
        "--set optimizer.scheduler=constant_with_warmup",
    ),
    Rule(
        "warmup-outlasts-run",
        WARNING,
        "schedule.warmup_steps",
        "arithmetic",
        warmup_outlasts_run,
        "--set schedule.warmup_steps=0 or more steps",
    ),
    Rule(
        "warmup-only",
        ERROR,
        "schedule.steps",
        "tn, the training loop",
        warmup_never_moves,
        "at least 2 steps",
    ),
    Rule(
        "adafactor-relative-step",
        ERROR,
        "optimizer.args",
        "tu:5047-5093",
        adafactor_relative,
        "--set 'optimizer.args={relative_step: false, scale_parameter: false, warmup_init: false}'",
    ),
    Rule("blocks-to-swap", ERROR, "memory.blocks_to_swap", "flux_models:972", swap_limit, "a smaller number"),
    Rule(
        "huber-schedule",
        ERROR,
        "loss.huber_schedule",
        "tu:6119",
        huber_snr,
        "--set loss.huber_schedule=constant",
    ),
    Rule("fp8-mixed", ERROR, "precision.mixed", "tn:829-839", full_needs_mixed, "--set precision.mixed=bf16"),
    Rule(
        "reg-missing",
        ERROR,
        "text_encoder.mode",
        "docs/presets.md, text encoders",
        two_phase_needs_reg,
        "--reg DIR with 20 to 50 pictures of the class, or --set text_encoder.mode=frozen",
    ),
)
