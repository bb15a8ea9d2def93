"""The plan: every decided value with its source and its reason.

Its JSON is a contract (``docs/plan-json.md``): names are fixed, every leaf is
``{"value": …, "source": …, "why": …}``, and a value that does not apply is null.
"""

from __future__ import annotations

from typing import Generic, Literal, TypeVar, Union

from pydantic import BaseModel, ConfigDict

from lora_forge.plan.steps import Bucket
from lora_forge.settings import Source

T = TypeVar("T")
ArgValue = Union[bool, int, float, str]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Decided(Frozen, Generic[T]):
    """A value, who decided it, and why. ``where`` is the file and line or the flag that wrote it."""

    value: T
    source: Source
    why: str
    where: str = ""


class NetworkPlan(Frozen):
    kind: Decided[Literal["lora", "loha", "lokr"]]
    rank: Decided[int]
    alpha: Decided[float]
    dropout: Decided[float | None]
    conv_rank: Decided[int | None]
    conv_alpha: Decided[float | None]
    factor: Decided[int | None]
    args: Decided[dict[str, ArgValue]]


class SchedulePlan(Frozen):
    """``steps`` are optimizer steps; ``epochs`` counts begun epochs, the last one often cut short."""

    steps: Decided[int]
    repeats: Decided[int | dict[str, int]]
    epochs: Decided[int]
    steps_per_epoch: Decided[int]
    batch_size: Decided[int]
    grad_accum: Decided[int]
    warmup_steps: Decided[int]
    checkpoint_every: Decided[int]
    steps_per_image: Decided[float]
    exposures_per_image: Decided[float]


class OptimizerPlan(Frozen):
    name: Decided[str]
    args: Decided[dict[str, ArgValue]]
    learning_rate: Decided[float]
    text_encoder_learning_rate: Decided[float | None]
    scheduler: Decided[str]
    scheduler_cycles: Decided[int | None]
    max_grad_norm: Decided[float]


class DataPlan(Frozen):
    """``resolution``, ``min_bucket`` and ``max_bucket`` in pixels a side."""

    images: Decided[int]
    reg_images: Decided[int]
    validation_images: Decided[int]
    resolution: Decided[int]
    min_bucket: Decided[int]
    max_bucket: Decided[int]
    bucket_step: Decided[int]
    upscale: Decided[bool]
    buckets: Decided[tuple[Bucket, ...]]


class PrecisionPlan(Frozen):
    mixed: Decided[Literal["bf16", "fp16", "no"]]
    full: Decided[bool]
    fp8_base: Decided[bool]
    save: Decided[Literal["bf16", "fp16", "float"]]


class MemoryPlan(Frozen):
    gradient_checkpointing: Decided[bool]
    cache_latents: Decided[bool]
    cache_text_encoder_outputs: Decided[bool]
    cache_to_disk: Decided[bool]
    blocks_to_swap: Decided[int | None]


class TextEncoderPlan(Frozen):
    """``switch_step`` is the last optimizer step that still trains the text encoder."""

    mode: Decided[Literal["frozen", "trained", "two-phase"]]
    switch_step: Decided[int | None]
    reg_required: Decided[bool]


class LossPlan(Frozen):
    noise_offset: Decided[float | None]
    min_snr_gamma: Decided[float | None]
    guidance_scale: Decided[float | None]
    timestep_sampling: Decided[str | None]
    model_prediction_type: Decided[str | None]
    discrete_flow_shift: Decided[float | None]
    kind: Decided[Literal["l2", "huber", "smooth_l1"]]
    huber_schedule: Decided[str | None]


class AugmentPlan(Frozen):
    color: Decided[bool]
    flip: Decided[bool]
    random_crop: Decided[bool]


class CaptionsPlan(Frozen):
    extension: Decided[str]
    shuffle: Decided[bool]
    keep_tokens: Decided[int]
    dropout: Decided[float]


class SamplingPlan(Frozen):
    """``every`` is in steps; null where no picture is sampled."""

    every: Decided[int | None]
    prompts: Decided[tuple[str, ...]]
    guidance: Decided[float | None]
    steps: Decided[int | None]
    seed: Decided[int | None]


class OutputsPlan(Frozen):
    """``lora_bytes`` is tensor data, exact; ``header_bytes`` an estimate; ``checkpoints`` are steps.

    ``disk_bytes`` is all that the run will write: its files, and its caches where they go to disk.
    """

    lora_bytes: Decided[int]
    header_bytes: Decided[int]
    checkpoints: Decided[tuple[int, ...]]
    disk_bytes: Decided[int]


class Plan(Frozen):
    """All that will happen, decided before anything starts."""

    name: Decided[str]
    preset: Decided[str]
    policy: Decided[str]
    family: Decided[str]
    trigger: Decided[str | None]
    seed: Decided[int]
    gpus: Decided[int]
    vram_gib: Decided[float | None]
    network: NetworkPlan
    schedule: SchedulePlan
    optimizer: OptimizerPlan
    data: DataPlan
    precision: PrecisionPlan
    memory: MemoryPlan
    text_encoder: TextEncoderPlan
    loss: LossPlan
    augment: AugmentPlan
    captions: CaptionsPlan
    sampling: SamplingPlan
    outputs: OutputsPlan
    engine_options: Decided[dict[str, ArgValue]]
