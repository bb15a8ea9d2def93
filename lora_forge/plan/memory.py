"""What is cached, recomputed and swapped; where two wishes exclude each other, one gives way and says so."""

from __future__ import annotations

from collections.abc import Mapping

from lora_forge.families.family import Family
from lora_forge.findings import Finding, warning
from lora_forge.models.facts import ModelFacts
from lora_forge.plan.choices import Choices, because
from lora_forge.plan.model import AugmentPlan, CaptionsPlan, Decided, MemoryPlan, TextEncoderPlan
from lora_forge.settings import Source

KEPT_BLOCKS = 2
"""Of either kind of block the engine keeps two on the card (flux_models.py, enable_block_swap)."""

_OFF = {"captions.dropout": "0"}
"""What turns a setting off that is no switch."""


def decide_memory(
    choices: Choices,
    family: Family,
    captions: CaptionsPlan,
    augment: AugmentPlan,
    encoder: TextEncoderPlan,
    blocks: tuple[int, int],
) -> tuple[MemoryPlan, list[Finding]]:
    latents, latent_notes = _cache_latents(choices.of("memory.cache_latents"), augment)
    outputs, output_notes = _cache_outputs(choices.of("memory.cache_text_encoder_outputs"), family, captions, encoder)
    plan = MemoryPlan(
        gradient_checkpointing=choices.of("memory.gradient_checkpointing"),
        cache_latents=latents,
        cache_text_encoder_outputs=outputs,
        cache_to_disk=choices.of("memory.cache_to_disk"),
        blocks_to_swap=_blocks_to_swap(choices.of("memory.blocks_to_swap"), blocks),
    )
    return plan, latent_notes + output_notes


def blocks_of(family: Family, models: Mapping[str, ModelFacts]) -> tuple[int, int]:
    """(double, single) blocks of the base model at hand, else of the family's usual one."""
    base = models.get("model")
    own = (base.double_blocks, base.single_blocks) if base else (0, 0)
    return own if any(own) else family.blocks


def swap_fits(swap: int, double: int, single: int) -> bool:
    """Half of the blocks to swap are double ones; the rest count as two single ones each.

    >>> swap_fits(35, 19, 38), swap_fits(36, 19, 38), swap_fits(3, 5, 8), swap_fits(7, 5, 8)
    (True, False, True, False)
    """
    of_double = swap // 2
    return of_double <= double - KEPT_BLOCKS and (swap - of_double) * 2 <= single - KEPT_BLOCKS


def most_swapped(swap: int, blocks: tuple[int, int]) -> int:
    """The largest number up to ``swap`` that a base model of these blocks allows."""
    return max((n for n in range(1, swap + 1) if swap_fits(n, *blocks)), default=0)


def _blocks_to_swap(decided: Decided[object], blocks: tuple[int, int]) -> Decided[object]:
    """What the card's table asks for is cut to what the base model has; a person's own number is judged instead."""
    if decided.source is not Source.MACHINE or not isinstance(decided.value, int):
        return decided
    most = most_swapped(decided.value, blocks)
    if most == decided.value:
        return decided
    why = f"{decided.why}; this base model of {blocks[0]} double and {blocks[1]} single blocks allows {most}"
    return because(decided, most, Source.MACHINE, why)


def _cache_latents(decided: Decided[object], augment: AugmentPlan) -> tuple[Decided[object], list[Finding]]:
    """The engine asserts that cached latents go with neither colour augmentation nor random crop (tn:582)."""
    named = {"augment.color": augment.color, "augment.random_crop": augment.random_crop}
    active = [key for key, wish in named.items() if wish.value]
    if not (decided.value and active):
        return decided, []
    why = f"{all_of(active, 'change')} every picture anew, so latents cannot be cached"
    where = named[active[0]].where or active[0]
    note = warning("latents-not-cached", why, f"{_turned_off(active)} to cache them", where)
    return because(decided, False, Source.PRESET, why), [note]


def _cache_outputs(
    decided: Decided[object], family: Family, captions: CaptionsPlan, encoder: TextEncoderPlan
) -> tuple[Decided[object], list[Finding]]:
    """The engine asserts the caption rules (flux fn:65, tu:1102) and, on SDXL, a frozen text encoder."""
    if not family.caches_text_encoder_outputs:
        why = f"the engine has no such cache for {family.title}"
        return because(decided, False, Source.FAMILY, why), []
    if not decided.value:
        return decided, []
    if encoder.mode.value != "frozen" and not family.caches_while_training_text_encoder:
        why = f"a text encoder in training changes its outputs ({family.title})"
        return because(decided, False, Source.FAMILY, why), []
    named: dict[str, Decided[bool] | Decided[float]] = {
        "captions.shuffle": captions.shuffle,
        "captions.dropout": captions.dropout,
    }
    active = [key for key, wish in named.items() if wish.value]
    if not active:
        return decided, []
    why = f"{all_of(active, 'change')} the caption every step, so text-encoder outputs cannot be cached"
    where = named[active[0]].where or active[0]
    note = warning("text-encoder-outputs-not-cached", why, f"{_turned_off(active)} to cache them", where)
    return because(decided, False, Source.PRESET, why), [note]


def _turned_off(keys: list[str]) -> str:
    """All of them: with one of two turned off nothing is cached yet."""
    return " ".join(f"--set {key}={_OFF.get(key, 'false')}" for key in keys)


def all_of(keys: list[str], verb: str) -> str:
    """
    >>> all_of(["captions.shuffle"], "change"), all_of(["a", "b"], "change")
    ('captions.shuffle changes', 'a and b change')
    """
    return f"{' and '.join(keys)} {verb}{'s' if len(keys) == 1 else ''}"
