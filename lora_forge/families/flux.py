"""FLUX.1 (dev and schnell)."""

from __future__ import annotations

from lora_forge.families.family import NEVER_READ, Family, FamilyDefault, Lever, ModelFile
from lora_forge.families.modules import clip_l_modules, flux_modules

_FLOW_LOSS = "the engine's FLUX trainer weighs the flow-matching loss itself and never reads it"
_GUIDE = "the engine's FLUX guide"
_FLOW_NOISE = "flow matching makes its own noise and timesteps, and the engine's FLUX trainer never reads it"
_OWN_ATTENTION = "the engine's FLUX transformer has one attention of its own"

INERT_OPTIONS = {
    **NEVER_READ,
    **dict.fromkeys(("noise_offset", "min_snr_gamma", "debiased_estimation_loss"), _FLOW_LOSS),
    **dict.fromkeys(("v_pred_like_loss", "scale_v_pred_loss_like_noise_pred"), _FLOW_LOSS),
    **dict.fromkeys(("noise_offset_random_strength", "adaptive_noise_scale"), _FLOW_NOISE),
    **dict.fromkeys(("multires_noise_iterations", "multires_noise_discount"), _FLOW_NOISE),
    **dict.fromkeys(("min_timestep", "max_timestep"), _FLOW_NOISE),
    **dict.fromkeys(("v_parameterization", "zero_terminal_snr"), _FLOW_NOISE),
    **dict.fromkeys(("sdpa", "xformers", "mem_eff_attn"), _OWN_ATTENTION),
    "clip_skip": "FLUX takes CLIP-L's pooled output, whatever the layer",
    "max_token_length": "FLUX's lengths are fixed for CLIP-L and t5xxl_max_token_length for T5",
    "v2": "it names Stable Diffusion 2",
}
"""Shown by runs to give the same weights bit for bit, or read nowhere in the FLUX scripts."""

FAMILY = Family(
    name="flux",
    title="FLUX.1",
    script="flux_train_network",
    files=(
        ModelFile("model", "pretrained_model_name_or_path", "the FLUX.1 transformer", ("flux",)),
        ModelFile("clip_l", "clip_l", "the CLIP-L text encoder", ("clip_l",)),
        ModelFile("t5xxl", "t5xxl", "the T5-XXL text encoder", ("t5xxl",)),
        ModelFile("ae", "ae", "FLUX's autoencoder", ("ae",)),
    ),
    tokenizers=("openai/clip-vit-large-patch14", "google/t5-v1_1-xxl"),
    native_resolution=1024,
    bucket_divisor=64,
    network_modules={"lora": "networks.lora_flux", "loha": "lycoris.kohya", "lokr": "lycoris.kohya"},
    fp8_option="fp8_base",
    defaults=(
        FamilyDefault("loss.guidance_scale", 1.0, f"{_GUIDE}: dev is trained at guidance 1, the engine sends 3.5"),
        FamilyDefault(
            "loss.timestep_sampling",
            "flux_shift",
            "shifts timesteps by resolution; a fixed shift suits 1024² alone",
        ),
        FamilyDefault(
            "loss.model_prediction_type",
            "raw",
            f"{_GUIDE}: the raw velocity; the engine's default is sigma_scaled",
        ),
        FamilyDefault(
            "optimizer.max_grad_norm", 0.0, f"{_GUIDE}: Adafactor clips updates itself", optimizer="adafactor"
        ),
    ),
    always={},
    inert={
        "loss.noise_offset": _FLOW_LOSS,
        "loss.min_snr_gamma": _FLOW_LOSS,
        "network.conv_rank": "FLUX has no convolutions in its blocks",
        "network.conv_alpha": "FLUX has no convolutions in its blocks",
        "network.use_cp": "FLUX has no convolutions in its blocks",
    },
    inert_options=INERT_OPTIONS,
    text_encoders=("CLIP-L", "T5-XXL"),
    trainable_text_encoders=("CLIP-L",),
    caches_text_encoder_outputs=True,
    caches_while_training_text_encoder=True,
    modules=flux_modules,
    text_encoder_modules=lambda: clip_l_modules("lora_te1"),
    latent_channels=16,
    caption_values=768 + 512 * 4096,
    blocks=(19, 38),
    max_blocks_to_swap=35,
    flow_matching=True,
    offloads_checkpoints=True,
    weighs_captions=False,
    weights_gib=24,
    batch_on_24_gib=2,
    fixed_shift=3.1582,
    guidance_word="guidance_scale",
    levers=(
        Lever(16, "memory.blocks_to_swap", 8, f"16 GB: {_GUIDE} asks for some block swap; a seventh of the 57 blocks"),
        Lever(12, "memory.blocks_to_swap", 16, f"12 GB: {_GUIDE}"),
        Lever(10, "memory.blocks_to_swap", 22, f"10 GB: {_GUIDE}"),
        Lever(8, "memory.blocks_to_swap", 28, f"8 GB: {_GUIDE}, with an fp8 T5"),
        Lever(16, "schedule.batch_size", 1, f"16 GB and less: {_GUIDE}", cap=True),
    ),
    lean_optimizer_up_to_gib=12,
)
