"""The rendered files of every preset on every family it is made for, held to the letter.

Renew them with ``GOLDEN=write pytest tests/unit/test_golden.py`` and read the difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import toml

from lora_forge.datasets.facts import DatasetFacts, ImageFacts, SubsetFacts
from lora_forge.engine.home import EngineHome
from lora_forge.engine.launch import Rendered, render
from lora_forge.engine.render import RunFiles, SubsetFolder
from lora_forge.families import load_family
from lora_forge.machine import Gpu, Machine
from lora_forge.plan.make import Ingredients, Planned, make_plan
from lora_forge.policies import load_policy
from lora_forge.presets.loader import list_presets, load_preset_layers, shipped_folder
from lora_forge.presets.merge import merge_layers
from lora_forge.settings import Source, Written

GOLDEN = Path(__file__).parent.parent / "golden"
WRITES = os.environ.get("GOLDEN") == "write"
CARD = Machine((Gpu("test card", 24.0, bf16=True, capability=(8, 9)),), ram_gib=64.0, cpu_count=8, disk_free_gib=500.0)
ENGINE = EngineHome(Path("/engine"), Path("/env"), "cu124", Path("/lock"), "0" * 64)
SHAPES = ((1024, 1024), (832, 1216), (1216, 832), (768, 1024))


def cases() -> list[tuple[str, str]]:
    found = []
    for entry in list_presets([shipped_folder()]):
        layers, _ = load_preset_layers(entry.name, folders=[shipped_folder()], cwd=Path("/"))
        preset, _, _ = merge_layers(layers)
        assert preset is not None
        found += [(entry.name, family) for family in preset.families]
    return found


def dataset(reg: bool) -> DatasetFacts:
    images = tuple(ImageFacts(f"{n:03d}.png", *SHAPES[n % 4], f"ohwx, scene {n}", f"{n:03d}.txt") for n in range(23))
    subsets = [SubsetFacts(Path("/photos"), None, None, False, images)]
    if reg:
        subsets.append(SubsetFacts(Path("/reg"), None, None, True, images[:20]))
    return DatasetFacts(Path("/photos"), tuple(subsets))


def plan_of(preset_name: str, family_name: str, *, reg: bool = False) -> Planned:
    layers, _ = load_preset_layers(preset_name, folders=[shipped_folder()], cwd=Path("/"))
    preset, origins, findings = merge_layers(layers)
    assert preset is not None and not findings
    return make_plan(
        Ingredients(
            preset=preset,
            origins=origins,
            policy=load_policy(preset.policy),
            family=load_family(family_name),
            dataset=dataset(reg),
            models={},
            machine=CARD,
            name=Written(f"ohwx-{preset_name}", Source.DATASET, why="test"),
            family_choice=Written(family_name, Source.CLI, "--family"),
            trigger=Written("ohwx", Source.CLI, "--trigger"),
            gpus=Written(1, Source.DEFAULT, why="one GPU"),
            vram=Written(24.0, Source.MACHINE, why="test card"),
        )
    )


def rendered_of(preset: str, family_name: str) -> Rendered:
    run, family = Path("/run"), load_family(family_name)
    files = RunFiles(
        train_toml=run / "train.toml",
        dataset_toml=run / "dataset.toml",
        prompts=run / "prompts.json",
        output=run / "output",
        subsets=(SubsetFolder(run / "dataset" / "01-photos", repeats=1),),
        models={file.name: Path(f"/models/{file.name}.safetensors") for file in family.files if file.required},
        tokenizers=None,
    )
    planned = plan_of(preset, family_name)
    repeats = planned.plan.schedule.repeats.value
    assert isinstance(repeats, int)
    files = RunFiles(**{**vars(files), "subsets": (SubsetFolder(run / "dataset" / "01-photos", repeats),)})
    return render(planned.plan, family, files, ENGINE, CARD)


@pytest.mark.parametrize(("preset", "family"), cases())
def test_every_preset_renders_as_it_did(preset: str, family: str) -> None:
    rendered = rendered_of(preset, family)
    assert rendered.findings == ()
    folder = GOLDEN / f"{preset}-{family}"
    texts = {"train.toml": rendered.train_toml, "dataset.toml": rendered.dataset_toml}
    if WRITES:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    assert {name: (folder / name).read_text(encoding="utf-8") for name in texts} == texts


@pytest.mark.parametrize(
    ("preset", "family", "said"),
    [
        ("adaptive", "flux", {"guidance_scale": 3.5}),
        ("style", "flux", {"guidance_scale": 3.5}),
        ("adaptive", "sdxl", {"scale": 3.5}),
        ("style", "sdxl", {"scale": 7.5}),
        ("face-loha", "sd15", {"scale": 7.5}),
        ("style", "chroma", {"scale": 4.0, "guidance_scale": 0.0}),
    ],
)
def test_each_familys_sampler_is_told_the_guidance_in_its_own_word(
    preset: str, family: str, said: dict[str, float]
) -> None:
    for prompt in json.loads(rendered_of(preset, family).prompts):
        assert {key: value for key, value in prompt.items() if key.endswith("scale")} == said


@pytest.mark.parametrize(("preset", "family"), cases())
def test_no_shipped_preset_breaks_a_rule_of_the_engine(preset: str, family: str) -> None:
    assert [f for f in plan_of(preset, family).findings if f.severity == "error"] == []


@pytest.mark.parametrize(("preset", "family"), cases())
def test_a_frozen_text_encoder_is_never_a_rate_of_zero(preset: str, family: str) -> None:
    options = toml.loads(rendered_of(preset, family).train_toml)
    assert options["network_train_unet_only"] is True
    assert "text_encoder_lr" not in options


@pytest.mark.parametrize(("preset", "family"), cases())
def test_steps_and_precision_are_always_sent(preset: str, family: str) -> None:
    options = toml.loads(rendered_of(preset, family).train_toml)
    assert isinstance(options["max_train_steps"], int)
    assert isinstance(options["lr_warmup_steps"], int)
    assert options["save_precision"] == "bf16"
    assert "max_train_epochs" not in options
