"""The staged freeze: the text encoder's LoRA stops learning half-way, the rest goes on.

One process, one optimizer, one learning-rate schedule; the engine itself has
this option in its DreamBooth script alone (facts: two-phase text encoder).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# networks.lora says lora_te_ or lora_te1_, lora_flux lora_te1_ (CLIP-L) and lora_te3_ (T5), LyCORIS lora_te…
PREFIX = "lora_te"


def text_encoder_parameters(network: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Pick the text encoder's share of a network by module name, the one thing that all networks agree on."""
    return [parameter for name, parameter in network.named_parameters() if name.startswith(PREFIX)]


def freeze(parameters: list[torch.nn.Parameter]) -> None:
    """Freeze past the optimizer, which skips a parameter whose gradient is None, weight decay and all."""
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None
