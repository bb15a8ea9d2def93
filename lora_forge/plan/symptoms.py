"""When the result disappoints: what is seen, what likely caused it, what to try. docs/presets.md shows the same table.

A symptom is judged beside the run's own figures; none of them proves anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from lora_forge.families.family import Family
from lora_forge.plan.model import Plan

CANONICAL_RULE = "If identity realism degrades, fix the dataset first, not the optimizer."

LOW_LOSS = 0.2
"""A smoothed loss below this is worth a look."""

LOSS_CAVEAT = "a smoothed loss under 0.2 is a hint of over-fitting to look at, no proof"
FLOW_CAVEAT = "on FLUX its scale says little"
"""Of every family that is trained by flow matching, which FLUX stands for: its loss scatters by the timestep drawn."""


@dataclass(frozen=True)
class Symptom:
    """``word`` is what to ask for; ``figures`` are the run's numbers that bear on it.

    ``settings`` can be tried as they are; ``steps_times`` changes the run's own steps.
    """

    word: str
    seen: str
    cause: str
    remedy: str
    figures: tuple[str, ...]
    settings: tuple[str, ...] = ()
    steps_times: float | None = None


SYMPTOMS: tuple[Symptom, ...] = (
    Symptom(
        "nan",
        "NaN",
        "learning rate too high, fp16 overflow",
        "a lower rate, bf16",
        ("learning_rate", "mixed_precision"),
        ("precision.mixed=bf16",),
    ),
    Symptom(
        "weak",
        "weak identity",
        "under-training",
        "more steps, a higher rank",
        ("steps_per_image", "exposures_per_image", "rank", "alpha_per_rank"),
        steps_times=1.5,
    ),
    Symptom(
        "same",
        "the same face everywhere",
        "over-training",
        "stop earlier, dropout, regularization images",
        ("steps_per_image", "exposures_per_image", "smoothed_loss", "dropout", "reg_images"),
        ("network.dropout=0.1",),
        steps_times=0.6,
    ),
    Symptom("waxy", "waxy skin", "over-smoothing", "a lower noise offset", ("noise_offset", "rank", "repeats")),
    Symptom("angle", "fails at an angle", "poor dataset", "add side and profile pictures", ("images",)),
    Symptom(
        "brittle",
        "brittle prompts",
        "text encoder over-fit",
        "freeze it earlier",
        ("text_encoder", "switch_step"),
        ("text_encoder.mode=frozen",),
    ),
    Symptom(
        "faint",
        "style too weak",
        "under-training",
        "rank 32, or a rate of 4e-4",
        ("steps_per_image", "rank", "learning_rate"),
        ("network.rank=32", "optimizer.learning_rate=4e-4"),
    ),
    Symptom(
        "heavy",
        "style too strong",
        "over-training",
        "strength 0.5–0.7, an earlier checkpoint",
        ("steps_per_image", "exposures_per_image", "smoothed_loss"),
        steps_times=0.6,
    ),
)


def symptoms_like(word: str | None) -> tuple[Symptom, ...]:
    """The rows that a word means: its own row, else every row that holds it; all of them without a word.

    >>> [row.seen for row in symptoms_like("waxy")], [row.word for row in symptoms_like("over-training")]
    (['waxy skin'], ['same', 'heavy'])
    """
    if not word:
        return SYMPTOMS
    sought = word.strip().lower()
    named = tuple(row for row in SYMPTOMS if row.word == sought)
    return named or tuple(row for row in SYMPTOMS if sought in f"{row.seen} {row.cause} {row.remedy}".lower())


def run_figures(plan: Plan, family: Family, smoothed_loss: float | None) -> dict[str, str]:
    """The run's own figures as people read them, by the names that symptoms use."""
    schedule, network, encoder = plan.schedule, plan.network, plan.text_encoder
    ratio = network.alpha.value / network.rank.value
    inert = f", without effect on {family.title}" if "loss.noise_offset" in family.inert else ""
    return {
        "images": str(plan.data.images.value),
        "reg_images": str(plan.data.reg_images.value),
        "steps_per_image": f"{schedule.steps_per_image.value:.1f}",
        "exposures_per_image": f"{schedule.exposures_per_image.value:.1f}",
        "repeats": str(schedule.repeats.value),
        "rank": str(network.rank.value),
        "alpha_per_rank": f"{ratio:g} ({network.alpha.value:g}/{network.rank.value})",
        "dropout": f"{network.dropout.value or 0:g}",
        "learning_rate": f"{plan.optimizer.learning_rate.value:g}",
        "mixed_precision": plan.precision.mixed.value,
        "noise_offset": f"{plan.loss.noise_offset.value or 0:g}{inert}",
        "text_encoder": encoder.mode.value,
        "switch_step": str(encoder.switch_step.value or "none"),
        "smoothed_loss": "unknown" if smoothed_loss is None else f"{smoothed_loss:.3f}",
    }


def settings_for(symptom: Symptom, plan: Plan) -> tuple[str, ...]:
    """What to try, as ``--set`` takes it: the run's own steps changed, to the nearest hundred where they are many."""
    if symptom.steps_times is None:
        return symptom.settings
    exact = plan.schedule.steps.value * symptom.steps_times
    nearest = 100 if exact >= 500 else 1
    steps = round(exact / nearest) * nearest or 1
    return (f"schedule.steps={steps}", *symptom.settings)


def loss_hint(family: Family, smoothed_loss: float | None) -> str:
    """What a low smoothed loss may mean, with its caveat; nothing where it is not low."""
    if smoothed_loss is None or smoothed_loss >= LOW_LOSS:
        return ""
    caveat = f"{LOSS_CAVEAT}; {FLOW_CAVEAT}" if family.flow_matching else LOSS_CAVEAT
    return f"smoothed loss {smoothed_loss:.3f}: {caveat}"
