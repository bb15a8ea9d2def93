"""Modules read from a base model's header against the networks that the engine laid on that model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from engine_dump import dump

from lora_forge.families import modules
from lora_forge.models.facts import recognise
from lora_forge.models.header import Header
from lora_forge.models.layers import (
    clip_modules_from_header,
    flux_modules_from_header,
    sd_modules_from_header,
    t5_modules_from_header,
)
from lora_forge.plan.sizes import NetworkShape, lora_tensors
from lora_forge.safetensors_header import TensorEntry

FIXTURE = Path(__file__).parent / "fixtures" / "networks.json"
answers = json.loads(FIXTURE.read_text(encoding="utf-8"))

models = {entry["model"]: entry for entry in answers["models"]}
SMALL_UNET = modules.UnetShape((32, 64, 96, 128), (1, 1, 1, 0), 1, 48, False, 128)
UNETS = {"sd15": modules.SD15_UNET, "sd15-tiny": SMALL_UNET}
SDXL_CLASSES = {"label_emb.0.0": (1280, 2816), "label_emb.0.2": (1280, 1280)}


def header_of(shapes, prefix=""):
    tensors = {f"{prefix}{name}": TensorEntry("BF16", tuple(shape), 0, 0) for name, shape in shapes.items()}
    return Header(Path("model.safetensors"), 0, tensors, {})


def unet_checkpoint(shape, extra=()):
    """The matrices of a checkpoint, from the structure; held to the engine's own list below."""
    kernels = {
        m.name: (m.out_features, m.in_features, *((m.kernel,) * 2 if m.kind == "conv" else ()))
        for m in modules.ldm_unet(shape)
    }
    return {f"{name}.weight": size for name, size in {**kernels, **dict(extra)}.items()}


def tensors_digest(found, entry):
    args = entry["args"]
    network = NetworkShape(
        entry["kind"],
        entry["rank"],
        entry["alpha"],
        conv_rank=int(args["conv_dim"]) if "conv_dim" in args else None,
        conv_alpha=float(args["conv_alpha"]) if "conv_alpha" in args else None,
        factor=int(args.get("factor", -1)),
        tucker=args.get("use_cp") == "True",
    )
    return dump.digest(sorted(lora_tensors(found, network).items()))


def networks_on(model):
    found = [entry for entry in answers["networks"] if entry["model"] == model and not entry["train_text"]]
    assert found
    return found


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_flux_of_any_width_gives_the_modules_that_the_engine_trains(prefix):
    found = flux_modules_from_header(header_of(models["flux-tiny"]["tensors"], prefix))
    assert set(found) == set(modules.flux_modules(1, 1, hidden=64))
    for entry in networks_on("flux-tiny"):
        assert tensors_digest(found, entry) == entry["digest"]


@pytest.mark.parametrize("name", ["sd15", "sd15-tiny"])
def test_an_sd15_checkpoint_of_any_width_gives_the_modules_that_the_engine_trains(name):
    checkpoint = unet_checkpoint(UNETS[name])
    assert dump.digest(sorted(checkpoint.items())) == models[name]["digest"]
    found = sd_modules_from_header(header_of(checkpoint, "model.diffusion_model."), "sd15")
    assert set(found) == set(modules.sd15_modules(UNETS[name]))
    for entry in networks_on(name):
        assert tensors_digest(found, entry) == entry["digest"]


def test_an_sdxl_checkpoint_gives_the_modules_that_the_engine_trains():
    classes = {name: (out, width) for name, (out, width) in SDXL_CLASSES.items()}
    checkpoint = unet_checkpoint(modules.SDXL_UNET, classes)
    assert dump.digest(sorted(checkpoint.items())) == models["sdxl"]["digest"]
    header = header_of(checkpoint, "model.diffusion_model.")
    found = sd_modules_from_header(header, "sdxl")
    assert set(found) == set(modules.sdxl_modules())
    assert recognise(header).family == "sdxl"
    for entry in networks_on("sdxl"):
        assert tensors_digest(found, entry) == entry["digest"]


def encoder_file(found):
    """Undo the flat names: an encoder's own file has a dot wherever a number or a block's name ends."""
    shapes = {}
    for module in found:
        name = module.name.split("_", 2)[2].replace("text_model_encoder_layers", "text_model.encoder.layers")
        name = name.replace("encoder_block", "encoder.block").replace("self_attn_", "self_attn.")
        name = re.sub(r"(mlp|SelfAttention|DenseReluDense)_", r"\1.", name)
        name = re.sub(r"_(\d+)_(?!\d)", r".\1.", name).replace(".layer_", ".layer.")
        shapes[f"{name}.weight"] = (module.out_features, module.in_features)
    return header_of(shapes)


def test_a_clip_file_gives_the_engines_modules():
    file = encoder_file(modules.clip_l_modules())
    assert "text_model.encoder.layers.11.mlp.fc1.weight" in file.tensors
    assert set(clip_modules_from_header(file, "lora_te1")) == set(modules.clip_l_modules())


def test_a_t5_file_gives_the_engines_modules():
    file = encoder_file(modules.t5_modules())
    assert "encoder.block.23.layer.1.DenseReluDense.wi_0.weight" in file.tensors
    assert set(t5_modules_from_header(file)) == set(modules.t5_modules())
