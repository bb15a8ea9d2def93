"""The shipped presets hold the figures that they are documented with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rule_cases import Case, plan_case

from lora_forge.presets.loader import list_presets, load_preset_layers, parse_set, shipped_folder
from lora_forge.presets.merge import merge_layers
from lora_forge.presets.model import Preset
from lora_forge.settings import Origin

ALL = ["flux", "sdxl", "sd15"]
SMALL = ["sdxl", "sd15"]
FIXED_RATE = {"relative_step": False, "scale_parameter": False, "warmup_init": False}
ADAFACTOR = {"optimizer.name": "Adafactor", "optimizer.args": FIXED_RATE, "optimizer.learning_rate": 1e-4}
ADAMW = {"optimizer.name": "AdamW8bit", "optimizer.learning_rate": 1e-4}
AT_768 = {"data.resolution": 768, "data.min_bucket": 384, "data.max_bucket": 1024}
QUICK = {"optimizer.scheduler": "constant_with_warmup", "schedule.warmup_steps": 100, "loss.noise_offset": 0.05}
COSINE = {"optimizer.scheduler": "cosine"}

FIGURES: dict[str, dict[str, object]] = {
    "fast-iteration": {
        "families": ALL,
        "policy": "fixed",
        "network.rank": 32,
        "network.alpha": 32,
        "schedule.steps": 1500,
        "data.resolution": 512,
        "data.min_bucket": 256,
        "data.max_bucket": 768,
        **ADAFACTOR,
        **QUICK,
    },
    "identity": {
        "families": ALL,
        "policy": "identity",
        "subject": "identity",
        "trigger_required": True,
        **AT_768,
        **ADAFACTOR,
        **QUICK,
    },
    "high-fidelity": {
        "families": ALL,
        "policy": "ramp",
        "network.rank": 64,
        "network.alpha": 64,
        "network.dropout": 0.1,
        "schedule.steps": None,
        "schedule.warmup_steps": 500,
        "loss.noise_offset": 0.1,
        "loss.min_snr_gamma": 5,
        "reg_images": "recommended",
        **ADAFACTOR,
        **COSINE,
        **AT_768,
    },
    "adaptive": {
        "families": ALL,
        "policy": "tiers",
        "network.rank": None,
        "network.alpha": None,
        "optimizer.args": {"weight_decay": 0.01},
        "sampling.guidance": 3.5,
        **ADAMW,
        **AT_768,
    },
    "style": {
        "families": ALL,
        "policy": "steps-per-image",
        "subject": "style",
        "network.rank": 16,
        "network.alpha": 16,
        "schedule.batch_size": 2,
        "precision.full": True,
        "optimizer.scheduler": "cosine_with_restarts",
        **ADAMW,
        **AT_768,
    },
    "face-loha": {
        "families": SMALL,
        "policy": "epochs",
        "network.kind": "loha",
        "network.rank": 32,
        "network.alpha": 16,
        "network.conv_rank": 8,
        "network.conv_alpha": 4,
        "network.use_cp": True,
        "schedule.repeats": 10,
        "schedule.epochs": 10,
        "loss.min_snr_gamma": 5,
        "loss.noise_offset": 0.05,
        "captions.shuffle": True,
        "captions.keep_tokens": 1,
        **ADAMW,
        **COSINE,
        **AT_768,
        "optimizer.learning_rate": 3e-5,
    },
    "style-lokr": {
        "families": SMALL,
        "policy": "epochs",
        "network.kind": "lokr",
        "network.rank": 64,
        "network.factor": 8,
        "network.alpha": 32,
        "network.conv_rank": 8,
        "network.conv_alpha": 4,
        "schedule.repeats": 30,
        "schedule.epochs": 2,
        "augment.color": True,
        "augment.flip": True,
        "augment.random_crop": True,
        "loss.noise_offset": 0.1,
        **ADAMW,
        **COSINE,
        **AT_768,
    },
}

UNLESS_A_PRESET_SAYS_OTHERWISE: dict[str, object] = {
    "schedule.batch_size": 1,
    "schedule.grad_accum": 1,
    "schedule.warmup_steps": 0,
    "schedule.checkpoint_every": None,
    "data.upscale": True,
    "seed": 42,
    "optimizer.scheduler": "constant",
    "optimizer.max_grad_norm": 1.0,
    "precision.mixed": "bf16",
    "precision.full": False,
    "precision.fp8_base": True,
    "precision.save": "bf16",
    "memory.gradient_checkpointing": True,
    "memory.cache_latents": True,
    "memory.cache_text_encoder_outputs": True,
    "text_encoder.mode": "frozen",
    "network.kind": "lora",
    "network.dropout": None,
    "augment.color": False,
    "augment.flip": False,
    "augment.random_crop": False,
    "captions.shuffle": False,
    "loss.noise_offset": None,
    "loss.min_snr_gamma": None,
    "reg_images": "none",
}


def load(name: str) -> tuple[Preset, dict[str, Origin]]:
    layers, findings = load_preset_layers(name, folders=[shipped_folder()], cwd=Path("/"))
    preset, origins, more = merge_layers(layers)
    assert findings + more == []
    assert preset is not None
    return preset, origins


def value(preset: Preset, key: str) -> object:
    found: object = preset
    for part in key.split("."):
        found = getattr(found, part)
    return found


def test_exactly_the_documented_presets_are_shipped() -> None:
    entries = list_presets([shipped_folder()])
    assert [entry.name for entry in entries] == sorted(FIGURES)
    assert all(entry.about for entry in entries)


@pytest.mark.parametrize("name", FIGURES)
def test_each_preset_holds_its_figures_and_the_common_rest(name: str) -> None:
    preset, _ = load(name)
    expected = UNLESS_A_PRESET_SAYS_OTHERWISE | FIGURES[name]
    assert {key: value(preset, key) for key in expected} == expected


def test_the_policy_of_identity_outranks_the_sizes_it_inherits() -> None:
    _, origins = load("identity")
    sizes = ("network.rank", "network.alpha", "schedule.repeats", "schedule.steps")
    assert all(origins[key].layer < origins["policy"].layer for key in sizes)


def test_identity_differs_from_fast_iteration_in_its_own_row_alone() -> None:
    identity, quick = load("identity")[0].model_dump(), load("fast-iteration")[0].model_dump()
    differing = {key for key in identity if identity[key] != quick[key]}
    assert differing == {"name", "about", "subject", "policy", "trigger_required", "data"}


@pytest.mark.parametrize("name", FIGURES)
def test_each_number_has_its_reason_beside_it(name: str) -> None:
    _, origins = load(name)
    numbers = [
        key
        for key, origin in origins.items()
        if isinstance(origin.written.value, (int, float)) and origin.written.value is not True
    ]
    assert [key for key in numbers if not origins[key].written.why] == []


@pytest.mark.parametrize("name", FIGURES)
def test_the_header_says_what_for_and_how_to_run_and_override(name: str) -> None:
    header = (shipped_folder() / f"{name}.yaml").read_text(encoding="utf-8").split("\n\n")[0]
    assert re.match(rf"# {name}: \S.*\.\n", header)
    assert f"# Run it:       forge train --preset {name} " in header
    assert f"# Override it:  forge train --preset {name} --set " in header


@pytest.mark.parametrize("name", FIGURES)
def test_the_example_in_the_header_is_an_override_without_a_warning_of_its_own(name: str) -> None:
    header = (shipped_folder() / f"{name}.yaml").read_text(encoding="utf-8").split("\n\n")[0]
    (example,) = re.findall(r"# Override it: (.*)", header)
    written = (parse_set(argument) for argument in re.findall(r"--set (\S+)", example))
    settings = {key: said.value for key, said in written}
    preset, _ = load(name)
    for family in preset.families:
        plain, overridden = (
            {finding.code for finding in plan_case(Case(given, preset=name, family=family)).findings}
            for given in ({}, settings)
        )
        assert overridden - plain == set()
