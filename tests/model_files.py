"""Small model files of every kind, recognised by their tensors alone."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

Shapes = Mapping[str, tuple[int, ...]]

WIDE = 8
FLUX: Shapes = {
    "double_blocks.0.img_mod.lin.weight": (6 * WIDE, WIDE),
    "single_blocks.0.linear1.weight": (7 * WIDE, WIDE),
    "guidance_in.in_layer.bias": (WIDE,),
    "img_in.weight": (WIDE, 64),
}
FILL: Shapes = {**FLUX, "img_in.weight": (WIDE, 384)}
CLIP_L: Shapes = {"text_model.encoder.layers.0.self_attn.q_proj.weight": (WIDE, WIDE)}
T5: Shapes = {"encoder.block.0.layer.0.SelfAttention.q.weight": (WIDE, WIDE)}
AE: Shapes = {"encoder.conv_in.weight": (8, 3, 3, 3), "decoder.conv_in.weight": (8, 16, 3, 3)}
UNET: Shapes = {
    "model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3),
    "model.diffusion_model.label_emb.0.0.weight": (8, 8),
}
SDXL: Shapes = {
    **UNET,
    "conditioner.embedders.0.x": (1,),
    "conditioner.embedders.1.x": (1,),
    "first_stage_model.decoder.x": (1,),
}
_WIDTHS = {"BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}


def write_model(
    path: Path, shapes: Shapes, dtype: str = "BF16", fill: int = 0, metadata: Mapping[str, str] | None = None
) -> Path:
    """A sound safetensors file whose every byte of data is ``fill``."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, shape in shapes.items():
        end = offset + math.prod(shape) * _WIDTHS[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes([fill]) * offset)
    return path


def write_flux(folder: Path) -> dict[str, Path]:
    """The four files of FLUX as ComfyUI keeps them below ``folder``."""
    models = folder / "models"
    return {
        "model": write_model(models / "unet" / "a.safetensors", FLUX),
        "clip_l": write_model(models / "clip" / "b.safetensors", CLIP_L),
        "t5xxl": write_model(models / "text_encoders" / "c.safetensors", T5),
        "ae": write_model(models / "vae" / "d.safetensors", AE),
    }


def write_hub(hub: Path, repository: str, shapes: Mapping[str, Shapes], revision: str = "abc") -> Path:
    """A repository in a Hugging Face cache, its files as links to blobs."""
    folder = hub / ("models--" + repository.replace("/", "--"))
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(revision)
    snapshot = folder / "snapshots" / revision
    for number, (name, tensors) in enumerate(shapes.items()):
        blob = write_model(folder / "blobs" / f"{revision}{number}", tensors)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(blob)
    return snapshot
