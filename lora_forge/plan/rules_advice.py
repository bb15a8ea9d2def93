"""What the field has learnt: nothing the engine would refuse, but worth saying before a night is spent."""

from __future__ import annotations

from lora_forge.findings import Severity
from lora_forge.plan.model import Plan
from lora_forge.plan.rules import Context, Rule

MOST_IDENTITY_RANK = 24
MOST_IDENTITY_REPEATS = 10
USUAL_ALPHA_RATIOS = (0.5, 1.0)
IDENTITY_IMAGES = (15, 30)
STYLE_IMAGES = (25, 60)


def identity_rank(plan: Plan, context: Context) -> str | None:
    rank = plan.network.rank.value
    if context.preset.subject != "identity" or rank <= MOST_IDENTITY_RANK:
        return None
    return f"rank {rank} on an identity over-fits: plastic skin, one pose (seen at rank 48 with 20 repeats)"


def identity_repeats(plan: Plan, context: Context) -> str | None:
    repeats = plan.schedule.repeats.value
    most = repeats if isinstance(repeats, int) else max(repeats.values(), default=1)
    if context.preset.subject != "identity" or most <= MOST_IDENTITY_REPEATS:
        return None
    return f"{most} repeats on an identity over-fit: plastic skin, one pose (seen at rank 48 with 20 repeats)"


def alpha_ratio(plan: Plan, _context: Context) -> str | None:
    ratio = plan.network.alpha.value / plan.network.rank.value
    if any(abs(ratio - usual) < 1e-9 for usual in USUAL_ALPHA_RATIOS):
        return None
    rate = plan.optimizer.learning_rate.value
    return f"alpha/rank is {ratio:g}, an unusual pair: the LoRA learns as if the rate were {rate * ratio:g}"


def image_count(plan: Plan, context: Context) -> str | None:
    ranges = {"identity": IDENTITY_IMAGES, "style": STYLE_IMAGES}
    bounds = ranges.get(context.preset.subject)
    images = plan.data.images.value
    if bounds is None or not images or bounds[0] <= images <= bounds[1]:
        return None
    return f"{images} images; {bounds[0]} to {bounds[1]} good ones give the best {context.preset.subject}"


def steps_per_image(plan: Plan, context: Context) -> str | None:
    sound = context.policy.advice.steps_per_image
    seen = plan.schedule.steps_per_image.value
    if sound is None or not plan.data.images.value or sound[0] <= seen <= sound[1]:
        return None
    return f"{seen:.1f} steps per image; {sound[0]:g} to {sound[1]:g} is the sound range"


def reg_recommended(plan: Plan, context: Context) -> str | None:
    if context.preset.reg_images != "recommended" or plan.data.reg_images.value:
        return None
    return f"preset {context.preset.name} is better with regularization images, and there are none"


def family_unverified(_plan: Plan, context: Context) -> str | None:
    if context.family.verified:
        return None
    return f"{context.family.title} is rendered and checked against the engine's options, but not yet seen to train"


WARNING, INFO = Severity.WARNING, Severity.INFO

ADVICE: tuple[Rule, ...] = (
    Rule(
        "identity-rank",
        WARNING,
        "network.rank",
        "presets.md",
        identity_rank,
        "--set network.rank=16; 32 and more are for clothing, exact poses or 100+ diverse images",
    ),
    Rule(
        "identity-repeats",
        WARNING,
        "schedule.repeats",
        "presets.md",
        identity_repeats,
        "--set schedule.repeats=2",
    ),
    Rule(
        "alpha-rank",
        WARNING,
        "network.alpha",
        "presets.md",
        alpha_ratio,
        "alpha equal to the rank, or half of it",
    ),
    Rule(
        "image-count",
        WARNING,
        "dataset",
        "presets.md",
        image_count,
        "add or curate images; the dataset decides more than the optimizer",
    ),
    Rule("steps-per-image", WARNING, "schedule.steps", "presets.md", steps_per_image, "--set schedule.steps=N"),
    Rule(
        "reg-recommended",
        INFO,
        "reg",
        "presets.md",
        reg_recommended,
        "--reg DIR with 20 to 50 pictures of the class",
    ),
    Rule(
        "family-unverified",
        WARNING,
        "family",
        "docs/LOG.md",
        family_unverified,
        "try it with few steps first",
    ),
)
