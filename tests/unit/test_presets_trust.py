"""A shared file can neither run code nor hold secrets nor contradict forge."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_forge.families import family_names, load_family
from lora_forge.findings import Finding
from lora_forge.presets.loader import load_preset_layers, preset_folders
from lora_forge.presets.merge import merge_layers
from lora_forge.presets.trust import CODE_OPTIONS, OWNED_OPTIONS, SECRET_OPTIONS, check_trust

GOLDEN = Path(__file__).parents[1] / "golden"
SHIPPED = ("adaptive", "face-loha", "fast-iteration", "high-fidelity", "identity", "style", "style-lokr")


def check(tmp_path: Path, text: str, *, trust_code: bool = False) -> list[Finding]:
    file = tmp_path / "theirs.yaml"
    file.write_text("extends: identity\n" + text)
    layers, problems = load_preset_layers(str(file), folders=preset_folders(tmp_path), cwd=tmp_path)
    preset, origins, mistakes = merge_layers(layers)
    assert preset is not None
    assert [*problems, *mistakes] == []
    return check_trust(preset, origins, trust_code=trust_code)


@pytest.mark.parametrize(
    "text",
    [
        "optimizer: {name: evil.Thing}\n",
        "engine: {options: {dataset_class: evil.Data}}\n",
        "engine: {options: {lr_scheduler_type: evil.Scheduler}}\n",
        "engine: {options: {network_weights: lora.pt}}\n",
    ],
)
def test_code_needs_a_word_at_the_command_line(text: str, tmp_path: Path) -> None:
    (finding,) = check(tmp_path, text)
    assert (finding.code, finding.severity.value) == ("untrusted-code", "error")
    assert "--trust-code" in finding.hint
    assert finding.where.startswith("theirs.yaml:2:")
    assert check(tmp_path, text, trust_code=True) == []


@pytest.mark.parametrize("name", ["Adafactor", "adamw8BIT", "Prodigy", "RAdam", "AdamWScheduleFree"])
def test_the_engines_own_optimizers_are_trusted(name: str, tmp_path: Path) -> None:
    assert check(tmp_path, f"optimizer: {{name: {name}}}\n") == []


def test_a_misspelt_optimizer_is_no_matter_of_trust(tmp_path: Path) -> None:
    assert check(tmp_path, "optimizer: {name: Adafacter}\n") == []


@pytest.mark.parametrize("option", sorted(SECRET_OPTIONS))
def test_a_secret_is_refused_even_from_the_trusted(option: str, tmp_path: Path) -> None:
    (finding,) = check(tmp_path, f"engine: {{options: {{{option}: hunter2}}}}\n", trust_code=True)
    assert finding.code == "engine-option-secret"
    assert "hunter2" not in finding.message + finding.hint
    assert SECRET_OPTIONS[option] in finding.hint


def test_an_option_that_forge_decides_names_the_key_to_use(tmp_path: Path) -> None:
    owned, own_word = check(tmp_path, "engine:\n  options:\n    max_train_steps: 9\n    resume: /x\n    clip_skip: 2\n")
    assert (owned.where, own_word.where) == ("theirs.yaml:4:5", "theirs.yaml:5:5")
    assert (owned.code, own_word.code) == ("engine-option-owned", "engine-option-owned")
    assert "schedule.steps" in owned.hint
    assert own_word.hint == "Remove it."


def test_every_option_that_is_rendered_is_owned() -> None:
    """Every line of every golden train.toml but those a family always sends."""
    sent = {
        line.split(" = ")[0]
        for file in GOLDEN.glob("*/train.toml")
        for line in file.read_text().splitlines()
        if " = " in line
    }
    always = {option for name in family_names() for option in load_family(name).always}
    assert len(sent) > 30
    assert sent - always - set(OWNED_OPTIONS) == set()


def test_every_option_named_here_is_one_of_the_engines() -> None:
    from lora_forge.engine.options import SCRIPTS, load_options

    known = {dest for script in SCRIPTS for dest in load_options(script).options}
    assert {*OWNED_OPTIONS, *CODE_OPTIONS, *SECRET_OPTIONS} - known == set()


def test_every_owning_key_is_a_preset_key_or_a_flag() -> None:
    from lora_forge.presets.keys import RUN_KEYS, preset_leaves

    flags = {f"--{key.replace('_', '-')}" for key in RUN_KEYS} | {"--run-dir", ""}
    assert set(OWNED_OPTIONS.values()) - flags - preset_leaves() == set()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_preset_is_trusted(name: str, tmp_path: Path) -> None:
    layers, _ = load_preset_layers(name, folders=preset_folders(tmp_path), cwd=tmp_path)
    preset, origins, _ = merge_layers(layers)
    assert preset is not None
    assert check_trust(preset, origins, trust_code=False) == []
