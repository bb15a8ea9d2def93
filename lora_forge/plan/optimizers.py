"""The optimizers that the engine can build at its pin, and the arguments that each one takes.

Held to the classes themselves by ``tests/contract/test_rules_against_engine.py``.
"""

from __future__ import annotations

from collections.abc import Mapping

_COMMON = frozenset({"weight_decay", "maximize", "foreach", "differentiable"})
_ADAM = frozenset({"betas", "eps"})
_CAPTURED = _COMMON | _ADAM | {"capturable"}
_TORCH_ADAMW = _CAPTURED | {"amsgrad", "fused"}
_SGD = _COMMON | {"dampening", "momentum", "nesterov", "fused"}
_PAGED = frozenset({"weight_decay", "amsgrad", "args", "min_8bit_size", "optim_bits"}) | _ADAM
_SCHEDULE_FREE = frozenset({"foreach", "r", "weight_decay", "weight_lr_power"})

BUILT_IN: Mapping[str, frozenset[str]] = {
    "AdamW": _TORCH_ADAMW,
    "AdamW8bit": _PAGED | {"is_paged"},
    "PagedAdamW": _PAGED,
    "PagedAdamW8bit": _PAGED,
    "PagedAdamW32bit": _PAGED,
    "Lion": frozenset({"betas", "decoupled_weight_decay", "use_triton", "weight_decay"}),
    "Lion8bit": frozenset({"args", "betas", "is_paged", "min_8bit_size", "weight_decay"}),
    "PagedLion8bit": frozenset({"args", "betas", "min_8bit_size", "weight_decay"}),
    "SGDNesterov": _SGD - {"nesterov"},
    "SGDNesterov8bit": frozenset({"args", "dampening", "min_8bit_size", "momentum", "weight_decay"}),
    "Adafactor": frozenset({"beta1", "clip_threshold", "decay_rate", "eps", "weight_decay"})
    | {"relative_step", "scale_parameter", "warmup_init"},
    "Prodigy": frozenset({"beta3", "d0", "d_coef", "decouple", "fsdp_in_use", "growth_rate", "safeguard_warmup"})
    | {"slice_p", "use_bias_correction", "weight_decay"}
    | _ADAM,
    "AdamWScheduleFree": _SCHEDULE_FREE | _ADAM | {"warmup_steps"},
    "RAdamScheduleFree": _SCHEDULE_FREE | _ADAM | {"silent_sgd_phase"},
    "SGDScheduleFree": _SCHEDULE_FREE | {"momentum", "warmup_steps"},
}
"""Names the engine knows in any case of letters; each is in the locked environment."""

FROM_TORCH: Mapping[str, frozenset[str]] = {
    "ASGD": _COMMON | {"alpha", "capturable", "lambd", "t0"},
    "Adadelta": _COMMON | {"capturable", "eps", "rho"},
    "Adagrad": _COMMON | {"eps", "fused", "initial_accumulator_value", "lr_decay"},
    "Adam": _TORCH_ADAMW,
    "Adamax": _CAPTURED,
    "NAdam": _CAPTURED | {"decoupled_weight_decay", "momentum_decay"},
    "RAdam": _CAPTURED | {"decoupled_weight_decay"},
    "RMSprop": _COMMON | {"alpha", "capturable", "centered", "eps", "momentum"},
    "Rprop": (_COMMON - {"weight_decay"}) | {"capturable", "etas", "step_sizes"},
    "SGD": _SGD,
}
"""Names the engine looks up in ``torch.optim``, where the case of the letters counts."""

NOT_INSTALLED = "dadapt"
"""D-Adaptation: the engine knows these names, its locked environment lacks the package."""

NAMES: tuple[str, ...] = (*BUILT_IN, *FROM_TORCH)


FULL_STATE = frozenset(
    {"adam", "adamw", "adamax", "nadam", "radam", "adamwschedulefree", "radamschedulefree", "prodigy"}
)
"""Two fp32 numbers and more for every weight of the LoRA, kept on the card."""

LEANEST = "adafactor"
"""The engine's FLUX guide: it takes less memory than 8-bit AdamW."""

_BY_LOWER = {name.lower(): arguments for name, arguments in BUILT_IN.items()}


def arguments_of(name: str) -> frozenset[str] | None:
    """What an optimizer takes beside the learning rate; None where forge does not know it.

    >>> "weight_decay" in arguments_of("adamw8BIT"), arguments_of("sgd"), arguments_of("pkg.Own")
    (True, None, None)
    """
    return _BY_LOWER.get(name.lower()) or FROM_TORCH.get(name)


def is_known(name: str) -> bool:
    """Whether the engine can make something of it; a dotted name is a person's own class.

    >>> is_known("adamw8BIT"), is_known("pkg.Own"), is_known("DAdaptAdam"), is_known("AdamW8bitt")
    (True, True, True, False)
    """
    return arguments_of(name) is not None or "." in name or name.lower().startswith(NOT_INSTALLED)


def is_schedule_free(name: str) -> bool:
    return name.lower().endswith("schedulefree")


def wants_rate_near_one(name: str) -> bool:
    """Prodigy finds the rate itself; what is written scales its finding."""
    return name.lower() == "prodigy"
