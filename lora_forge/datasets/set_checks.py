"""The set as a whole: how often each picture is seen, and the regularization set beside it."""

from __future__ import annotations

from lora_forge.datasets.facts import DatasetFacts
from lora_forge.datasets.notes import counted, printable
from lora_forge.findings import Finding, warning

MOST_EXPOSURES = 150.0
"""No shipped preset shows a picture more than 134 times at the dataset size that it is made for."""
REG_IMAGES = (20, 50)


def check_exposures(facts: DatasetFacts, exposures: float, steps: int) -> list[Finding]:
    """Repeats × epochs, as each picture feels it."""
    if not facts.images or exposures <= MOST_EXPOSURES:
        return []
    message = (
        f"Each picture is seen {exposures:.0f} times in {steps:,} steps; "
        f"beyond {MOST_EXPOSURES:.0f} the pictures themselves are memorised: one pose, plastic skin."
    )
    hint = f"Add pictures, or train less: --set schedule.steps={max(1, round(steps * 100 / exposures, -2)):.0f}"
    return [warning("over-trained", message, hint, printable(str(facts.root)))]


def check_reg(facts: DatasetFacts) -> list[Finding]:
    """The size of the regularization set, where no plan judges it."""
    low, high = REG_IMAGES
    if not facts.reg_images or low <= facts.reg_images <= high:
        return []
    message = f"{counted(facts.reg_images, 'regularization image')}; {low} to {high} of the class serve best."
    where = next(subset.folder for subset in facts.subsets if subset.is_reg)
    return [warning("reg-count", message, f"{low} to {high} generic pictures of the class", printable(str(where)))]
