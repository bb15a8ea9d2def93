"""Sizes: the tensors of the LoRA file, their shapes, their bytes and the alpha stored in each.

Mirrors ``networks/lora.py`` and ``networks/lora_flux.py`` at the pinned commit and
the modules ``loha`` and ``lokr`` of lycoris-lora 3.4.0; contract tests compare with
the state of networks that the engine really built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from lora_forge.families.modules import LoraModule, Part

Shape = tuple[int, ...]
Dtype = Literal["fp32", "fp16", "bf16"]

DTYPE_BYTES: Mapping[str, int] = {"fp32": 4, "fp16": 2, "bf16": 2}
HEADER_NAMES: Mapping[str, str] = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}
ZERO_AT_START: Mapping[str, tuple[str, ...]] = {
    "lora": ("lora_up.weight",),
    "loha": ("hada_w2_a",),
    "lokr": ("lokr_w2", "lokr_w2_b"),
}
"""Ends of the names of tensors that start at zero, by kind: training must have moved them."""


METADATA_BYTES = 6000
"""About 80 keys as the engine writes them for one small dataset; captions come on top."""


class NetworkShape(NamedTuple):
    """What decides a LoRA's tensors.

    ``conv_rank`` and ``conv_alpha`` unset mean different things: plain LoRA then
    leaves the 3×3 convolutions alone (and takes 1 for a missing alpha), LyCORIS
    takes the rank and alpha of the linear layers. ``factor`` is LoKr's, ``tucker``
    LyCORIS's ``use_cp``.
    """

    kind: Literal["lora", "loha", "lokr"]
    rank: int
    alpha: float
    conv_rank: int | None = None
    conv_alpha: float | None = None
    factor: int = -1
    tucker: bool = False


def lora_tensors(modules: Iterable[LoraModule], network: NetworkShape) -> dict[str, Shape]:
    """Name every tensor of the finished file, with its shape, in the order of the file.

    ``modules`` are the trained ones: text encoders only where they are trained.
    """
    shapes: dict[str, Shape] = {}
    for module in select_modules(modules, network):
        shapes[f"{module.name}.alpha"] = ()
        for name, shape in _LAYOUTS[network.kind](module, network).items():
            shapes[f"{module.name}.{name}"] = shape
    return dict(sorted(shapes.items()))


def select_modules(modules: Iterable[LoraModule], network: NetworkShape) -> tuple[LoraModule, ...]:
    """Keep the modules that this kind of network is laid on.

    Plain LoRA enters residual blocks only with a convolution rank, but then takes
    their linear layers and 1×1 convolutions too, at the usual rank. LyCORIS enters
    everything except T5.
    """
    parts: set[Part] = {"block", "text-encoder"}
    if network.kind != "lora":
        parts |= {"resnet", "edge"}
    else:
        parts |= {"t5", "resnet"} if network.conv_rank is not None else {"t5"}
    return tuple(module for module in modules if module.part in parts and _rank(module, network))


def stored_alphas(modules: Iterable[LoraModule], network: NetworkShape) -> dict[str, float]:
    """Tell the alpha that the file holds for each module, by module name.

    Not always the plan's alpha: 0 means the rank, 3×3 convolutions have their own,
    and a LoKr module that needs no low rank at all stores the rank.
    """
    return {module.name: _stored_alpha(module, network) for module in select_modules(modules, network)}


def tensor_bytes(shapes: Mapping[str, Shape], dtype: Dtype, *, alpha_bytes: int | None = None) -> int:
    """Add up the tensor data of the file, to the byte.

    With a save precision set, alpha is cast like every other tensor. Without one it
    keeps its own type: 4 bytes, but 8 where plain LoRA was given a whole number
    (and 4 again for its 3×3 convolutions); ``alpha_bytes`` says so.
    """
    width = DTYPE_BYTES[dtype]
    alphas = sum(name.endswith(".alpha") for name in shapes)
    elements = sum(math.prod(shape) for shape in shapes.values())
    return width * (elements - alphas) + alphas * (width if alpha_bytes is None else alpha_bytes)


def header_bytes(shapes: Mapping[str, Shape], dtype: Dtype, metadata_bytes: int = METADATA_BYTES) -> int:
    """Estimate what the file holds before its tensor data, length field included.

    The tensor entries are exact for a file saved in one dtype; the metadata, with
    its captions, hashes and times, is not.
    """
    entries, offset = [], 0
    for name, shape in sorted(shapes.items()):
        end = offset + math.prod(shape) * DTYPE_BYTES[dtype]
        dims = ",".join(map(str, shape))
        entries.append(f'"{name}":{{"dtype":"{HEADER_NAMES[dtype]}","shape":[{dims}],"data_offsets":[{offset},{end}]}}')
        offset = end
    length = sum(map(len, entries)) + max(len(entries) - 1, 0) + len("{}") + metadata_bytes
    return 8 + length + -length % 8


def factorize(dimension: int, factor: int = -1) -> tuple[int, int]:
    """Split a width in two, the smaller first, as LoKr does.

    With a ``factor`` that divides the width, that factor; otherwise the most even
    split whose smaller side does not exceed it. Mirrors lycoris-lora 3.4.0,
    ``functional/general.py`` (``factorization``).

    >>> factorize(360, 8), factorize(360), factorize(250, 8)
    ((8, 45), (18, 20), (5, 50))
    """
    if factor > 0 and dimension % factor == 0:
        small, large = sorted((factor, dimension // factor))
        return small, large
    limit = dimension if factor < 0 else factor
    small = 1
    for candidate in range(2, math.isqrt(dimension) + 1):
        if candidate <= limit and dimension % candidate == 0:
            small = candidate
    return small, dimension // small


def splits_convolution(module: LoraModule, network: NetworkShape) -> bool:
    """Whether LoKr stores the large factor of a convolution as two matrices.

    >>> wide = LoraModule("conv", "conv", 320, 320, 3, "resnet")
    >>> splits_convolution(wide, NetworkShape("lokr", 64, 32.0, conv_rank=8, factor=8))
    True
    """
    return module.kind == "conv" and network.kind == "lokr" and "lokr_w2" not in _lokr(module, network)


def _rank(module: LoraModule, network: NetworkShape) -> int:
    if module.kernel == 1:
        return network.rank
    if network.kind == "lora":
        return network.conv_rank or 0
    return network.conv_rank or network.rank


def _alpha(module: LoraModule, network: NetworkShape) -> float:
    if module.kernel == 1:
        return network.alpha
    if network.kind == "lora":
        return 1.0 if network.conv_alpha is None else network.conv_alpha
    return network.conv_alpha or network.alpha


def _stored_alpha(module: LoraModule, network: NetworkShape) -> float:
    rank = _rank(module, network)
    if network.kind == "lokr" and "lokr_w2" in _lokr(module, network):
        return rank
    return _alpha(module, network) or rank


def _lora(module: LoraModule, network: NetworkShape) -> dict[str, Shape]:
    rank = _rank(module, network)
    tail, point = _kernel(module), (1, 1) if module.kind == "conv" else ()
    return {
        "lora_down.weight": (rank, module.in_features, *tail),
        "lora_up.weight": (module.out_features, rank, *point),
    }


def _loha(module: LoraModule, network: NetworkShape) -> dict[str, Shape]:
    rank, shapes = _rank(module, network), {}
    for half in ("1", "2"):
        if _tucker(module, network):
            shapes[f"hada_t{half}"] = (rank, rank, *_kernel(module))
            shapes[f"hada_w{half}_a"] = (rank, module.out_features)
            shapes[f"hada_w{half}_b"] = (rank, module.in_features)
        else:
            shapes[f"hada_w{half}_a"] = (module.out_features, rank)
            shapes[f"hada_w{half}_b"] = (rank, module.in_features * math.prod(_kernel(module)))
    return shapes


def _lokr(module: LoraModule, network: NetworkShape) -> dict[str, Shape]:
    """A Kronecker product: a small full matrix, and a large one that is split if the rank allows.

    Where the rank is half the larger side or more, splitting would save nothing, and
    the large matrix is stored whole.
    """
    rank, tail = _rank(module, network), _kernel(module)
    small_in, large_in = factorize(module.in_features, network.factor)
    small_out, large_out = factorize(module.out_features, network.factor)
    shapes: dict[str, Shape] = {"lokr_w1": (small_out, small_in)}
    if 2 * rank >= max(large_in, large_out):
        return shapes | {"lokr_w2": (large_out, large_in, *tail)}
    if _tucker(module, network):
        core: dict[str, Shape] = {"lokr_t2": (rank, rank, *tail)}
        return shapes | core | {"lokr_w2_a": (rank, large_out), "lokr_w2_b": (rank, large_in)}
    return shapes | {"lokr_w2_a": (large_out, rank), "lokr_w2_b": (rank, large_in * math.prod(tail))}


_LAYOUTS: Mapping[str, Callable[[LoraModule, NetworkShape], dict[str, Shape]]] = {
    "lora": _lora,
    "loha": _loha,
    "lokr": _lokr,
}


def _kernel(module: LoraModule) -> Shape:
    return (module.kernel, module.kernel) if module.kind == "conv" else ()


def _tucker(module: LoraModule, network: NetworkShape) -> bool:
    return network.tucker and module.kernel != 1
