"""Which modules of a base model a LoRA is laid on: name, kind and widths of each.

Pure functions of a model's structure, named as the engine names them in the LoRA
file. What the engine selects was read from ``networks/lora.py``,
``networks/lora_flux.py`` and lycoris-lora 3.4.0 (``kohya.py``, preset ``full``);
contract tests compare with networks that the engine really built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

Kind = Literal["linear", "conv"]
Part = Literal["block", "resnet", "edge", "text-encoder", "t5"]


class LoraModule(NamedTuple):
    """One layer that a LoRA may be laid on.

    ``part`` decides which networks take it: ``block`` (transformer blocks) all of
    them, ``resnet`` (residual blocks, down- and upsamplers) plain LoRA only with a
    convolution rank, ``edge`` (first and last layers of SD 1.5) LyCORIS alone,
    ``t5`` never LyCORIS. ``kernel`` is the side of a convolution's kernel.
    """

    name: str
    kind: Kind
    in_features: int
    out_features: int
    kernel: int = 1
    part: Part = "block"


class UnetShape(NamedTuple):
    """What tells one UNet of the Stable Diffusion line from another.

    ``depths`` are transformer blocks per attention, by level; the last one is the
    middle's. ``linear_projection`` is how attention is entered: by a linear layer
    or by a 1×1 convolution.
    """

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    middle_depth: int
    context: int
    linear_projection: bool
    time_embedding: int


SD15_UNET = UnetShape((320, 640, 1280, 1280), (1, 1, 1, 0), 1, 768, False, 1280)
SDXL_UNET = UnetShape((320, 640, 1280), (0, 2, 10), 10, 2048, True, 1280)

_LAYERS_PER_LEVEL = 2
_LATENT_CHANNELS = 4


def flux_modules(
    double_blocks: int = 19, single_blocks: int = 38, hidden: int = 3072, mlp: int | None = None
) -> tuple[LoraModule, ...]:
    """List FLUX's modules: 10 in a double block, 3 in a single one.

    ``mlp`` is the inner width of the feed-forward layers, 4 × ``hidden`` if None.

    >>> len(flux_modules())
    304
    """
    mlp = 4 * hidden if mlp is None else mlp
    double = {
        f"{stream}_{layer}": widths
        for stream in ("img", "txt")
        for layer, widths in {
            "mod_lin": (hidden, 6 * hidden),
            "attn_qkv": (hidden, 3 * hidden),
            "attn_proj": (hidden, hidden),
            "mlp_0": (hidden, mlp),
            "mlp_2": (mlp, hidden),
        }.items()
    }
    single = {
        "linear1": (hidden, 3 * hidden + mlp),
        "linear2": (hidden + mlp, hidden),
        "modulation_lin": (hidden, 3 * hidden),
    }
    return (
        *_stack("lora_unet_double_blocks", double_blocks, double),
        *_stack("lora_unet_single_blocks", single_blocks, single),
    )


def sd15_modules(shape: UnetShape = SD15_UNET) -> tuple[LoraModule, ...]:
    """List the modules of SD 1.5's UNet, under the Diffusers names that the engine gives them."""
    return tuple(module._replace(name=sd15_name(module.name)) for module in ldm_unet(shape) if module.name)


def sdxl_modules(shape: UnetShape = SDXL_UNET) -> tuple[LoraModule, ...]:
    """List the modules of SDXL's UNet.

    The engine keeps the names of the checkpoint here, and LyCORIS, which looks for
    the edges by their Diffusers names, does not find them.
    """
    named = (module._replace(name=sdxl_name(module.name)) for module in ldm_unet(shape))
    return tuple(module for module in named if module.part != "edge")


def clip_l_modules(prefix: str = "lora_te1") -> tuple[LoraModule, ...]:
    """List CLIP-L's modules; the prefix is ``lora_te`` on SD 1.5, ``lora_te1`` on SDXL and FLUX."""
    return clip_modules(prefix, layers=12, hidden=768, mlp=3072)


def clip_g_modules(prefix: str = "lora_te2") -> tuple[LoraModule, ...]:
    """List the modules of OpenCLIP bigG, SDXL's second text encoder."""
    return clip_modules(prefix, layers=32, hidden=1280, mlp=5120)


def clip_modules(prefix: str, *, layers: int, hidden: int, mlp: int) -> tuple[LoraModule, ...]:
    widths = {f"self_attn_{layer}_proj": (hidden, hidden) for layer in "kvq"}
    widths |= {"self_attn_out_proj": (hidden, hidden), "mlp_fc1": (hidden, mlp), "mlp_fc2": (mlp, hidden)}
    return _stack(f"{prefix}_text_model_encoder_layers", layers, widths, part="text-encoder")


def t5_modules(
    prefix: str = "lora_te3", *, layers: int = 24, hidden: int = 4096, inner: int = 4096, mlp: int = 10240
) -> tuple[LoraModule, ...]:
    """List T5-XXL's modules; FLUX trains them only where ``train_t5xxl=True`` is asked for."""
    widths = {f"layer_0_SelfAttention_{layer}": (hidden, inner) for layer in "qkv"}
    widths |= {
        "layer_0_SelfAttention_o": (inner, hidden),
        "layer_1_DenseReluDense_wi_0": (hidden, mlp),
        "layer_1_DenseReluDense_wi_1": (hidden, mlp),
        "layer_1_DenseReluDense_wo": (mlp, hidden),
    }
    return _stack(f"{prefix}_encoder_block", layers, widths, part="t5")


def _stack(prefix: str, count: int, layers: dict[str, tuple[int, int]], part: Part = "block") -> tuple[LoraModule, ...]:
    return tuple(
        LoraModule(f"{prefix}_{block}_{name}", "linear", *widths, part=part)
        for block in range(count)
        for name, widths in layers.items()
    )


def ldm_unet(shape: UnetShape) -> tuple[LoraModule, ...]:
    """List a UNet's layers under the names of an LDM checkpoint, such as ``input_blocks.1.0.in_layers.2``.

    Class embeddings (SDXL's ``label_emb``) are left out: no network takes them.
    """
    first, time = shape.channels[0], shape.time_embedding
    return (
        LoraModule("time_embed.0", "linear", first, time, part="edge"),
        LoraModule("time_embed.2", "linear", time, time, part="edge"),
        LoraModule("input_blocks.0.0", "conv", _LATENT_CHANNELS, first, 3, "edge"),
        *_down(shape),
        *_middle(shape),
        *_up(shape),
        LoraModule("out.2", "conv", first, _LATENT_CHANNELS, 3, "edge"),
    )


def _down(shape: UnetShape) -> Iterator[LoraModule]:
    width, block = shape.channels[0], 0
    for level, channels in enumerate(shape.channels):
        for _ in range(_LAYERS_PER_LEVEL):
            block += 1
            yield from _resnet(f"input_blocks.{block}.0", width, channels, shape.time_embedding)
            yield from _attention(f"input_blocks.{block}.1", channels, shape.depths[level], shape)
            width = channels
        if level < len(shape.channels) - 1:
            block += 1
            yield LoraModule(f"input_blocks.{block}.0.op", "conv", width, width, 3, "resnet")


def _middle(shape: UnetShape) -> Iterator[LoraModule]:
    width = shape.channels[-1]
    yield from _resnet("middle_block.0", width, width, shape.time_embedding)
    yield from _attention("middle_block.1", width, shape.middle_depth, shape)
    yield from _resnet("middle_block.2", width, width, shape.time_embedding)


def _up(shape: UnetShape) -> Iterator[LoraModule]:
    skips, width, block = _skip_widths(shape.channels), shape.channels[-1], -1
    for level in reversed(range(len(shape.channels))):
        channels, depth = shape.channels[level], shape.depths[level]
        for layer in range(_LAYERS_PER_LEVEL + 1):
            block += 1
            prefix = f"output_blocks.{block}"
            yield from _resnet(f"{prefix}.0", width + skips.pop(), channels, shape.time_embedding)
            yield from _attention(f"{prefix}.1", channels, depth, shape)
            width = channels
            if level and layer == _LAYERS_PER_LEVEL:
                yield LoraModule(f"{prefix}.{2 if depth else 1}.conv", "conv", width, width, 3, "resnet")


def _skip_widths(channels: Sequence[int]) -> list[int]:
    """Width of every tensor that the way down hands to the way up."""
    skips = [channels[0]]
    for level, width in enumerate(channels):
        skips += [width] * (_LAYERS_PER_LEVEL + (level < len(channels) - 1))
    return skips


def _resnet(prefix: str, width: int, out: int, time: int) -> Iterator[LoraModule]:
    yield LoraModule(f"{prefix}.in_layers.2", "conv", width, out, 3, "resnet")
    yield LoraModule(f"{prefix}.emb_layers.1", "linear", time, out, part="resnet")
    yield LoraModule(f"{prefix}.out_layers.3", "conv", out, out, 3, "resnet")
    if width != out:
        yield LoraModule(f"{prefix}.skip_connection", "conv", width, out, 1, "resnet")


def _attention(prefix: str, width: int, depth: int, shape: UnetShape) -> Iterator[LoraModule]:
    if not depth:
        return
    projection: Kind = "linear" if shape.linear_projection else "conv"
    yield LoraModule(f"{prefix}.proj_in", projection, width, width)
    for block in range(depth):
        for name, widths in _transformer_block(width, shape.context).items():
            yield LoraModule(f"{prefix}.transformer_blocks.{block}.{name}", "linear", *widths)
    yield LoraModule(f"{prefix}.proj_out", projection, width, width)


def _transformer_block(width: int, context: int) -> dict[str, tuple[int, int]]:
    inner = 4 * width  # the gated activation takes two of these at once
    return {
        **{f"attn1.{layer}": (width, width) for layer in ("to_q", "to_k", "to_v", "to_out.0")},
        "ff.net.0.proj": (width, 2 * inner),
        "ff.net.2": (inner, width),
        "attn2.to_q": (width, width),
        "attn2.to_k": (context, width),
        "attn2.to_v": (context, width),
        "attn2.to_out.0": (width, width),
    }


_RESNET_NAMES = {
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_SD15_EDGES = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.2": "conv_out",
}
_LDM_NAME = re.compile(r"(?:(input|output)_blocks\.(\d+)|middle_block)\.(\d+)\.(.+)")


def sd15_name(ldm: str) -> str:
    """Give an LDM layer the name that the engine's LoRA of SD 1.5 has for it; "" if it has none.

    >>> sd15_name("input_blocks.4.1.proj_in")
    'lora_unet_down_blocks_1_attentions_0_proj_in'
    """
    match = _LDM_NAME.fullmatch(ldm)
    path = _SD15_EDGES.get(ldm, "") if match is None or ldm in _SD15_EDGES else _diffusers_path(*match.groups())
    return f"lora_unet_{path}".replace(".", "_") if path else ""


def sdxl_name(ldm: str) -> str:
    return f"lora_unet_{ldm}".replace(".", "_")


def _diffusers_path(way: str | None, block: str | None, place: str, layer: str) -> str:
    kind, layer = _diffusers_layer(layer)
    if way is None:
        return f"mid_block.{kind}.{int(place) // 2 if kind == 'resnets' else 0}.{layer}"
    # The way down starts after the first convolution; both ways take three blocks a level.
    level, index = divmod(int(block or 0) - (way == "input"), _LAYERS_PER_LEVEL + 1)
    index = 0 if kind.endswith("samplers") else index
    return f"{'down' if way == 'input' else 'up'}_blocks.{level}.{kind}.{index}.{layer}"


def _diffusers_layer(layer: str) -> tuple[str, str]:
    if layer in _RESNET_NAMES:
        return "resnets", _RESNET_NAMES[layer]
    if layer in ("op", "conv"):
        return ("downsamplers" if layer == "op" else "upsamplers"), "conv"
    return "attentions", layer
