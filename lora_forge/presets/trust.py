"""What a preset or project file may not do: run code, hold secrets, or contradict forge behind its back.

The engine imports whatever module a dotted optimizer, scheduler, network or
dataset name points to (``get_optimizer``, ``get_scheduler_fix`` and
``load_arbitrary_dataset`` in its library/train_util.py; ``network_module`` in
train_network.py), and unpickles weights that are not safetensors. A shared YAML
file must not be able to ask for that; only the person at the keyboard can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lora_forge.findings import Finding, error
from lora_forge.presets.keys import cut, shown
from lora_forge.settings import Origin, Value

if TYPE_CHECKING:
    from lora_forge.presets.model import Preset

TRUST_FLAG = "--trust-code"
CODE_OPTIONS = frozenset({"dataset_class", "lr_scheduler_type", "network_module", "optimizer_type"})
"""Engine options whose value names a module that the engine imports."""
WEIGHT_OPTIONS = frozenset({"base_weights", "network_weights"})
SECRET_OPTIONS: Mapping[str, str] = {
    "huggingface_token": "HF_TOKEN",
    "wandb_api_key": "WANDB_API_KEY",
}
"""Options that hold a secret → the variable that their service reads instead."""

_BY_FORGE = ""
OWNED_OPTIONS: Mapping[str, str] = {
    "ae": "--ae",
    "bucket_no_upscale": "data.upscale",
    "bucket_reso_steps": "data.bucket_step",
    "blocks_to_swap": "memory.blocks_to_swap",
    "cache_latents": "memory.cache_latents",
    "cache_latents_to_disk": "memory.cache_to_disk",
    "cache_text_encoder_outputs": "memory.cache_text_encoder_outputs",
    "cache_text_encoder_outputs_to_disk": "memory.cache_to_disk",
    "caption_dropout_rate": "captions.dropout",
    "caption_extension": "captions.extension",
    "caption_extention": "captions.extension",
    "clip_l": "--clip-l",
    "color_aug": "augment.color",
    "config_file": _BY_FORGE,
    "console_log_file": _BY_FORGE,
    "console_log_simple": _BY_FORGE,
    "dataset_config": "--dataset",
    "dataset_repeats": "schedule.repeats",
    "discrete_flow_shift": "loss.discrete_flow_shift",
    "enable_bucket": "data.min_bucket",
    "flip_aug": "augment.flip",
    "fp8_base": "precision.fp8_base",
    "fp8_base_unet": "precision.fp8_base",
    "full_bf16": "precision.full",
    "full_fp16": "precision.full",
    "gradient_accumulation_steps": "schedule.grad_accum",
    "gradient_checkpointing": "memory.gradient_checkpointing",
    "guidance_scale": "loss.guidance_scale",
    "huber_schedule": "loss.huber_schedule",
    "in_json": "--dataset",
    "initial_epoch": _BY_FORGE,
    "initial_step": _BY_FORGE,
    "keep_tokens": "captions.keep_tokens",
    "learning_rate": "optimizer.learning_rate",
    "loss_type": "loss.kind",
    "lr_scheduler": "optimizer.scheduler",
    "lr_scheduler_num_cycles": "optimizer.scheduler_cycles",
    "lr_warmup_steps": "schedule.warmup_steps",
    "max_bucket_reso": "data.max_bucket",
    "max_data_loader_n_workers": _BY_FORGE,
    "max_grad_norm": "optimizer.max_grad_norm",
    "max_train_epochs": "schedule.epochs",
    "max_train_steps": "schedule.steps",
    "min_bucket_reso": "data.min_bucket",
    "min_snr_gamma": "loss.min_snr_gamma",
    "mixed_precision": "precision.mixed",
    "model_prediction_type": "loss.model_prediction_type",
    "model_type": "--family",
    "network_alpha": "network.alpha",
    "network_args": "network.args",
    "network_dim": "network.rank",
    "network_dropout": "network.dropout",
    "network_module": "network.kind",
    "network_train_text_encoder_only": "text_encoder.mode",
    "network_train_unet_only": "text_encoder.mode",
    "noise_offset": "loss.noise_offset",
    "optimizer_args": "optimizer.args",
    "optimizer_type": "optimizer.name",
    "output_config": _BY_FORGE,
    "output_dir": "--run-dir",
    "output_name": "--name",
    "persistent_data_loader_workers": _BY_FORGE,
    "pretrained_model_name_or_path": "--model",
    "random_crop": "augment.random_crop",
    "reg_data_dir": "--reg",
    "resolution": "data.resolution",
    "resume": _BY_FORGE,
    "resume_from_huggingface": _BY_FORGE,
    "sample_at_first": "sampling.enabled",
    "sample_every_n_epochs": "schedule.checkpoint_every",
    "sample_every_n_steps": "schedule.checkpoint_every",
    "sample_prompts": "sampling.prompts",
    "save_every_n_epochs": "schedule.checkpoint_every",
    "save_every_n_steps": "schedule.checkpoint_every",
    "save_model_as": _BY_FORGE,
    "save_n_epoch_ratio": "schedule.checkpoint_every",
    "save_precision": "precision.save",
    "save_state": _BY_FORGE,
    "save_state_on_train_end": _BY_FORGE,
    "seed": "seed",
    "shuffle_caption": "captions.shuffle",
    "skip_until_initial_step": _BY_FORGE,
    "t5xxl": "--t5xxl",
    "text_encoder_lr": "optimizer.text_encoder_learning_rate",
    "timestep_sampling": "loss.timestep_sampling",
    "tokenizer_cache_dir": "--tokenizers",
    "train_batch_size": "schedule.batch_size",
    "train_data_dir": "--dataset",
    "unet_lr": "optimizer.learning_rate",
    "use_8bit_adam": "optimizer.name",
    "use_lion_optimizer": "optimizer.name",
    "vae": "--vae",
}
"""Engine options that forge decides itself → the preset key or flag that says them; empty where none does."""


def check_trust(preset: Preset, origins: Mapping[str, Origin], *, trust_code: bool) -> list[Finding]:
    """Refuse what a file may not ask for; ``trust_code`` permits code alone, never a secret or a contradiction."""
    findings = list(_options(preset.engine.options, origins))
    if not trust_code:
        findings += _code(preset, origins)
    return findings


def without_refused(preset: Preset) -> Preset:
    """The preset without the engine options that are refused whatever they say: no rule need judge them again."""
    options = preset.engine.options
    kept = {key: value for key, value in options.items() if key not in OWNED_OPTIONS and key not in SECRET_OPTIONS}
    if len(kept) == len(options):
        return preset
    return preset.model_copy(update={"engine": preset.engine.model_copy(update={"options": kept})})


def _code(preset: Preset, origins: Mapping[str, Origin]) -> Iterator[Finding]:
    yield from _optimizer(preset.optimizer.name, _place("optimizer.name", origins))
    for option, value in preset.engine.options.items():
        place = _place("engine.options", origins, option)
        if option in CODE_OPTIONS:
            yield _untrusted(f"engine.options.{option}", value, "makes the engine import a Python module", place)
        elif option in WEIGHT_OPTIONS and not str(value).endswith(".safetensors"):
            what = "is no safetensors file: the engine would load it as pickle, which can run code"
            yield _untrusted(f"engine.options.{option}", value, what, place)


def _optimizer(name: str, place: str) -> Iterator[Finding]:
    """A name without a dot cannot import anything: the engine looks it up in torch.optim."""
    if "." in name:
        yield _untrusted("optimizer.name", name, "makes the engine import a Python module", place)


def _untrusted(key: str, value: Value, what: str, place: str) -> Finding:
    hint = f"Add {TRUST_FLAG} if you know that code and trust it."
    return error("untrusted-code", f"{key} = {shown(value)} {what}.", hint, place)


def _options(options: Mapping[str, bool | int | float | str], origins: Mapping[str, Origin]) -> Iterator[Finding]:
    for option in options:
        place = _place("engine.options", origins, option)
        if option in SECRET_OPTIONS:
            message = f"engine.options.{option} would write a secret into the run's files."
            hint = f"Remove it and set the environment variable {SECRET_OPTIONS[option]}."
            yield error("engine-option-secret", message, hint, place)
        elif option in OWNED_OPTIONS:
            yield _owned(option, place)


def _owned(option: str, place: str) -> Finding:
    key = OWNED_OPTIONS[option]
    if key == _BY_FORGE:
        message = f"engine.options.{cut(option)} is decided by forge for every run."
        return error("engine-option-owned", message, "Remove it.", place)
    message = f"engine.options.{cut(option)} is what {key} says; two words for one thing could differ."
    return error("engine-option-owned", message, f"Remove it and use {key}.", place)


def _place(key: str, origins: Mapping[str, Origin], part: str = "") -> str:
    return origins[key].written.place(part) if key in origins else key
