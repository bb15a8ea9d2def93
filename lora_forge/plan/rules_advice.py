"""What the field has learnt: nothing the engine would refuse, but worth saying before a night is spent."""

from __future__ import annotations

from typing import NamedTuple

from lora_forge.datasets.notes import counted
from lora_forge.findings import Severity
from lora_forge.plan.model import Plan
from lora_forge.plan.rule import Context, Rule

MOST_IDENTITY_RANK = 24
MOST_IDENTITY_REPEATS = 10
USUAL_ALPHA_RATIOS = (0.5, 1.0)
NIL = 1e-9
DILUTED_FROM = 60
FEW_STYLE = (8, 15)
OVERFITS = "over-fits: plastic skin, one pose (seen at rank 48 with 20 repeats)"


class ImageRange(NamedTuple):
    low: int
    high: int
    of: str


IMAGE_RANGES = {
    ("identity", "lora"): ImageRange(15, 30, "good pictures of varied angles, light and places"),
    ("identity", "loha"): ImageRange(10, 20, "sharp face shots"),
    ("style", "lora"): ImageRange(25, 60, "pictures in the style"),
    ("style", "lokr"): ImageRange(20, 50, "diverse subjects in one style"),
}
"""By subject and kind of network; kinds that are not named go by plain LoRA."""


def image_range(plan: Plan, context: Context) -> ImageRange | None:
    subject, kind = context.preset.subject, plan.network.kind.value
    return IMAGE_RANGES.get((subject, kind)) or IMAGE_RANGES.get((subject, "lora"))


def identity_rank(plan: Plan, context: Context) -> str | None:
    rank = plan.network.rank.value
    plain = plan.network.kind.value == "lora"
    if context.preset.subject != "identity" or not plain or rank <= MOST_IDENTITY_RANK:
        return None
    return f"rank {rank} on an identity {OVERFITS}"


def identity_repeats(plan: Plan, context: Context) -> str | None:
    repeats = plan.schedule.repeats.value
    most = repeats if isinstance(repeats, int) else max(repeats.values(), default=1)
    if context.preset.subject != "identity" or most <= MOST_IDENTITY_REPEATS:
        return None
    return f"{most} repeats on an identity: it {OVERFITS}"


def alpha_ratio(plan: Plan, _context: Context) -> str | None:
    unusual = _unusual(plan, plan.network.alpha.value, plan.network.rank.value)
    return f"alpha/rank is {unusual}" if unusual else None


def conv_alpha_ratio(plan: Plan, context: Context) -> str | None:
    """Only where it is a pair of its own: one that follows the other has its finding already."""
    network = plan.network
    rank, alpha, linear = network.conv_rank.value, network.conv_alpha.value, network.alpha.value / network.rank.value
    if rank is None or alpha is None or "network.conv_rank" in context.family.inert or abs(alpha / rank - linear) < NIL:
        return None
    unusual = _unusual(plan, alpha, rank)
    return f"conv_alpha/conv_rank is {unusual}" if unusual else None


def _unusual(plan: Plan, alpha: float, rank: int) -> str:
    ratio, rate = alpha / rank, plan.optimizer.learning_rate.value
    if any(abs(ratio - usual) < NIL for usual in USUAL_ALPHA_RATIOS):
        return ""
    return f"{ratio:g}, an unusual pair: it learns as if the rate were {rate * ratio:g}"


def image_count(plan: Plan, context: Context) -> str | None:
    sound, images = image_range(plan, context), plan.data.images.value
    if sound is None or not images or sound.low <= images <= sound.high or style_diluted(plan, context):
        return None
    only = ", and 8 to 15 work only if all are very much in the style" if _is_few_style(images, context) else ""
    return f"{counted(images, 'image')}; {sound.low} to {sound.high} {sound.of} serve best{only}"


def _is_few_style(images: int, context: Context) -> bool:
    return context.preset.subject == "style" and FEW_STYLE[0] <= images <= FEW_STYLE[1]


def style_diluted(plan: Plan, context: Context) -> str | None:
    images = plan.data.images.value
    if context.preset.subject != "style" or images <= DILUTED_FROM:
        return None
    return f"{images} images dilute a style"


def steps_per_image(plan: Plan, context: Context) -> str | None:
    sound = context.policy.advice.steps_per_image
    seen = plan.schedule.steps_per_image.value
    if sound is None or not plan.data.images.value or sound[0] <= seen <= sound[1]:
        return None
    return f"{seen:.1f} steps per image; {sound[0]:g} to {sound[1]:g} is the sound range"


def style_strength(plan: Plan, context: Context) -> str | None:
    network = plan.network
    if context.preset.subject != "style" or network.kind.value != "lora" or network.rank.value > 16:
        return None
    return (
        "if the style comes out weak: rank 32 or a learning rate of 4e-4; if too strong: use it at 0.5 to 0.7; "
        "compare the checkpoints at about 30, 60 and 100 % of the run"
    )


def fp16_overflows(plan: Plan, _context: Context) -> str | None:
    if plan.precision.mixed.value != "fp16" or not plan.precision.full.value:
        return None
    return "weights and gradients in fp16 overflow easily"


def shuffled_trigger(plan: Plan, _context: Context) -> str | None:
    captions = plan.captions
    if not captions.shuffle.value or captions.keep_tokens.value or not plan.trigger.value:
        return None
    return "captions are shuffled and captions.keep_tokens is 0, so the trigger moves too"


def faces_mirrored(plan: Plan, context: Context) -> str | None:
    if context.preset.subject != "identity" or not plan.augment.flip.value:
        return None
    return "mirrored pictures teach a face that is more symmetric than it is"


WARNING, INFO = Severity.WARNING, Severity.INFO
PRESETS = "docs/presets.md"
RANK, DATASET = "network.rank", "dataset"
SMALL = "--set network.rank=16; 32 and more are for clothing, exact poses or 100+ diverse images"
ADD = "add or curate images; the dataset decides more than the optimizer"
ALPHA = "alpha equal to the rank, or half of it"

ADVICE: tuple[Rule, ...] = (
    Rule("identity-rank", WARNING, RANK, PRESETS, "obeys", identity_rank, SMALL),
    Rule(
        "identity-repeats", WARNING, "schedule.repeats", PRESETS, "obeys", identity_repeats, "--set schedule.repeats=2"
    ),
    Rule("alpha-rank", WARNING, "network.alpha", PRESETS, "obeys", alpha_ratio, ALPHA),
    Rule("conv-alpha-rank", WARNING, "network.conv_alpha", PRESETS, "obeys", conv_alpha_ratio, ALPHA),
    Rule("image-count", WARNING, DATASET, PRESETS, "obeys", image_count, ADD),
    Rule("style-diluted", WARNING, DATASET, PRESETS, "obeys", style_diluted, "curate to the 30 to 50 best"),
    Rule("steps-per-image", WARNING, "schedule.steps", PRESETS, "obeys", steps_per_image, "--set schedule.steps=N"),
    Rule("style-strength", INFO, RANK, PRESETS, "", style_strength),
    Rule("fp16-overflow", WARNING, "precision.mixed", PRESETS, "obeys", fp16_overflows, "--set precision.mixed=bf16"),
    Rule(
        "trigger-shuffled",
        WARNING,
        "captions.shuffle",
        "tu, process_caption",
        "obeys",
        shuffled_trigger,
        "--set captions.keep_tokens=1",
    ),
    Rule("face-mirrored", WARNING, "augment.flip", PRESETS, "obeys", faces_mirrored, "--set augment.flip=false"),
)
