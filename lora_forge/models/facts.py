"""What a base-model file is, told from its tensor names and shapes, never from its name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lora_forge.families.modules import LoraModule
from lora_forge.models.header import Header, InvalidModel, join_headers, read_header
from lora_forge.models.layers import (
    block_counts,
    checkpoint_text_encoders,
    clip_modules_from_header,
    flux_modules_from_header,
    sd_modules_from_header,
    t5_modules_from_header,
)

Role = Literal["base", "clip_l", "clip_g", "t5xxl", "ae", "vae", "lora", "unknown"]
Layout = Literal["original", "diffusers"]


@dataclass(frozen=True)
class ModelFacts:
    """One model file, as far as its header tells.

    ``family`` is set for base models (``role`` "base") alone. ``variant`` tells
    dev from schnell, base from refiner, inpainting from the rest. ``dtype`` is the
    one that most of the bytes have, in safetensors' spelling; ``quantization`` names
    a packed format that the engine would misread. ``modules`` are what a LoRA is
    laid on, with the real widths; None where this file does not tell.
    """

    path: Path
    role: Role
    family: str | None
    variant: str | None
    layout: Layout
    double_blocks: int
    single_blocks: int
    dtype: str
    quantization: str | None
    size_bytes: int
    modules: tuple[LoraModule, ...] | None
    text_encoder_modules: tuple[LoraModule, ...] | None = None
    """Of the text encoders inside a whole checkpoint; None where it holds none."""

    @property
    def is_fp8(self) -> bool:
        return self.dtype.startswith("F8_")


def read_model(path: Path) -> ModelFacts:
    """Read what a model file or Diffusers folder is.

    Raises:
        InvalidModel: nothing usable there.
    """
    return recognise(_folder_header(path) if path.is_dir() else read_header(path))


def recognise(header: Header) -> ModelFacts:
    """Tell what a header's tensors make up; ``role`` is "unknown" where nothing fits."""
    names = frozenset(_bare_names(header.tensors))
    role, family, variant = _identify(header, names)
    quantization = _quantization(header)
    double, single = block_counts(names) if family in ("flux", "chroma") else (0, 0)
    return ModelFacts(
        path=header.path,
        role=role,
        family=family,
        variant=variant,
        layout="diffusers" if _is_diffusers(names) else "original",
        double_blocks=double,
        single_blocks=single,
        dtype=_main_dtype(header),
        quantization=quantization,
        size_bytes=header.size_bytes,
        modules=None if quantization == _PACKED else _modules(header, role, family),
        text_encoder_modules=_text_encoders(header, family),
    )


_Identity = tuple[Role, "str | None", "str | None"]
_LORA_MARKS = re.compile(r"\.(lora_(down|up|mid|A|B)\b|hada_w[12]_|lokr_w[12]|oft_)|_lora\.(down|up)\.")
_FLUX_GUIDANCE = ("guidance_in.in_layer.bias", "time_text_embed.guidance_embedder.linear_1.bias")
_PACKED = "4-bit bitsandbytes"
_SD2_CONTEXT = 1024
_INPAINTING_CHANNELS = 9
_CLIP_G_WIDTH = 1280


def _identify(header: Header, names: frozenset[str]) -> _Identity:
    if any(_LORA_MARKS.search(name) for name in names):
        return "lora", None, None
    if _starts(names, "double_blocks.0.") or _starts(names, "transformer_blocks.0.attn.add_k_proj."):
        return _identify_flux(names)
    if _starts(names, "joint_blocks.0."):
        return "base", "sd3", None
    if names.intersection(("input_blocks.0.0.weight", "down_blocks.0.resnets.0.conv1.weight")):
        return _identify_unet(header, names)
    return _identify_part(header, names)


def _identify_flux(names: frozenset[str]) -> _Identity:
    """Tell FLUX.1 from its relatives: later models share the block names but not the modulation."""
    if _starts(names, "distilled_guidance_layer."):
        return "base", "chroma", None
    modulated = "double_blocks.0.img_mod.lin.weight", "transformer_blocks.0.norm1.linear.weight"
    single = _starts(names, "single_blocks.0.") or _starts(names, "single_transformer_blocks.0.")
    if not single or not names.intersection(modulated) or _starts(names, "controlnet_"):
        return "unknown", None, None
    return "base", "flux", "dev" if names.intersection(_FLUX_GUIDANCE) else "schnell"


def _identify_unet(header: Header, names: frozenset[str]) -> _Identity:
    inputs = _shape(header, "input_blocks.0.0.weight") or _shape(header, "conv_in.weight")
    variant = "inpainting" if len(inputs) > 1 and inputs[1] == _INPAINTING_CHANNELS else None
    if "label_emb.0.0.weight" in names or "add_embedding.linear_1.weight" in names:
        refiner = _starts(names, "conditioner.embedders.0.model.") and not _starts(names, "conditioner.embedders.1.")
        return "base", "sdxl", "refiner" if refiner else variant or "base"
    if _starts(names, "cond_stage_model.model.") or _context_width(header) == _SD2_CONTEXT:
        return "base", "sd2", variant
    return "base", "sd15", variant


def _identify_part(header: Header, names: frozenset[str]) -> _Identity:
    if "encoder.block.0.layer.0.SelfAttention.q.weight" in names:
        return "t5xxl", None, "full" if _starts(names, "decoder.block.") else None
    queries = _shape(header, "text_model.encoder.layers.0.self_attn.q_proj.weight")
    if queries:
        return ("clip_g" if queries[0] >= _CLIP_G_WIDTH else "clip_l"), None, None
    if "decoder.conv_in.weight" in names and "encoder.conv_in.weight" in names:
        return ("vae" if "quant_conv.weight" in names else "ae"), None, None
    return "unknown", None, None


def _modules(header: Header, role: Role, family: str | None) -> tuple[LoraModule, ...] | None:
    modules: tuple[LoraModule, ...] = ()
    if family in ("flux", "chroma"):
        modules = flux_modules_from_header(header)
    elif family in ("sd15", "sd2", "sdxl"):
        modules = sd_modules_from_header(header, family)
    elif role in ("clip_l", "clip_g"):
        modules = clip_modules_from_header(header, "lora_te1" if role == "clip_l" else "lora_te2")
    elif role == "t5xxl":
        modules = t5_modules_from_header(header)
    return modules or None


def _main_dtype(header: Header) -> str:
    weights: Counter[str] = Counter()
    for tensor in header.tensors.values():
        weights[tensor.dtype] += tensor.size_bytes
    return weights.most_common(1)[0][0] if weights else ""


def _quantization(header: Header) -> str | None:
    if any(name.endswith(("scaled_fp8", ".scale_weight", ".weight_scale")) for name in header.tensors):
        return "scaled fp8"
    if any(".quant_state." in name for name in header.tensors):
        return _PACKED
    return None


def _is_diffusers(names: frozenset[str]) -> bool:
    marks = (
        "transformer_blocks.0.attn.",
        "down_blocks.0.resnets.",
        "decoder.mid_block.",
        "encoder.mid_block.",
    )
    return any(_starts(names, mark) for mark in marks)


def _bare_names(names: Iterable[str]) -> Iterable[str]:
    return (name.removeprefix("model.diffusion_model.") for name in names)


def _starts(names: frozenset[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def _shape(header: Header, name: str) -> tuple[int, ...]:
    tensor = header.tensors.get(name) or header.tensors.get(f"model.diffusion_model.{name}")
    return tensor.shape if tensor else ()


def _context_width(header: Header) -> int:
    """How wide the text is that cross attention reads: 768 for SD 1.5, 1024 for SD 2."""
    for name, tensor in header.tensors.items():
        if name.endswith("attn2.to_k.weight") and len(tensor.shape) > 1:
            return tensor.shape[1]
    return 0


def _folder_header(path: Path) -> Header:
    for part in ("transformer", "unet"):
        shards = sorted((path / part).glob("diffusion_pytorch_model*.safetensors"))
        plain = [shard for shard in shards if shard.name == "diffusion_pytorch_model.safetensors"]
        if shards:
            return join_headers(path, map(read_header, plain or shards))
    message = f"{path} is a folder, and not one of a Diffusers model"
    raise InvalidModel(message, "name the .safetensors file itself")


def _text_encoders(header: Header, family: str | None) -> tuple[LoraModule, ...] | None:
    inside = checkpoint_text_encoders(header, family) if family in ("sd15", "sdxl") else ()
    return inside or None
