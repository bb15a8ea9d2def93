"""Names, shapes, bytes and alphas of LoRA files against networks that the engine built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from engine_dump import ask_afresh, dump

from lora_forge.engine.pin import COMMIT
from lora_forge.families import modules
from lora_forge.plan.sizes import NetworkShape, factorize, lora_tensors, stored_alphas, tensor_bytes

FIXTURE = Path(__file__).parent / "fixtures" / "networks.json"
answers = json.loads(FIXTURE.read_text(encoding="utf-8"))

SMALL_UNET = modules.UnetShape((32, 64, 96, 128), (1, 1, 1, 0), 1, 48, False, 128)
UNETS = {
    "flux-1-1": modules.flux_modules(1, 1),
    "flux-2-3": modules.flux_modules(2, 3),
    "flux-19-38": modules.flux_modules(),
    "flux-tiny": modules.flux_modules(1, 1, hidden=64),
    "sdxl": modules.sdxl_modules(),
    "sd15": modules.sd15_modules(),
    "sd15-tiny": modules.sd15_modules(SMALL_UNET),
}


def encoders_of(entry):
    if entry["model"].startswith("flux"):
        t5 = modules.t5_modules() if "train_t5xxl" in entry["args"] else ()
        return (*modules.clip_l_modules(), *t5)
    if entry["model"] == "sdxl":
        return (*modules.clip_l_modules(), *modules.clip_g_modules())
    return modules.clip_l_modules("lora_te")


def modules_of(entry):
    return (*(encoders_of(entry) if entry["train_text"] else ()), *UNETS[entry["model"]])


def network_of(entry):
    args = entry["args"]
    return NetworkShape(
        entry["kind"],
        entry["rank"],
        entry["alpha"],
        conv_rank=int(args["conv_dim"]) if "conv_dim" in args else None,
        conv_alpha=float(args["conv_alpha"]) if "conv_alpha" in args else None,
        factor=int(args.get("factor", -1)),
        tucker=args.get("use_cp") == "True",
    )


def case_name(entry):
    args = ",".join(f"{key}={value}" for key, value in entry["args"].items())
    return f"{entry['model']}-{entry['kind']}-{entry['rank']}-{entry['alpha']}-{entry['train_text']}-{args}"


@pytest.mark.parametrize("entry", answers["networks"], ids=case_name)
def test_tensors_and_bytes_are_those_that_the_engine_writes(entry):
    shapes = lora_tensors(modules_of(entry), network_of(entry))
    if "tensors" in entry:
        assert shapes == {name: tuple(shape) for name, shape in entry["tensors"].items()}
    assert len(shapes) == entry["count"]
    assert tensor_bytes(shapes, "bf16") == 2 * entry["elements"]
    assert dump.digest(sorted(shapes.items())) == entry["digest"]


@pytest.mark.parametrize("entry", answers["networks"], ids=case_name)
def test_alphas_are_those_that_the_engine_stores(entry):
    alphas = stored_alphas(modules_of(entry), network_of(entry))
    named = sorted((f"{name}.alpha", float(alpha)) for name, alpha in alphas.items())
    assert dump.digest(named) == entry["alphas"]


def test_widths_are_split_as_lokr_splits_them():
    ours = [[n, f, *factorize(n, f)] for n in range(1, 700) for f in (-1, 1, 2, 4, 7, 8, 16, 64)]
    assert dump.digest(ours) == answers["factors"]


@pytest.mark.parametrize(
    ("rank", "flux", "sdxl", "sd15"),
    [
        (8, 76_579_424, 42_558_884, 6_783_360),
        (16, 153_158_240, 85_116_324, 13_566_336),
        (32, 306_315_872, 170_231_204, 27_132_288),
        (64, 612_631_136, 340_460_964, 54_264_192),
    ],
)
def test_the_sizes_measured_on_real_files_come_out_to_the_byte(rank, flux, sdxl, sd15):
    network = NetworkShape("lora", rank, rank / 2)
    sizes = [tensor_bytes(lora_tensors(UNETS[name], network), "bf16") for name in ("flux-19-38", "sdxl", "sd15")]
    assert sizes == [flux, sdxl, sd15]


def test_the_answers_are_those_of_the_pinned_engine():
    assert answers["engine_commit"] == COMMIT


@pytest.mark.processes
def test_the_installed_engine_still_answers_as_committed(tmp_path):
    assert ask_afresh(tmp_path, "networks") == answers
