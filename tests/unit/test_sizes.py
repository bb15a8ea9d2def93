"""Sizes: laws of a LoRA's tensors, for any module and any rank."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from lora_forge.families.modules import LoraModule, clip_modules, flux_modules, sd15_modules, sd15_name
from lora_forge.plan.sizes import (
    NetworkShape,
    factorize,
    header_bytes,
    lora_tensors,
    select_modules,
    stored_alphas,
    tensor_bytes,
)

widths = st.integers(1, 3000)
linears = st.builds(lambda width, out: LoraModule("lora_unet_x", "linear", width, out), widths, widths)
convs = st.builds(
    lambda width, out, kernel: LoraModule("lora_unet_x", "conv", width, out, kernel, "resnet"),
    widths,
    widths,
    st.sampled_from([1, 3]),
)


@given(widths, st.sampled_from([-1, 0, 1, 2, 4, 7, 8, 16]))
def test_the_two_factors_of_a_width_make_it_up(width, factor):
    small, large = factorize(width, factor)
    assert small * large == width
    assert small <= large


@given(linears, st.integers(1, 128))
def test_plain_lora_costs_rank_times_both_widths_and_one_alpha(module, rank):
    shapes = lora_tensors([module], NetworkShape("lora", rank, 1.0))
    assert tensor_bytes(shapes, "bf16") == 2 * (rank * (module.in_features + module.out_features) + 1)
    assert tensor_bytes(shapes, "fp32") == 2 * tensor_bytes(shapes, "fp16")


@given(st.one_of(linears, convs), st.integers(1, 64), st.sampled_from([-1, 8]), st.booleans())
def test_lokr_rebuilds_the_weight_that_it_changes(module, rank, factor, tucker):
    network = NetworkShape("lokr", rank, 1.0, factor=factor, tucker=tucker)
    shapes = {name.split(".")[1]: shape for name, shape in lora_tensors([module], network).items()}
    rows, columns = shapes["lokr_w1"]
    if "lokr_w2" in shapes:
        large_rows, large_columns = shapes["lokr_w2"][:2]
    elif "lokr_t2" in shapes:
        large_rows, large_columns = shapes["lokr_w2_a"][1], shapes["lokr_w2_b"][1]
    else:
        area = math.prod((module.kernel, module.kernel)) if module.kind == "conv" else 1
        large_rows, large_columns = shapes["lokr_w2_a"][0], shapes["lokr_w2_b"][1] // area
    assert (rows * large_rows, columns * large_columns) == (module.out_features, module.in_features)


def test_lokr_without_a_low_rank_stores_the_rank_as_its_alpha():
    wide = LoraModule("wide", "linear", 1280, 1280)
    narrow = LoraModule("narrow", "linear", 640, 640)
    assert stored_alphas([wide, narrow], NetworkShape("lokr", 64, 32.0, factor=8)) == {"wide": 32.0, "narrow": 64}


def test_alpha_zero_means_the_rank():
    assert stored_alphas([LoraModule("x", "linear", 64, 64)], NetworkShape("lora", 16, 0)) == {"x": 16}


def test_a_convolution_takes_its_own_alpha_or_one_in_lora_and_the_shared_one_in_lycoris():
    kernel = LoraModule("x", "conv", 64, 64, 3, "resnet")
    assert stored_alphas([kernel], NetworkShape("lora", 16, 8.0, conv_rank=4)) == {"x": 1.0}
    assert stored_alphas([kernel], NetworkShape("lora", 16, 8.0, conv_rank=4, conv_alpha=2.0)) == {"x": 2.0}
    assert stored_alphas([kernel], NetworkShape("loha", 16, 8.0)) == {"x": 8.0}


def test_residual_blocks_need_a_convolution_rank_and_edges_lycoris():
    found = sd15_modules()
    counts = [
        len(select_modules(found, network))
        for network in (
            NetworkShape("lora", 16, 8.0),
            NetworkShape("lora", 16, 8.0, conv_rank=8),
            NetworkShape("loha", 16, 8.0),
        )
    ]
    assert counts == [192, 278, 282]


def test_a_convolution_rank_of_zero_takes_the_residual_blocks_without_their_kernels():
    chosen = select_modules(sd15_modules(), NetworkShape("lora", 16, 8.0, conv_rank=0))
    assert len(chosen) > 192
    assert {module.kernel for module in chosen} == {1}


def test_an_alpha_that_keeps_its_own_type_is_counted_by_it():
    shapes = lora_tensors(flux_modules(1, 1), NetworkShape("lora", 16, 8))
    assert tensor_bytes(shapes, "fp32", alpha_bytes=8) == tensor_bytes(shapes, "fp32") + 4 * 13


@given(st.integers(0, 3), st.integers(1, 40))
def test_the_header_estimate_is_exact_but_for_the_metadata(blocks, rank):
    shapes = lora_tensors(flux_modules(blocks, 1), NetworkShape("lora", rank, 1.0))
    header, offset = {}, 0
    for name, shape in sorted(shapes.items()):
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    length = len(json.dumps(header, separators=(",", ":")))
    assert header_bytes(shapes, "bf16", metadata_bytes=0) == 8 + math.ceil(length / 8) * 8


def test_tensors_come_in_the_order_of_the_file():
    names = list(lora_tensors(flux_modules(2, 11), NetworkShape("lora", 4, 1.0)))
    assert names == sorted(names)


def test_a_layer_that_no_lora_takes_has_no_name():
    assert sd15_name("label_emb.0.0") == ""


def test_an_encoder_has_six_modules_a_layer():
    assert len(clip_modules("lora_te", layers=2, hidden=8, mlp=16)) == 12
