"""The LoRA's modules from a base model's own tensors, so that every width is the real one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lora_forge.families.modules import LoraModule, Part, clip_modules, sd15_name, sdxl_name
from lora_forge.models.header import Header
from lora_forge.safetensors_header import TensorEntry

_PREFIX = "model.diffusion_model."
_WEIGHT = ".weight"


def block_counts(names: Iterable[str]) -> tuple[int, int]:
    """Count FLUX's double and single blocks, by the highest number there is, as the engine does.

    Mirrors ``flux_utils.analyze_checkpoint_state``; knows the original names and
    those of Diffusers.
    """
    double, single = -1, -1
    for name in names:
        match = _BLOCK.match(name.removeprefix(_PREFIX))
        if match and match["single"]:
            single = max(single, int(match["index"]))
        elif match:
            double = max(double, int(match["index"]))
    return double + 1, single + 1


def flux_modules_from_header(header: Header) -> tuple[LoraModule, ...]:
    """List FLUX's or Chroma's modules: every linear layer inside a block.

    A Diffusers layout keeps queries, keys and values apart, which the engine joins
    on loading; their widths are then added up.
    """
    weights = {name: tensor for name, tensor in _weights(header).items() if _BLOCK.match(name)}
    if any("transformer_blocks." in name for name in weights):
        return _joined_modules(weights)
    return tuple(
        LoraModule(f"lora_unet_{name}".replace(".", "_"), "linear", tensor.shape[1], tensor.shape[0])
        for name, tensor in sorted(weights.items(), key=lambda item: _natural(item[0]))
    )


def sd_modules_from_header(header: Header, family: str) -> tuple[LoraModule, ...]:
    """List the modules of an SD 1.5, SD 2 or SDXL UNet, under the names that the engine gives them.

    A Diffusers UNet of SDXL tells nothing: the engine renames its layers on loading.
    """
    weights = _weights(header)
    diffusers = any(name.startswith("down_blocks.") for name in weights)
    if diffusers and family == "sdxl":
        return ()
    modules = []
    for name, tensor in sorted(weights.items(), key=lambda item: _natural(item[0])):
        lora_name = f"lora_unet_{name}".replace(".", "_") if diffusers else _ldm_name(name, family)
        part = _unet_part(name, family)
        if lora_name and part:
            modules.append(_module(lora_name, tensor, part))
    return tuple(modules)


def clip_modules_from_header(header: Header, prefix: str) -> tuple[LoraModule, ...]:
    """List a CLIP text encoder's modules; the file may be the encoder alone or a whole checkpoint."""
    return _encoder_modules(header, _CLIP_LAYER, prefix, "text-encoder")


def checkpoint_text_encoders(header: Header, family: str) -> tuple[LoraModule, ...]:
    """List the modules of the text encoders inside a whole checkpoint; empty where it holds none."""
    if family != "sdxl":
        return clip_modules_from_header(header, "lora_te")
    return (*clip_modules_from_header(header, "lora_te1"), *_open_clip_modules(header, "lora_te2"))


def _open_clip_modules(header: Header, prefix: str) -> tuple[LoraModule, ...]:
    """OpenCLIP joins queries, keys and values; the engine takes them apart on loading, under CLIP's names."""
    layers = [(int(match[1]), tensor) for name, tensor in header.tensors.items() if (match := _OPEN_CLIP.search(name))]
    if not layers:
        return ()
    mlp, hidden = layers[0][1].shape
    return clip_modules(prefix, layers=max(index for index, _ in layers) + 1, hidden=hidden, mlp=mlp)


def t5_modules_from_header(header: Header, prefix: str = "lora_te3") -> tuple[LoraModule, ...]:
    return _encoder_modules(header, _T5_LAYER, prefix, "t5")


_BLOCK = re.compile(
    r"(?:double_blocks|transformer_blocks|(?P<single>single_(?:transformer_)?blocks))\.(?P<index>\d+)\."
)
_CLIP_LAYER = re.compile(r"(?:^|\.)(text_model\.encoder\.layers\.\d+\.(?:self_attn|mlp)\.\w+)$")
_T5_LAYER = re.compile(r"^(encoder\.block\.\d+\.layer\.\d+\.(?:SelfAttention\.[qkvo]|DenseReluDense\.\w+))$")
_OPEN_CLIP = re.compile(r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.weight$")
_LDM_BLOCK = re.compile(r"(?:input_blocks|output_blocks|middle_block)\.")
_ATTENTION = re.compile(r"\.(?:proj_in|proj_out|transformer_blocks\.\d+\.(?:attn[12]|ff)\..+)$")
_RESNET = re.compile(
    r"\.(?:in_layers\.2|emb_layers\.1|out_layers\.3|skip_connection|op|conv"
    r"|conv1|conv2|time_emb_proj|conv_shortcut)$"
)
_EDGES = re.compile(r"(?:time_embed\.[02]|input_blocks\.0\.0|out\.2|conv_in|conv_out|time_embedding\.linear_[12])$")

_DOUBLE_LAYERS = {
    "img_mod_lin": ("norm1.linear",),
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "img_attn_proj": ("attn.to_out.0",),
    "img_mlp_0": ("ff.net.0.proj",),
    "img_mlp_2": ("ff.net.2",),
    "txt_mod_lin": ("norm1_context.linear",),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn_proj": ("attn.to_add_out",),
    "txt_mlp_0": ("ff_context.net.0.proj",),
    "txt_mlp_2": ("ff_context.net.2",),
}
_SINGLE_LAYERS = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation_lin": ("norm.linear",),
}


def _joined_modules(weights: dict[str, TensorEntry]) -> tuple[LoraModule, ...]:
    modules = []
    counts = block_counts(f"{name}{_WEIGHT}" for name in weights)
    stacks = (
        ("double_blocks", "transformer_blocks", _DOUBLE_LAYERS),
        ("single_blocks", "single_transformer_blocks", _SINGLE_LAYERS),
    )
    for count, (ours, theirs, layers) in zip(counts, stacks, strict=True):
        for block in range(count):
            for layer, sources in layers.items():
                shapes = [
                    weights[f"{theirs}.{block}.{source}"].shape
                    for source in sources
                    if f"{theirs}.{block}.{source}" in weights
                ]
                if len(shapes) == len(sources):
                    out = sum(shape[0] for shape in shapes)
                    modules.append(LoraModule(f"lora_unet_{ours}_{block}_{layer}", "linear", shapes[0][1], out))
    return tuple(modules)


def _encoder_modules(header: Header, layer: re.Pattern[str], prefix: str, part: Part) -> tuple[LoraModule, ...]:
    found = [(match[1], tensor) for name, tensor in _weights(header).items() if (match := layer.search(name))]
    return tuple(
        _module(f"{prefix}_{name}".replace(".", "_"), tensor, part)
        for name, tensor in sorted(found, key=lambda item: _natural(item[0]))
    )


def _weights(header: Header) -> dict[str, TensorEntry]:
    """Every matrix and convolution kernel, under its bare name; vectors (norms) have no LoRA."""
    return {
        name.removeprefix(_PREFIX).removesuffix(_WEIGHT): tensor
        for name, tensor in header.tensors.items()
        if name.endswith(_WEIGHT) and len(tensor.shape) in (2, 4)
    }


def _module(name: str, tensor: TensorEntry, part: Part) -> LoraModule:
    out, width, *kernel = tensor.shape
    return LoraModule(name, "conv" if kernel else "linear", width, out, kernel[0] if kernel else 1, part)


def _ldm_name(name: str, family: str) -> str:
    return sdxl_name(name) if family == "sdxl" else sd15_name(name)


def _unet_part(name: str, family: str) -> Part | None:
    if _EDGES.match(name):
        return None if family == "sdxl" else "edge"
    if not _LDM_BLOCK.match(name) and not re.match(r"(?:down_blocks|up_blocks|mid_block)\.", name):
        return None
    if _ATTENTION.search(name):
        return "block"
    return "resnet" if _RESNET.search(name) else None


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort block 10 after block 9."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in name.split(".")]
