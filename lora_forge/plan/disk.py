"""How much disk a run takes: its files exactly, its caches by the shapes of what is cached."""

from __future__ import annotations

from lora_forge.families.family import Family
from lora_forge.plan.model import AugmentPlan, DataPlan, MemoryPlan

LATENT_SIDE = 8
"""Pixels to one latent, in each direction, for every family here."""

CACHE_ITEM_BYTES = 4
"""Caches are saved as fp32 (strategy_base.py, save_latents_to_disk)."""


def files_bytes(lora_bytes: int, header_bytes: int, checkpoints: int) -> int:
    """The numbered checkpoints and the final file.

    >>> files_bytes(100, 10, checkpoints=4)
    550
    """
    return (checkpoints + 1) * (lora_bytes + header_bytes)


def cache_bytes(family: Family, data: DataPlan, memory: MemoryPlan, augment: AugmentPlan) -> int:
    """What the caches take where they are kept on disk; a flipped picture is cached beside the other."""
    if not memory.cache_to_disk.value:
        return 0
    latents = family.latent_channels * (data.resolution.value // LATENT_SIDE) ** 2 * CACHE_ITEM_BYTES
    each = latents * (2 if augment.flip.value else 1) * memory.cache_latents.value
    each += family.caption_values * CACHE_ITEM_BYTES * memory.cache_text_encoder_outputs.value
    return (data.images.value + data.reg_images.value) * each
