"""When the text encoder is trained, for how long, how fast and on what."""

from __future__ import annotations

from lora_forge.datasets.notes import counted
from lora_forge.findings import Severity
from lora_forge.plan.model import Plan
from lora_forge.plan.rule import Context, Rule

FEW_IMAGES = 15
LONGEST_SHARE = 0.5
SOUND_RATIO = (0.3, 0.5)


def _trains(plan: Plan) -> bool:
    return plan.text_encoder.mode.value != "frozen"


def untrainable(plan: Plan, context: Context) -> str | None:
    if not _trains(plan) or context.family.trainable_text_encoders:
        return None
    has = " and ".join(context.family.text_encoders)
    return f"{context.family.title} has {has} alone, on which the engine lays no LoRA: nothing of it would train"


def reg_missing(plan: Plan, context: Context) -> str | None:
    if not plan.text_encoder.reg_required.value or plan.data.reg_images.value or untrainable(plan, context):
        return None
    return f"text_encoder.mode {plan.text_encoder.mode.value} needs regularization images, and there are none"


def switch_late(plan: Plan, context: Context) -> str | None:
    share = context.preset.text_encoder.switch_at
    if plan.text_encoder.switch_step.value is None or share <= LONGEST_SHARE:
        return None
    return f"the text encoder would train for {share:.0%} of the steps; half of them is the most"


def switch_at_once(plan: Plan, _context: Context) -> str | None:
    if plan.text_encoder.switch_step.value != 0:
        return None
    return f"of {plan.schedule.steps.value} steps the text encoder would train in none"


def trained_throughout(plan: Plan, _context: Context) -> str | None:
    if plan.text_encoder.mode.value != "trained":
        return None
    return "the text encoder trains to the end; frozen after half of the steps it keeps prompts flexible"


def rate_zero(plan: Plan, _context: Context) -> str | None:
    if not _trains(plan) or plan.optimizer.text_encoder_learning_rate.value != 0:
        return None
    return "a text-encoder rate of 0 still makes, runs and saves its LoRA, and its gradients spoil the clipping"


def rate_ratio(plan: Plan, _context: Context) -> str | None:
    rate = plan.optimizer.text_encoder_learning_rate.value
    if not rate or SOUND_RATIO[0] <= rate / plan.optimizer.learning_rate.value + 1e-9 <= SOUND_RATIO[1] + 2e-9:
        return None
    ratio = rate / plan.optimizer.learning_rate.value
    return f"the text encoder learns at {ratio:g} × the rate of the image model; 0.3 to 0.5 is sound"


def few_images(plan: Plan, _context: Context) -> str | None:
    images = plan.data.images.value
    if not _trains(plan) or not images or images >= FEW_IMAGES:
        return None
    few = counted(images, "image")
    return f"a text encoder trained on {few} over-fits to the captions; below {FEW_IMAGES} keep it frozen"


def reg_count(plan: Plan, _context: Context) -> str | None:
    count = plan.data.reg_images.value
    if not count or 20 <= count <= 50:
        return None
    return f"{counted(count, 'regularization image')}; 20 to 50 generic ones of the class serve best"


def several_rates(plan: Plan, _context: Context) -> str | None:
    if not _trains(plan) or plan.optimizer.name.value.lower() != "prodigy":
        return None
    return "Prodigy heeds the first learning rate alone, so the text encoder learns as fast as the image model"


ERROR, WARNING = Severity.ERROR, Severity.WARNING
MODE, RATE = "text_encoder.mode", "optimizer.text_encoder_learning_rate"
SOURCE = "docs/presets.md, text encoders"
FROZEN = "--set text_encoder.mode=frozen"
REG = f"--reg DIR with 20 to 50 pictures of the class, or {FROZEN}"
EARLIER = "--set text_encoder.switch_at=0.5"
PHASES = "--set text_encoder.mode=two-phase"
RATIO = "--set text_encoder.learning_rate_ratio=0.4"

TEXT_ENCODER_RULES: tuple[Rule, ...] = (
    Rule("text-encoder-untrainable", ERROR, MODE, "fn:71", "ignores", untrainable, FROZEN),
    Rule("reg-missing", ERROR, MODE, SOURCE, "obeys", reg_missing, REG),
    Rule("switch-late", ERROR, "text_encoder.switch_at", SOURCE, "", switch_late, EARLIER),
    Rule("switch-at-once", ERROR, "text_encoder.switch_at", SOURCE, "", switch_at_once, "more steps"),
    Rule("text-encoder-throughout", WARNING, MODE, SOURCE, "obeys", trained_throughout, PHASES),
    Rule("text-encoder-rate-zero", ERROR, RATE, "tn:733, networks/lora.py", "obeys", rate_zero, FROZEN),
    Rule("text-encoder-rate", WARNING, RATE, SOURCE, "obeys", rate_ratio, RATIO),
    Rule("text-encoder-few-images", WARNING, MODE, SOURCE, "obeys", few_images, FROZEN),
    Rule("text-encoder-prodigy", WARNING, "optimizer.name", "tu:4990", "misreads", several_rates, "AdamW8bit"),
    Rule("reg-count", WARNING, "reg", "docs/presets.md", "obeys", reg_count, "20 to 50 generic pictures of the class"),
)
