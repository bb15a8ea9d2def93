"""What must be known of a model family, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Union

from lora_forge.families.modules import LoraModule

OptionValue = Union[bool, int, float, str]


@dataclass(frozen=True)
class ModelFile:
    """A file the engine loads: ``name`` is forge's word, ``option`` the engine's."""

    name: str
    option: str
    about: str
    holds: tuple[str, ...]
    """What the file's own header may say it is (see ``models.recognise``)."""
    required: bool = True

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


@dataclass(frozen=True)
class FamilyDefault:
    """A preset key's value for this family where nobody wrote one, or for one optimizer only."""

    key: str
    value: bool | int | float | str | None
    why: str
    optimizer: str | None = None


@dataclass(frozen=True)
class Lever:
    """What cards of up to ``up_to_gib`` change; a ``cap`` only lowers a larger value."""

    up_to_gib: int
    key: str
    value: Union[bool, int]
    why: str
    cap: bool = False
    kinds: tuple[str, ...] = ("lora", "loha", "lokr")


_NOT_IN_LORA_SCRIPTS = "the engine's LoRA scripts never read it"
_DATASET_FILE = "the dataset file, which forge writes, says it and stands before it"

NEVER_READ: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "metadata_trigger_phrase",
            "metadata_usage_hint",
            "metadata_thumbnail",
            "metadata_preprocessor",
            "metadata_merged_from",
            "metadata_is_negative_embedding",
            "controlnet_model_name_or_path",
        ),
        _NOT_IN_LORA_SCRIPTS,
    ),
    "fused_backward_pass": "the engine's LoRA scripts check it and never do it",
    **dict.fromkeys(
        ("train_data_dir", "reg_data_dir", "in_json", "dataset_repeats", "conditioning_data_dir"), _DATASET_FILE
    ),
    **dict.fromkeys(("resolution", "train_batch_size", "enable_bucket", "bucket_no_upscale"), _DATASET_FILE),
    **dict.fromkeys(("min_bucket_reso", "max_bucket_reso", "bucket_reso_steps"), _DATASET_FILE),
    **dict.fromkeys(("caption_extension", "caption_extention", "shuffle_caption", "keep_tokens"), _DATASET_FILE),
    **dict.fromkeys(("color_aug", "flip_aug", "random_crop"), _DATASET_FILE),
}
"""Engine options that no family's LoRA training reads, or that the dataset file overrules → why."""


@dataclass(frozen=True)
class Family:
    """One model family. A new one is one more module in this folder that exports ``FAMILY``."""

    name: str
    title: str
    script: str
    """The engine's training script, without ``.py``; it also names the option table."""
    files: tuple[ModelFile, ...]
    tokenizers: tuple[str, ...]
    """Hugging Face ids; the engine looks for ``<tokenizer_cache_dir>/<id with _ for />`` first."""
    native_resolution: int
    bucket_divisor: int
    """The engine refuses bucket steps that this does not divide (``verify_bucket_reso_steps``)."""
    network_modules: Mapping[str, str]
    """Kind of network → the engine's module that builds it."""
    fp8_option: str
    defaults: tuple[FamilyDefault, ...]
    always: Mapping[str, OptionValue]
    """Engine options sent in every run, because the engine's own defaults differ."""
    inert: Mapping[str, str]
    """Preset keys that the engine accepts and ignores for this family → why."""
    text_encoders: tuple[str, ...]
    trainable_text_encoders: tuple[str, ...]
    """Those that the engine lays a LoRA on without being asked for more."""
    caches_text_encoder_outputs: bool
    """Whether the engine can cache them for this family at all."""
    caches_while_training_text_encoder: bool
    """Whether outputs of the untrained encoders may stay cached while another one trains."""
    modules: Callable[[int, int], tuple[LoraModule, ...]]
    """The UNet's or DiT's LoRA modules by (double, single) block count; families without blocks ignore both."""
    text_encoder_modules: Callable[[], tuple[LoraModule, ...]]
    latent_channels: int
    caption_values: int
    """Numbers in the cached text-encoder outputs of one caption, all encoders together."""
    inert_options: Mapping[str, str] = field(default_factory=lambda: NEVER_READ)
    """Engine options without a word of forge's that the engine accepts and ignores for this family → why."""
    blocks: tuple[int, int] = (0, 0)
    """(double, single) block count of the family's usual base model."""
    max_blocks_to_swap: int | None = None
    """None where the engine swaps no blocks of this family."""
    flow_matching: bool = False
    """Trained by flow matching: its loss scatters by the timestep drawn."""
    offloads_checkpoints: bool = False
    """Whether ``cpu_offload_checkpointing`` reaches the family's model."""
    weighs_captions: bool = True
    """Whether the engine has weighted captions for it."""
    weights_gib: int = 0
    """The base model's weights in 16 bits, where a card of that size is common."""
    batch_on_24_gib: int | None = None
    """The largest batch that the engine's guide gives for a 24 GB card with an fp8 base."""
    fixed_shift: float | None = None
    """What ``timestep_sampling: shift`` shifts by at the native resolution, and only there; None without timesteps."""
    guidance_word: str = "scale"
    """What the family's sampler calls the guidance of a picture; it passes over any other word in silence."""
    prompt_always: Mapping[str, OptionValue] = field(default_factory=dict)
    """Said with every sample prompt, because the sampler's own default differs."""
    levers: tuple[Lever, ...] = ()
    lean_optimizer_up_to_gib: int = 0
    """Cards of up to this size have no room for an optimizer that keeps its whole state (0: no such advice)."""
    fp8_runs_on_cpu: bool = True
    """False where norms in fp8 fail without CUDA, whose autocast runs them in fp32."""
    like: str | None = None
    """Another family whose presets fit this one too."""
    verified: bool = True
    """False where no training of this family has been seen to run yet."""
