"""A preset: what a person writes, and nothing that is measured or computed.

Its sections carry the names of the plan's sections, so a dotted key such as
``network.rank`` means the same in a preset, in ``--set`` and in the plan's JSON.
A key that is left out (or written as ``null``) is decided later: by the policy,
the family or the default below.
"""

from __future__ import annotations

from typing import Annotated, Literal, Union

from pydantic import BaseModel, ConfigDict, Field

HIGHEST_SEED = 2**32 - 1
"""numpy's bound: the engine seeds it too (accelerate's ``set_seed`` in train_network.py), and dies of a higher one."""
HIGHEST_SAMPLE_SEED = 2**63 - 1
"""torch alone is seeded for a picture, with 64 bits; a negative one would not be found in the picture's file name."""
MOST_STEPS = 1_000_000
"""A thousand times the usual run; beyond it, lists of checkpoints and of repeated images take all memory."""
MOST_REPEATS = 10_000
MOST_IN_A_STEP = 4_096
HIGHEST_RANK = 16_384
"""Wider than any layer of a known family; what is above would only fail to be allocated."""
HIGHEST_ALPHA = 65_504.0
"""The largest number that fp16 holds: a higher alpha would be saved as infinite."""
MOST_SAMPLE_STEPS = 1_000
"""The steps that the noise was trained in, and where the engine's own prompt reader stops."""
WIDEST = 4_096

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]
InAStep = Annotated[int, Field(ge=1, le=MOST_IN_A_STEP)]
Rank = Annotated[int, Field(ge=1, le=HIGHEST_RANK)]
Alpha = Annotated[float, Field(gt=0, le=HIGHEST_ALPHA)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Side = Annotated[int, Field(ge=64, le=WIDEST)]
Ending = Annotated[str, Field(pattern=r"^\.[^/\\]+$")]
ArgValue = Union[bool, int, float, str]


class Section(BaseModel):
    """Frozen, strict about types, and without room for misspelt keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Network(Section):
    kind: Literal["lora", "loha", "lokr"] = "lora"
    rank: Rank | None = None
    alpha: Alpha | None = None
    dropout: Fraction | None = None
    conv_rank: Rank | None = None
    conv_alpha: Alpha | None = None
    factor: Annotated[int, Field(ge=-1)] | None = None
    use_cp: bool | None = None
    args: dict[str, ArgValue] = Field(default_factory=dict)


class Schedule(Section):
    steps: Steps | None = None
    repeats: Annotated[int, Field(ge=1, le=MOST_REPEATS)] | None = None
    epochs: Steps | None = None
    batch_size: InAStep = 1
    grad_accum: InAStep = 1
    warmup_steps: Annotated[int, Field(ge=0, le=MOST_STEPS)] = 0
    checkpoint_every: Positive | None = None


class Optimizer(Section):
    name: str = "AdamW8bit"
    args: dict[str, ArgValue] = Field(default_factory=dict)
    learning_rate: PositiveFloat = 1e-4
    text_encoder_learning_rate: Annotated[float, Field(ge=0)] | None = None
    scheduler: str = "constant"
    scheduler_cycles: Steps | None = None
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0


class Data(Section):
    resolution: Side = 768
    min_bucket: Side = 384
    max_bucket: Side = 1024
    bucket_step: Annotated[int, Field(ge=1, le=WIDEST)] = 64
    upscale: bool = True
    validation: Positive | None = None


class Precision(Section):
    mixed: Literal["bf16", "fp16", "no"] = "bf16"
    full: bool = False
    fp8_base: bool = True
    save: Literal["bf16", "fp16", "float"] = "bf16"


class Memory(Section):
    gradient_checkpointing: bool = True
    cache_latents: bool = True
    cache_text_encoder_outputs: bool = True
    cache_to_disk: bool = False
    blocks_to_swap: NotNegative | None = None


class TextEncoder(Section):
    mode: Literal["frozen", "trained", "two-phase"] = "frozen"
    learning_rate_ratio: Annotated[float, Field(gt=0, le=1)] = 0.4
    switch_at: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Loss(Section):
    noise_offset: Annotated[float, Field(ge=0)] | None = None
    min_snr_gamma: PositiveFloat | None = None
    guidance_scale: PositiveFloat | None = None
    timestep_sampling: str | None = None
    model_prediction_type: str | None = None
    discrete_flow_shift: PositiveFloat | None = None
    kind: Literal["l2", "huber", "smooth_l1"] = "l2"
    huber_schedule: Literal["constant", "exponential", "snr"] | None = None


class Augment(Section):
    color: bool = False
    flip: bool = False
    random_crop: bool = False


class Captions(Section):
    extension: Ending = ".txt"
    shuffle: bool = False
    keep_tokens: NotNegative = 0
    dropout: Fraction = 0.0


class Sampling(Section):
    enabled: bool = True
    prompts: list[str] = Field(default_factory=list)
    guidance: PositiveFloat = 3.5
    steps: Annotated[int, Field(ge=1, le=MOST_SAMPLE_STEPS)] = 20
    seed: Annotated[int, Field(ge=0, le=HIGHEST_SAMPLE_SEED)] = 42


class Engine(Section):
    """Options forge has no word for; each is checked against the engine's option table."""

    options: dict[str, ArgValue] = Field(default_factory=dict)


class Preset(Section):
    """One YAML file, after the files it extends and everything written over it."""

    name: str
    about: str = ""
    families: list[str] = Field(min_length=1)
    subject: Literal["identity", "style", "any"] = "any"
    policy: str = "fixed"
    seed: Annotated[int, Field(ge=0, le=HIGHEST_SEED)] = 42
    trigger_required: bool = False
    reg_images: Literal["none", "recommended", "required"] = "none"
    network: Network = Field(default_factory=Network)
    schedule: Schedule = Field(default_factory=Schedule)
    optimizer: Optimizer = Field(default_factory=Optimizer)
    data: Data = Field(default_factory=Data)
    precision: Precision = Field(default_factory=Precision)
    memory: Memory = Field(default_factory=Memory)
    text_encoder: TextEncoder = Field(default_factory=TextEncoder)
    loss: Loss = Field(default_factory=Loss)
    augment: Augment = Field(default_factory=Augment)
    captions: Captions = Field(default_factory=Captions)
    sampling: Sampling = Field(default_factory=Sampling)
    engine: Engine = Field(default_factory=Engine)
