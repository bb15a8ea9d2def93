"""Every shipped preset, trained for real on its first family, and what only shows in a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lora_forge.presets.loader import list_presets, load_preset_layers, shipped_folder
from lora_forge.presets.merge import merge_layers
from lora_forge.safetensors_header import read_header

from .conftest import Train

pytestmark = pytest.mark.engine

QUICK = ("sampling.enabled=false",)


def first_families() -> list[tuple[str, str]]:
    found = []
    for entry in list_presets([shipped_folder()]):
        layers, _ = load_preset_layers(entry.name, folders=[shipped_folder()], cwd=Path("/"))
        preset, _, _ = merge_layers(layers)
        assert preset is not None
        found.append((entry.name, preset.families[0]))
    return found


@pytest.mark.parametrize(("preset", "family"), first_families())
def test_every_preset_trains_on_its_first_family(preset: str, family: str, train: Train) -> None:
    trained = train(family, *QUICK, preset=preset)
    assert trained.code == 0, (trained.answer["error"], trained.stderr)
    data = trained.answer["data"]
    assert data["verified"] is True
    assert read_header(trained.lora).tensor_bytes == data["plan"]["outputs"]["lora_bytes"]["value"]


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("flux", ("network.kind=loha",)),
        ("flux", ("network.kind=lokr", "network.factor=8")),
        ("sd15", ("network.kind=loha", "network.conv_rank=4", "network.conv_alpha=2", "network.use_cp=true")),
        ("sd15", ("network.kind=lokr", "network.factor=8")),
        ("sd15", ("network.conv_rank=4", "network.conv_alpha=4")),
    ],
)
def test_every_kind_of_network_is_predicted_to_the_byte(family: str, settings: tuple[str, ...], train: Train) -> None:
    trained = train(family, *QUICK, "network.rank=8", "network.alpha=4", *settings)
    assert trained.code == 0, (trained.answer["error"], trained.stderr)


def tensors(path: Path, part: str) -> dict[str, bytes]:
    header = read_header(path)
    data = path.read_bytes()
    return {name: data[e.begin : e.end] for name, e in header.tensors.items() if name.startswith(part)}


@pytest.mark.parametrize("family", ["flux", "sd15", "sdxl"])
def test_two_phases_freeze_the_text_encoder_half_way_and_the_unet_goes_on(
    family: str, train: Train, reg_pictures: Path
) -> None:
    trained = train(
        family,
        *QUICK,
        "text_encoder.mode=two-phase",
        "schedule.steps=8",
        "schedule.checkpoint_every=2",
        "optimizer.learning_rate=1e-3",
        flags=["--reg", str(reg_pictures)],
    )
    assert trained.code == 0, (trained.answer["error"], trained.stderr)
    plan = trained.answer["data"]["plan"]
    assert plan["text_encoder"]["switch_step"]["value"] == 4
    assert plan["optimizer"]["text_encoder_learning_rate"]["value"] == pytest.approx(4e-4)
    early, switch, last = (Path(trained.answer["data"]["checkpoints"][index]) for index in (0, 1, 3))
    assert tensors(early, "lora_te") != tensors(switch, "lora_te"), "the text encoder trains in the first phase"
    assert tensors(switch, "lora_te") == tensors(last, "lora_te"), "and not a bit of it moves in the second"
    assert tensors(switch, "lora_unet") != tensors(last, "lora_unet")
    assert any(event["event"] == "text-encoder-frozen" and event["step"] == 4 for event in trained.events)
    assert trained.answer["data"]["rendered"]["plain_argv"] is None


def test_a_trained_text_encoder_is_in_the_lora_and_in_the_prediction(train: Train, reg_pictures: Path) -> None:
    trained = train("sd15", *QUICK, "text_encoder.mode=trained", flags=["--reg", str(reg_pictures)])
    assert trained.code == 0, (trained.answer["error"], trained.stderr)
    assert tensors(trained.lora, "lora_te")


def test_the_engine_receives_the_prompts_with_the_real_trigger(train: Train, tmp_path: Path) -> None:
    own = tmp_path / "prompts.txt"
    own.write_text("{trigger} --w 9999 on a hill\n# a remark\nSTYLE_TOKEN in snow\n")
    trained = train("flux", "schedule.checkpoint_every=4", "sampling.steps=2", flags=["--prompts", str(own)])
    assert trained.code == 0, (trained.answer["error"], trained.stderr)
    received = json.loads((trained.run_dir / "prompts.json").read_text())
    assert [each["prompt"] for each in received] == ["ohwx --w 9999 on a hill", "ohwx in snow"]
    log = (trained.run_dir / "engine.log").read_text()
    assert "prompt: ohwx --w 9999 on a hill" in log
    assert "prompt: ohwx in snow" in log
    pictures = sorted(path.name for path in (trained.run_dir / "samples").iterdir())
    assert pictures == [
        "prompt1-ohwx_w_9999_on_a_hill-step000004-seed42.png",
        "prompt2-ohwx_in_snow-step000004-seed42.png",
    ]


def test_the_same_plan_trains_to_the_same_weights(train: Train) -> None:
    runs: list[Any] = [train("sd15", *QUICK) for _ in range(2)]
    assert tensors(runs[0].lora, "lora_") == tensors(runs[1].lora, "lora_")
