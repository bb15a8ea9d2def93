"""What is cached, recomputed and swapped; where two wishes exclude each other, one gives way and says so."""

from __future__ import annotations

from lora_forge.families.family import Family
from lora_forge.findings import Finding, warning
from lora_forge.plan.choices import Choices, because
from lora_forge.plan.model import AugmentPlan, CaptionsPlan, Decided, MemoryPlan, TextEncoderPlan
from lora_forge.settings import Source


def decide_memory(
    choices: Choices, family: Family, captions: CaptionsPlan, augment: AugmentPlan, encoder: TextEncoderPlan
) -> tuple[MemoryPlan, list[Finding]]:
    latents, latent_notes = _cache_latents(choices.of("memory.cache_latents"), augment)
    outputs, output_notes = _cache_outputs(choices.of("memory.cache_text_encoder_outputs"), family, captions, encoder)
    plan = MemoryPlan(
        gradient_checkpointing=choices.of("memory.gradient_checkpointing"),
        cache_latents=latents,
        cache_text_encoder_outputs=outputs,
        cache_to_disk=choices.of("memory.cache_to_disk"),
        blocks_to_swap=choices.of("memory.blocks_to_swap"),
    )
    return plan, latent_notes + output_notes


def _cache_latents(decided: Decided[object], augment: AugmentPlan) -> tuple[Decided[object], list[Finding]]:
    """The engine asserts that cached latents go with neither colour augmentation nor random crop (tn:582)."""
    named = {"augment.color": augment.color.value, "augment.random_crop": augment.random_crop.value}
    active = [key for key, on in named.items() if on]
    if not (decided.value and active):
        return decided, []
    why = f"{' and '.join(active)} change every picture anew, so latents cannot be cached"
    note = warning("latents-not-cached", why, f"--set {active[0]}=false to cache them", active[0])
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
    named = {"captions.shuffle": captions.shuffle.value, "captions.dropout": captions.dropout.value}
    active = [key for key, on in named.items() if on]
    if not active:
        return decided, []
    why = f"{' and '.join(active)} change the caption every step, so text-encoder outputs cannot be cached"
    note = warning("text-encoder-outputs-not-cached", why, f"--set {active[0]}=false to cache them", active[0])
    return because(decided, False, Source.PRESET, why), [note]
