"""Base models: read by header, recognised by content, refused with a reason."""

from __future__ import annotations

import json
import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_forge.families.modules import flux_modules
from lora_forge.models.facts import read_model
from lora_forge.models.header import InvalidModel, read_header

WIDTHS = {"F32": 4, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "U8": 1}
HIDDEN = 64
FLUX_DOUBLE = {
    f"double_blocks.0.{stream}_{layer}.weight": shape
    for stream in ("img", "txt")
    for layer, shape in {
        "mod.lin": (6 * HIDDEN, HIDDEN),
        "attn.qkv": (3 * HIDDEN, HIDDEN),
        "attn.proj": (HIDDEN, HIDDEN),
        "mlp.0": (4 * HIDDEN, HIDDEN),
        "mlp.2": (HIDDEN, 4 * HIDDEN),
    }.items()
}
FLUX_SINGLE = {
    "single_blocks.0.linear1.weight": (7 * HIDDEN, HIDDEN),
    "single_blocks.0.linear2.weight": (HIDDEN, 5 * HIDDEN),
    "single_blocks.0.modulation.lin.weight": (3 * HIDDEN, HIDDEN),
    "single_blocks.0.norm.query_norm.scale": (16,),
}
SCHNELL = {**FLUX_DOUBLE, **FLUX_SINGLE, "img_in.weight": (HIDDEN, 64)}
DEV = {**SCHNELL, "guidance_in.in_layer.bias": (HIDDEN,)}
DIFFUSERS = {
    **{
        f"transformer_blocks.0.{layer}.weight": shape
        for layer, shape in {
            "norm1.linear": (6 * HIDDEN, HIDDEN),
            "norm1_context.linear": (6 * HIDDEN, HIDDEN),
            **dict.fromkeys((f"attn.to_{part}" for part in ("q", "k", "v", "out.0", "add_out")), (HIDDEN, HIDDEN)),
            **dict.fromkeys((f"attn.add_{part}_proj" for part in "qkv"), (HIDDEN, HIDDEN)),
            "ff.net.0.proj": (4 * HIDDEN, HIDDEN),
            "ff.net.2": (HIDDEN, 4 * HIDDEN),
            "ff_context.net.0.proj": (4 * HIDDEN, HIDDEN),
            "ff_context.net.2": (HIDDEN, 4 * HIDDEN),
        }.items()
    },
    **dict.fromkeys((f"single_transformer_blocks.0.attn.to_{part}.weight" for part in "qkv"), (HIDDEN, HIDDEN)),
    "single_transformer_blocks.0.proj_mlp.weight": (4 * HIDDEN, HIDDEN),
    "single_transformer_blocks.0.proj_out.weight": (HIDDEN, 5 * HIDDEN),
    "single_transformer_blocks.0.norm.linear.weight": (3 * HIDDEN, HIDDEN),
    "time_text_embed.guidance_embedder.linear_1.bias": (HIDDEN,),
}
UNET = {"model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3)}
CLASSES = {"model.diffusion_model.label_emb.0.0.weight": (8, 8)}
AE = {"encoder.conv_in.weight": (8, 3, 3, 3), "decoder.conv_in.weight": (8, 16, 3, 3)}
CROSS = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
QUERY = "text_model.encoder.layers.0.self_attn.q_proj.weight"


def file_bytes(shapes, dtype="BF16", metadata=None):
    """A sound safetensors file of zeros."""
    header, offset = ({"__metadata__": metadata} if metadata else {}), 0
    for name, shape in shapes.items():
        end = offset + math.prod(shape) * WIDTHS[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(offset)


def save(path, shapes, dtype="BF16", metadata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file_bytes(shapes, dtype, metadata))
    return path


def with_header(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("shapes", "role", "family", "variant"),
    [
        (DEV, "base", "flux", "dev"),
        (SCHNELL, "base", "flux", "schnell"),
        ({f"model.diffusion_model.{name}": shape for name, shape in DEV.items()}, "base", "flux", "dev"),
        (DIFFUSERS, "base", "flux", "dev"),
        ({**SCHNELL, "distilled_guidance_layer.in_proj.weight": (8, 8)}, "base", "chroma", None),
        ({**DEV, "controlnet_blocks.0.weight": (8, 8)}, "unknown", None, None),
        ({"double_blocks.0.img_attn_qkv.weight": (8, 8)}, "unknown", None, None),
        ({"model.diffusion_model.joint_blocks.0.x.weight": (8, 8)}, "base", "sd3", None),
        (UNET, "base", "sd15", None),
        ({"model.diffusion_model.input_blocks.0.0.weight": (8, 9, 3, 3)}, "base", "sd15", "inpainting"),
        ({**UNET, CROSS: (8, 768)}, "base", "sd15", None),
        ({**UNET, CROSS: (8, 1024)}, "base", "sd2", None),
        ({**UNET, "cond_stage_model.model.ln.weight": (8,)}, "base", "sd2", None),
        ({**UNET, **CLASSES, "conditioner.embedders.1.model.x": (8,)}, "base", "sdxl", "base"),
        ({**UNET, **CLASSES, "conditioner.embedders.0.model.x": (8,)}, "base", "sdxl", "refiner"),
        ({"down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3)}, "base", "sd15", None),
        ({"encoder.block.0.layer.0.SelfAttention.q.weight": (8, 8)}, "t5xxl", None, None),
        (
            {"encoder.block.0.layer.0.SelfAttention.q.weight": (8, 8), "decoder.block.0.x": (8,)},
            "t5xxl",
            None,
            "full",
        ),
        ({QUERY: (768, 768)}, "clip_l", None, None),
        ({QUERY: (1280, 1280)}, "clip_g", None, None),
        (AE, "ae", None, None),
        ({**AE, "quant_conv.weight": (8, 8, 1, 1)}, "vae", None, None),
        ({"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (8, 8)}, "lora", None, None),
        ({"lora_unet_x.hada_w1_a": (8, 8)}, "lora", None, None),
        ({"anything.weight": (8, 8)}, "unknown", None, None),
        ({}, "unknown", None, None),
    ],
)
def test_a_file_is_recognised_by_what_it_holds(tmp_path, shapes, role, family, variant):
    facts = read_model(save(tmp_path / "sdxl-final.safetensors", shapes))
    assert (facts.role, facts.family, facts.variant) == (role, family, variant)


@pytest.mark.parametrize("shapes", [DEV, DIFFUSERS], ids=["original", "diffusers"])
def test_flux_gives_its_modules_with_its_own_widths_in_either_layout(tmp_path, shapes):
    facts = read_model(save(tmp_path / "m.safetensors", shapes))
    assert set(facts.modules or ()) == set(flux_modules(1, 1, hidden=HIDDEN))
    assert (facts.double_blocks, facts.single_blocks) == (1, 1)
    assert facts.layout == ("diffusers" if shapes is DIFFUSERS else "original")


def test_an_incomplete_diffusers_block_leaves_its_missing_layer_out(tmp_path):
    shapes = {name: shape for name, shape in DIFFUSERS.items() if "attn.to_k" not in name}
    names = {module.name for module in read_model(save(tmp_path / "m.safetensors", shapes)).modules or ()}
    assert "lora_unet_double_blocks_0_img_attn_qkv" not in names
    assert "lora_unet_double_blocks_0_txt_attn_qkv" in names


@pytest.mark.parametrize(("dtype", "fp8"), [("BF16", False), ("F8_E4M3", True), ("F8_E5M2", True)])
def test_the_dtype_of_most_bytes_is_the_models(tmp_path, dtype, fp8):
    facts = read_model(save(tmp_path / "m.safetensors", DEV, dtype))
    assert (facts.dtype, facts.is_fp8, facts.quantization) == (dtype, fp8, None)


def test_packed_weights_are_named_and_tell_no_widths_in_four_bits(tmp_path):
    scaled = read_model(save(tmp_path / "a.safetensors", {**DEV, "scaled_fp8": (1,)}))
    packed = read_model(save(tmp_path / "b.safetensors", {**DEV, "x.weight.quant_state.nf4": (1,)}))
    assert (scaled.quantization, scaled.modules is None) == ("scaled fp8", False)
    assert (packed.quantization, packed.modules) == ("4-bit bitsandbytes", None)


def test_a_diffusers_folder_is_read_across_its_shards(tmp_path):
    halves = [dict(list(DIFFUSERS.items())[part::3]) for part in range(3)]
    for number, half in enumerate(halves, 1):
        save(tmp_path / f"transformer/diffusion_pytorch_model-0000{number}-of-00003.safetensors", half)
    facts = read_model(tmp_path)
    assert facts.family == "flux"
    assert len(facts.modules or ()) == 13
    assert facts.size_bytes == sum(file.stat().st_size for file in (tmp_path / "transformer").iterdir())


def test_a_diffusers_unet_of_sd15_keeps_its_names_and_one_of_sdxl_tells_no_modules(tmp_path):
    unet = {
        "conv_in.weight": (8, 4, 3, 3),
        "down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3),
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight": (8, 8),
        "time_embedding.linear_1.weight": (8, 8),
        "add_embedding.linear_1.weight": (8, 8),
    }
    assert read_model(save(tmp_path / "xl.safetensors", unet)).modules is None
    del unet["add_embedding.linear_1.weight"]
    folder = tmp_path / "sd15"
    save(folder / "unet/diffusion_pytorch_model.safetensors", unet)
    save(folder / "unet/diffusion_pytorch_model.fp16.safetensors", {})
    found = {module.name: (module.kind, module.part) for module in read_model(folder).modules or ()}
    assert found == {
        "lora_unet_conv_in": ("conv", "edge"),
        "lora_unet_down_blocks_0_resnets_0_conv1": ("conv", "resnet"),
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": ("linear", "block"),
        "lora_unet_time_embedding_linear_1": ("linear", "edge"),
    }


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InvalidModel, match="is a folder, and not one of a Diffusers model"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04" + bytes(99), "zip with pickle"),
        (b"\x80\x02}q\x00." + bytes(99), "Python pickle"),
        (b"\x80\x04\x95" + bytes(99), "Python pickle"),
        (b"GGUF" + bytes(99), "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"", "cut off: 0 bytes"),
        (b"abc", "cut off: 3 bytes"),
        (bytes(99), "not a sound safetensors file: it would have a header of 0 bytes"),
        (b"\xff" * 99, "would have a header of"),
        (struct.pack("<Q", 500) + b"{}", "cut off"),
        (with_header(b"{nonsense}"), "not JSON"),
        (with_header(b"\xff\xfe\xff\xfe"), "not a JSON object"),
        (with_header(b'{"a":' + b"[" * 200_000), "not JSON"),
        (with_header([1, 2]), "not a JSON object"),
        (with_header({"__metadata__": {"a": 1}}), "metadata are not texts"),
        (with_header({"__metadata__": []}), "metadata are not texts"),
        (with_header({"a": 1}), "cannot be understood"),
        (with_header({"a": {"dtype": "Q4", "shape": [1], "data_offsets": [0, 1]}}), "cannot be understood"),
        (with_header({"a": {"dtype": "U8", "shape": [-1], "data_offsets": [0, 1]}}), "cannot be understood"),
        (with_header({"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}), "cannot be understood"),
        (with_header({"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 1]}}), "its shape needs 2"),
        (
            with_header({"a": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}}, bytes(3)),
            r"starts at byte \d+, not at",
        ),
        (with_header({"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}, bytes(3)), "belong to no tensor"),
    ],
)
def test_what_is_not_a_sound_safetensors_is_refused_with_a_reason(tmp_path, content, said):
    path = tmp_path / "flux.safetensors"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match=said) as caught:
        read_header(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 3


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(InvalidModel, match="No such file"):
        read_model(tmp_path / "flux.safetensors")


@given(st.data())
@settings(max_examples=60)
def test_a_file_cut_off_anywhere_is_noticed(tmp_path_factory, data):
    content = file_bytes(DEV)
    path = tmp_path_factory.mktemp("cut") / "m.safetensors"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(InvalidModel):
        read_header(path)


def test_metadata_and_shapes_are_read_without_the_data(tmp_path):
    header = read_header(save(tmp_path / "m.safetensors", {"a": (2, 3)}, "F32", {"format": "pt"}))
    assert header.metadata == {"format": "pt"}
    assert header.tensors["a"][:2] == ("F32", (2, 3))
    assert header.tensors["a"].size_bytes == 24
