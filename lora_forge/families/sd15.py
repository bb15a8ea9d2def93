"""Stable Diffusion 1.5."""

from __future__ import annotations

from lora_forge.families.family import Family, FamilyDefault, Lever, ModelFile
from lora_forge.families.modules import clip_l_modules, sd15_modules

_FLOW_ONLY = "only flow-matching families read it"
_LYCORIS = ("loha", "lokr")

FAMILY = Family(
    name="sd15",
    title="Stable Diffusion 1.5",
    script="train_network",
    files=(
        ModelFile("model", "pretrained_model_name_or_path", "the SD 1.5 checkpoint", ("sd15",)),
        ModelFile("vae", "vae", "another autoencoder", ("vae",), required=False),
    ),
    tokenizers=("openai/clip-vit-large-patch14",),
    native_resolution=512,
    bucket_divisor=64,
    network_modules={"lora": "networks.lora", "loha": "lycoris.kohya", "lokr": "lycoris.kohya"},
    fp8_option="fp8_base_unet",
    defaults=(FamilyDefault("sampling.guidance", 7.5, "what the engine's sampler takes where nothing is said"),),
    always={"sdpa": True},
    inert={
        "loss.guidance_scale": _FLOW_ONLY,
        "loss.timestep_sampling": _FLOW_ONLY,
        "loss.model_prediction_type": _FLOW_ONLY,
        "loss.discrete_flow_shift": _FLOW_ONLY,
        "memory.blocks_to_swap": "the engine swaps blocks of transformer families only",
    },
    text_encoders=("CLIP-L",),
    trainable_text_encoders=("CLIP-L",),
    caches_text_encoder_outputs=False,
    caches_while_training_text_encoder=False,
    modules=lambda _double, _single: sd15_modules(),
    text_encoder_modules=lambda: clip_l_modules("lora_te"),
    latent_channels=4,
    caption_values=0,
    fp8_runs_on_cpu=False,
    levers=(
        Lever(8, "data.resolution", 896, "8 GB: 896 at the most for LoHa and LoKr", cap=True, kinds=_LYCORIS),
        Lever(8, "memory.cache_to_disk", True, "8 GB: latents wait on disk, not in memory", kinds=_LYCORIS),
        Lever(8, "schedule.grad_accum", 2, "8 GB: two small batches make one step", kinds=_LYCORIS),
    ),
)
