"""``steps-per-image``: forty optimizer steps for every picture, the middle of the sound range."""

from __future__ import annotations

from lora_forge.policies.policy import Advice, Policy, Sized, Sizing, clamp, clamp_note

STEPS_PER_IMAGE = 40
SOUND_STEPS_PER_IMAGE = (30.0, 60.0)
FEWEST_STEPS = 500
MOST_STEPS = 3_500


def size(images: int) -> Sizing:
    """
    >>> [size(n).steps.value for n in (15, 30, 43, 60, 100)]
    [600, 1200, 1720, 2400, 3500]
    """
    wanted = STEPS_PER_IMAGE * images
    steps = clamp(wanted, FEWEST_STEPS, MOST_STEPS)
    why = f"steps-per-image: {images} images × {STEPS_PER_IMAGE}{clamp_note(wanted, steps)}"
    return Sizing(
        repeats=Sized(1, "steps-per-image: every picture once an epoch"),
        steps=Sized(steps, why),
    )


POLICY = Policy(
    "steps-per-image",
    "40 steps per image within 500-3,500, one repeat",
    size,
    Advice(steps_per_image=SOUND_STEPS_PER_IMAGE),
)
