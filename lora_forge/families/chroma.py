"""Chroma: FLUX's shape without CLIP-L and without modulation layers. Rendered and checked, not yet seen to train."""

from __future__ import annotations

from lora_forge.families.family import Family, FamilyDefault, ModelFile
from lora_forge.families.flux import INERT_OPTIONS
from lora_forge.families.modules import LoraModule, flux_modules

_FLOW_LOSS = "the engine's FLUX trainer weighs the flow-matching loss itself and never reads it"
_GUIDE = "the engine's FLUX guide, on Chroma"


def chroma_modules(double_blocks: int = 19, single_blocks: int = 38) -> tuple[LoraModule, ...]:
    """FLUX's modules without the modulation, which Chroma computes once for all blocks (chroma_models.py).

    >>> len(chroma_modules())
    228
    """
    return tuple(module for module in flux_modules(double_blocks, single_blocks) if "_mod" not in module.name)


FAMILY = Family(
    name="chroma",
    title="Chroma",
    like="flux",
    script="flux_train_network",
    files=(
        ModelFile("model", "pretrained_model_name_or_path", "the Chroma transformer", ("chroma",)),
        ModelFile("t5xxl", "t5xxl", "the T5-XXL text encoder", ("t5xxl",)),
        ModelFile("ae", "ae", "FLUX's autoencoder", ("ae",)),
    ),
    tokenizers=("openai/clip-vit-large-patch14", "google/t5-v1_1-xxl"),
    native_resolution=1024,
    bucket_divisor=64,
    network_modules={"lora": "networks.lora_flux"},
    fp8_option="fp8_base",
    defaults=(
        FamilyDefault("loss.guidance_scale", 0.0, f"{_GUIDE}: trained without guidance"),
        FamilyDefault("loss.timestep_sampling", "sigmoid", _GUIDE),
        FamilyDefault("loss.model_prediction_type", "raw", f"{_GUIDE}: the raw velocity"),
        FamilyDefault("sampling.guidance", 4.0, f"{_GUIDE}: real guidance of 4, the embedded one at 0"),
        FamilyDefault("optimizer.max_grad_norm", 0.0, f"{_GUIDE}: Adafactor clips by itself", optimizer="adafactor"),
    ),
    always={"model_type": "chroma", "apply_t5_attn_mask": True},
    inert_options={**INERT_OPTIONS, "cpu_offload_checkpointing": f"{_GUIDE}: the model takes it and never offloads"},
    inert={
        "loss.noise_offset": _FLOW_LOSS,
        "loss.min_snr_gamma": _FLOW_LOSS,
        "network.conv_rank": "Chroma has no convolutions in its blocks",
        "network.conv_alpha": "Chroma has no convolutions in its blocks",
        "network.use_cp": "Chroma has no convolutions in its blocks",
    },
    text_encoders=("T5-XXL",),
    trainable_text_encoders=(),
    caches_text_encoder_outputs=True,
    caches_while_training_text_encoder=False,
    modules=chroma_modules,
    text_encoder_modules=lambda: (),
    latent_channels=16,
    caption_values=512 * 4096,
    blocks=(19, 38),
    max_blocks_to_swap=35,
    flow_matching=True,
    weighs_captions=False,
    weights_gib=18,
    batch_on_24_gib=2,
    fixed_shift=3.1582,
    prompt_always={"guidance_scale": 0.0},
    verified=False,
)
