"""Buckets and resolution."""

from __future__ import annotations

from lora_forge.findings import Severity
from lora_forge.plan.buckets import round_bounds
from lora_forge.plan.memory import all_of
from lora_forge.plan.model import Plan
from lora_forge.plan.rule import Context, Rule

LOWEST_SHARE = 0.5
"""Below half of its native resolution a base model no longer draws what it was trained to."""


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


def bounds_unused(plan: Plan, context: Context) -> str | None:
    """The engine asserts them all the same, so they are sent."""
    bounds = [key for key in ("data.min_bucket", "data.max_bucket") if context.choices.is_written(key)]
    if plan.data.upscale.value or not bounds or min_bucket(plan, context) or max_bucket(plan, context):
        return None
    return f"without upscaling every image makes its own bucket, whatever {all_of(bounds, 'say')}"


def bucket_step(plan: Plan, context: Context) -> str | None:
    step, divisor = plan.data.bucket_step.value, context.family.bucket_divisor
    if step % divisor == 0:
        return None
    return f"a bucket step of {step} is no multiple of {divisor}, which {context.family.title} needs"


def resolution_low(plan: Plan, context: Context) -> str | None:
    side, native = plan.data.resolution.value, context.family.native_resolution
    if side >= native * LOWEST_SHARE:
        return None
    return f"a resolution of {side} is far below {context.family.title}'s {native}: it learns blurred pictures"


def resolution_high(plan: Plan, context: Context) -> str | None:
    side, native = plan.data.resolution.value, context.family.native_resolution
    if side <= native * 2:
        return None
    return f"a resolution of {side} is far above {context.family.title}'s {native}: repeated bodies, much memory"


ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
LOWER_MIN = "lower data.min_bucket or raise data.resolution"
RAISE_MAX = "raise data.max_bucket or lower data.resolution"
RESOLUTION = "data.resolution"

BUCKET_RULES: tuple[Rule, ...] = (
    Rule("bucket-min", ERROR, "data.min_bucket", "tu:766", "refuses", min_bucket, LOWER_MIN),
    Rule("bucket-max", ERROR, "data.max_bucket", "tu:769", "refuses", max_bucket, RAISE_MAX),
    Rule("bucket-bounds", INFO, "data.upscale", "tu, BucketManager", "ignores", bounds_unused),
    Rule(
        "bucket-step", ERROR, "data.bucket_step", "tn:175, sn:43", "refuses", bucket_step, "--set data.bucket_step=64"
    ),
    Rule("resolution-low", WARNING, RESOLUTION, "the family", "obeys", resolution_low, "--set data.resolution=768"),
    Rule("resolution-high", WARNING, RESOLUTION, "the family", "obeys", resolution_high, "--set data.resolution=1024"),
)
