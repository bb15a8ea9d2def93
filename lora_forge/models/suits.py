"""Whether a model file can stand in its place as it is: the right weights, whole, in a form the engine loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lora_forge.families.family import ModelFile
    from lora_forge.models.facts import ModelFacts
    from lora_forge.models.header import Header

LOADABLE_FP8 = "F8_E4M3"
"""The engine refuses the other fp8 types (flux_train_network.py, load_target_model)."""
_FLUX_LATENT_WIDTH = 64
_RANDOM_WEIGHTS = "random_weights"  # as guest/demo_models.py marks its files
_ODD_VARIANTS = {
    "refiner": "is SDXL's refiner, which makes no picture by itself",
    "inpainting": "is an inpainting model, whose first layer reads a mask too",
    "full": "holds T5's decoder too, which the engine does not load",
}


def holds(file: ModelFile, facts: ModelFacts) -> bool:
    """Whether these are the weights that the place wants."""
    return (facts.family or facts.role) in file.holds


def what_it_holds(facts: ModelFacts) -> str:
    """The content in words: ``sdxl weights``."""
    return "weights that forge does not know" if facts.role == "unknown" else f"{facts.family or facts.role} weights"


def why_refused(facts: ModelFacts) -> str | None:
    """Why the engine would not load the numbers as they are stored, or None."""
    if facts.is_fp8 and not facts.dtype.startswith(LOADABLE_FP8):
        return f"is stored as {facts.dtype}; the engine loads {LOADABLE_FP8} alone"
    return None


def why_misread(facts: ModelFacts) -> str | None:
    """Why the engine would load the numbers and take them for others, or None."""
    return f"is packed as {facts.quantization}, which the engine would misread" if facts.quantization else None


def why_unusable(facts: ModelFacts) -> str | None:
    """Why the file can stand in no place at all, or None."""
    unknown = "is no model that forge knows" if facts.role == "unknown" else None
    return unknown or why_refused(facts) or why_misread(facts)


def why_unchosen(facts: ModelFacts, header: Header | None) -> str | None:
    """Why forge would not pick the file by itself, though a person may; None where it would.

    ``header`` is None for a Diffusers folder, which is whole by its own index.
    """
    unusable = why_unusable(facts)
    if unusable or header is None:
        return unusable
    if _RANDOM_WEIGHTS in header.metadata:
        return "has random weights, made for forge's demo"
    return _odd(facts, header)


def _odd(facts: ModelFacts, header: Header) -> str | None:
    """What is sound, and yet seldom what a person means."""
    if facts.variant in _ODD_VARIANTS:
        return _ODD_VARIANTS[facts.variant]
    if facts.role == "ae" and facts.layout == "diffusers":
        return "has the Diffusers layout, which the engine's FLUX autoencoder does not read"
    width = header.tensors.get("img_in.weight")
    if facts.family == "flux" and width and width.shape[-1] != _FLUX_LATENT_WIDTH:
        return "is an editing variant of FLUX (Fill, Canny, Depth), which reads more than noise"
    if _is_unet_alone(facts, header):
        return "is a UNet alone; the checkpoint needs its text encoder and autoencoder"
    return None


def _is_unet_alone(facts: ModelFacts, header: Header) -> bool:
    unet = any(
        name.endswith(("input_blocks.0.0.weight", "down_blocks.0.resnets.0.conv1.weight")) for name in header.tensors
    )
    parts = ("cond_stage_model.", "conditioner.")
    has_text = any(name.startswith(parts) for name in header.tensors)
    return facts.role == "base" and unet and not (has_text and _has_autoencoder(header))


def _has_autoencoder(header: Header) -> bool:
    return any(name.startswith("first_stage_model.") for name in header.tensors)
