"""Stable Diffusion XL."""

from __future__ import annotations

from lora_forge.families.family import NEVER_READ, Family, FamilyDefault, Lever, ModelFile
from lora_forge.families.modules import clip_g_modules, clip_l_modules, sdxl_modules

_FLOW_ONLY = "only flow-matching families read it"
_LYCORIS = ("loha", "lokr")

FAMILY = Family(
    name="sdxl",
    title="Stable Diffusion XL",
    script="sdxl_train_network",
    files=(
        ModelFile("model", "pretrained_model_name_or_path", "the SDXL checkpoint", ("sdxl",)),
        ModelFile("vae", "vae", "another autoencoder", ("vae",), required=False),
    ),
    tokenizers=("openai/clip-vit-large-patch14", "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"),
    native_resolution=1024,
    bucket_divisor=32,
    network_modules={"lora": "networks.lora", "loha": "lycoris.kohya", "lokr": "lycoris.kohya"},
    fp8_option="fp8_base_unet",
    defaults=(FamilyDefault("sampling.guidance", 7.5, "what the engine's sampler takes where nothing is said"),),
    always={"sdpa": True, "no_half_vae": True},
    inert={
        "loss.guidance_scale": _FLOW_ONLY,
        "loss.timestep_sampling": _FLOW_ONLY,
        "loss.model_prediction_type": _FLOW_ONLY,
        "loss.discrete_flow_shift": _FLOW_ONLY,
        "memory.blocks_to_swap": "the engine swaps blocks of transformer families only",
    },
    inert_options={**NEVER_READ, "clip_skip": "SDXL's text encoders always give their second-to-last layer"},
    text_encoders=("CLIP-L", "OpenCLIP bigG"),
    trainable_text_encoders=("CLIP-L", "OpenCLIP bigG"),
    caches_text_encoder_outputs=True,
    caches_while_training_text_encoder=False,
    modules=lambda _double, _single: sdxl_modules(),
    text_encoder_modules=lambda: (*clip_l_modules("lora_te1"), *clip_g_modules("lora_te2")),
    latent_channels=4,
    caption_values=77 * (768 + 1280) + 1280,
    fp8_runs_on_cpu=False,
    levers=(
        Lever(8, "data.resolution", 896, "8 GB: 896 at the most for LoHa and LoKr", cap=True, kinds=_LYCORIS),
        Lever(8, "memory.cache_to_disk", True, "8 GB: latents wait on disk, not in memory", kinds=_LYCORIS),
        Lever(8, "schedule.grad_accum", 2, "8 GB: two small batches make one step", kinds=_LYCORIS),
    ),
)
