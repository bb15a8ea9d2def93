"""The network: rank, alpha, its arguments, the modules it is laid on and the bytes it will take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from lora_forge.families.family import Family
from lora_forge.families.modules import LoraModule
from lora_forge.models.facts import ModelFacts
from lora_forge.plan.choices import Choices
from lora_forge.plan.model import ArgValue, Decided, NetworkPlan, PrecisionPlan, TextEncoderPlan
from lora_forge.plan.sizes import (
    Dtype,
    NetworkShape,
    header_bytes,
    lora_tensors,
    select_modules,
    splits_convolution,
    tensor_bytes,
)
from lora_forge.policies.policy import Sized
from lora_forge.settings import Source

DEFAULT_RANK = 16
SAVE_DTYPES: dict[str, Dtype] = {"bf16": "bf16", "fp16": "fp16", "float": "fp32"}
"""The engine's word for a save precision → the dtype of the file."""

LYCORIS_FACTOR = -1
"""LoKr's most even split, lycoris-lora's own default."""


class LoraSize(NamedTuple):
    """Bytes of tensor data (exact) and of all that precedes it (an estimate)."""

    data: int
    header: int


def decide_network(choices: Choices, family: Family, precision: PrecisionPlan) -> NetworkPlan:
    kind = cast("Decided[str]", choices.of("network.kind"))
    rank = _rank(choices)
    alpha = _alpha(choices, rank)
    conv_rank = _conv_rank(choices, family, rank)
    return NetworkPlan(
        kind=kind,
        rank=rank,
        alpha=alpha,
        dropout=choices.of("network.dropout"),
        conv_rank=conv_rank,
        conv_alpha=_conv_alpha(choices, family, conv_rank, alpha.value / rank.value),
        factor=_factor(choices, kind.value),
        args=_args(choices, family, kind.value, precision),
    )


def _rank(choices: Choices) -> Decided[int]:
    rank = choices.sized("network.rank", choices.sizing.rank)
    if rank.value is None:
        return Decided(value=DEFAULT_RANK, source=Source.DEFAULT, why="16 suits most sets of 15 to 30 images")
    return cast("Decided[int]", rank)


def _alpha(choices: Choices, rank: Decided[int]) -> Decided[float]:
    by_policy = choices.sizing.alpha
    if by_policy and choices.sizing.alpha_is_rank:
        by_policy = Sized(float(rank.value), by_policy.why)
    alpha = choices.sized("network.alpha", by_policy)
    if alpha.value is None:
        why = "alpha equals rank, so the learning rate acts unscaled"
        return Decided(value=float(rank.value), source=Source.DEFAULT, why=why)
    return cast("Decided[float]", alpha)


def _conv_rank(choices: Choices, family: Family, rank: Decided[int]) -> Decided[int | None]:
    """LyCORIS lays itself on convolutions too; its own rank for them, where none is said, is the linear one."""
    decided = cast("Decided[int | None]", choices.of("network.conv_rank"))
    plain = choices.of("network.kind").value == "lora"
    if decided.value is not None or plain or "network.conv_rank" in family.inert:
        return decided
    return Decided(value=rank.value, source=Source.DEFAULT, why="LyCORIS trains convolutions at the rank of the rest")


def _conv_alpha(
    choices: Choices, family: Family, conv_rank: Decided[int | None], per_rank: float
) -> Decided[float | None]:
    """Left unsaid, the engine would take 1 for a plain LoRA and the linear alpha for LyCORIS, whatever the rank."""
    decided = cast("Decided[float | None]", choices.of("network.conv_alpha"))
    if decided.value is not None or conv_rank.value is None or "network.conv_rank" in family.inert:
        return decided
    return Decided(value=conv_rank.value * per_rank, source=Source.DEFAULT, why="to its rank as alpha is to rank")


def fp8_obstacle(choices: Choices, modules: tuple[LoraModule, ...]) -> str | None:
    """Why this network cannot lie on an fp8 base, or None.

    LyCORIS must compute beside fp8 weights (bypass_mode), and there LoKr fails on every
    convolution whose second factor is split (lycoris-lora 3.4.0, LokrModule.bypass_forward_diff).
    """
    if choices.of("network.kind").value != "lokr":
        return None
    shape = NetworkShape(
        kind="lokr",
        rank=_rank(choices).value,
        alpha=1.0,
        conv_rank=cast("int | None", choices.of("network.conv_rank").value),
        factor=cast("int", _factor(choices, "lokr").value),
    )
    split = sum(splits_convolution(module, shape) for module in select_modules(modules, shape))
    return f"LyCORIS fails on {split} split convolutions of LoKr beside fp8 weights" if split else None


def _factor(choices: Choices, kind: str) -> Decided[object]:
    decided = choices.of("network.factor")
    if kind == "lokr" and decided.value is None:
        return Decided(value=LYCORIS_FACTOR, source=Source.DEFAULT, why="the most even split of every width")
    return decided


def _args(choices: Choices, family: Family, kind: str, precision: PrecisionPlan) -> Decided[object]:
    """The network's arguments beyond rank and alpha, in the engine's spelling."""
    written = choices.of("network.args")
    args: dict[str, ArgValue] = {}
    reasons = []
    if kind != "lora":
        args["algo"] = kind
        if precision.fp8_base.value:
            args["bypass_mode"] = True
            reasons.append("LyCORIS cannot multiply fp8 weights, so it computes beside them (bypass_mode)")
        if choices.value("network.use_cp") and "network.use_cp" not in family.inert:
            args["use_tucker"] = True
            reasons.append("use_cp is the old name of use_tucker")
    own = cast("dict[str, ArgValue]", written.value)
    if not args:
        return written
    why = "; ".join([f"{kind} of LyCORIS", *reasons])
    return Decided(value={**args, **own}, source=Source.FAMILY if not own else written.source, why=why)


def network_shape(network: NetworkPlan) -> NetworkShape:
    return NetworkShape(
        kind=network.kind.value,
        rank=network.rank.value,
        alpha=network.alpha.value,
        conv_rank=network.conv_rank.value,
        conv_alpha=network.conv_alpha.value,
        factor=network.factor.value if network.factor.value is not None else LYCORIS_FACTOR,
        tucker=bool(network.args.value.get("use_tucker", False)),
    )


def lora_modules(family: Family, models: Mapping[str, ModelFacts], encoder: TextEncoderPlan) -> tuple[LoraModule, ...]:
    """The layers a LoRA is laid on: read from the model files where there are any, else the family's usual ones."""
    base = models.get("model")
    unet = base.modules if base and base.modules is not None else family.modules(*family.blocks)
    if encoder.mode.value == "frozen":
        return unet
    return (*unet, *_text_encoder_modules(family, models))


def _text_encoder_modules(family: Family, models: Mapping[str, ModelFacts]) -> tuple[LoraModule, ...]:
    """From the encoder's own file, else from inside the checkpoint, else the family's usual ones."""
    base, own = models.get("model"), models.get("clip_l")
    if own and own.modules is not None:
        return own.modules
    if base and base.text_encoder_modules is not None:
        return base.text_encoder_modules
    return family.text_encoder_modules()


def lora_size(network: NetworkPlan, precision: PrecisionPlan, modules: tuple[LoraModule, ...]) -> LoraSize:
    dtype = SAVE_DTYPES[precision.save.value]
    tensors = lora_tensors(modules, network_shape(network))
    return LoraSize(tensor_bytes(tensors, dtype), header_bytes(tensors, dtype))
