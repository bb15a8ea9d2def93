"""What scaling and cropping to the buckets does to each image; sizes from headers, no pixel needed."""

from __future__ import annotations

from lora_forge.datasets.advice import Advice, Fit, Size
from lora_forge.datasets.facts import DatasetFacts, ImageFacts
from lora_forge.datasets.notes import Notes, printable

MOST_CROPPED = 0.2
"""Within the table of 384 to 1024 at 768, the nearest bucket cuts off 16 % at the very most."""
MOST_ENLARGED = 1.02
"""A bucket may be a few pixels larger than a picture of the very resolution."""


def note_sizes(notes: Notes, facts: DatasetFacts, advice: Advice) -> None:
    """Every training image against its bucket."""
    if advice.fit is None:
        return
    told: dict[Size, tuple[str, str] | None] = {}
    for subset in facts.train_subsets:
        folder = printable(str(subset.folder))
        for image in subset.images:
            size = (image.width, image.height)
            if size not in told:
                told[size] = _judge(image, advice.fit(size), advice.resolution)
            if (judged := told[size]) is not None:
                notes.together(judged[0], folder, image.name, judged[1])


def _judge(image: ImageFacts, fit: Fit, resolution: int) -> tuple[str, str] | None:
    """The gravest remark about one size, and its figures."""
    size, bucket = f"{image.width}×{image.height}", f"{fit.bucket[0]}×{fit.bucket[1]}"
    if not (fit.bucket[0] and fit.bucket[1]):
        return "image-narrow", f"{size} comes to a bucket of {bucket}"
    lost = cropped_share(fit)
    if lost > MOST_CROPPED:
        return "image-aspect", f"{size} is cut to the bucket {bucket}, which loses {lost:.0%} of it"
    if fit.scale > MOST_ENLARGED:
        return "image-small", f"{size} is enlarged {fit.scale:.2f} times to fill the bucket {bucket}"
    if min(image.width, image.height) < resolution:
        return "image-short", f"{size} has a short side below the training resolution {resolution}"
    return None


def cropped_share(fit: Fit) -> float:
    """How much of the scaled image falls outside the bucket."""
    return 1 - (fit.bucket[0] * fit.bucket[1]) / max(1, fit.resized[0] * fit.resized[1])
