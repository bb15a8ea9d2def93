"""What a file or a value cannot do to the command that is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lora_forge.cli.app import app

Draw = Any


def forge(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def codes(answer: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in answer["findings"]}


@pytest.mark.parametrize("command", ["plan", "train"])
def test_a_project_file_cannot_run_code_by_itself(
    command: str, draw_dataset: Draw, in_folder: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("FORGE_HOME", str(in_folder.parent / "nowhere"))
    monkeypatch.setenv("FORGE_TRUST_CODE", "1")
    (in_folder / "forge.yaml").write_text(f"dataset: {draw_dataset()}\noverrides:\n  optimizer: {{name: evil.Thing}}\n")
    code, answer = forge(command, "--preset", "identity")
    assert code == 3
    (finding,) = [each for each in answer["findings"] if each["code"] == "untrusted-code"]
    assert finding["where"].startswith("forge.yaml:3:")
    assert "unknown-variable" in codes(answer)
    _, trusted = forge(command, "--preset", "identity", "--trust-code")
    assert "untrusted-code" not in codes(trusted)


VALUES = ("--output_dir=/x", "-x", "--config_file", "; rm -rf ~", "$(id)")


@pytest.mark.parametrize("value", VALUES)
def test_no_value_becomes_an_argument_of_its_own(value: str, draw_dataset: Draw, in_folder: Path) -> None:
    folder = draw_dataset(4, name="project/" + value.replace("/", "_"))
    preset = in_folder / "p.yaml"
    quoted = json.dumps(value)
    preset.write_text(f"extends: identity\nname: {quoted}\nsampling: {{prompts: [{quoted}]}}\n")
    plain = forge("plan", "-p", "identity", "-d", str(folder), "-t", "ohwx")[1]["data"]["rendered"]
    _, answer = forge(
        "plan", "-p", str(preset), "-d", folder.name if not value.startswith("-") else f"./{folder.name}",
        f"--trigger={value}", f"--name={value}", f"--model={value}", f"--tokenizers={value}", f"--run-dir={value}",
    )  # fmt: skip
    rendered = answer["data"]["rendered"]
    for argv in ("argv", "plain_argv"):
        own_words = set(plain[argv])
        new = [word for word in rendered[argv] if word not in own_words]
        assert all(word.startswith("/") for word in new), new
        assert len(rendered[argv]) == len(plain[argv])
    assert set(rendered["env"]) == set(plain["env"])


REFUSED = ("caption_dropout_rate: 0.1", "full_fp16: true", "reg_data_dir: x", "max_train_epochs: 3")

ALSO_REFUSED = ("output_config: true", "use_8bit_adam: true", "noise_offset: 0.2", "wandb_api_key: x")


@pytest.mark.parametrize("option", [*REFUSED, *ALSO_REFUSED])
def test_a_refused_option_is_refused_once_and_judged_by_nothing_else(
    option: str, draw_dataset: Draw, in_folder: Path
) -> None:
    asked = ("plan", "-p", "identity", "-d", str(draw_dataset(4)))
    _, plain = forge(*asked)
    code, answer = forge(*asked, "--set", f"engine.options={{{option}}}")
    (added,) = [finding for finding in answer["findings"] if finding not in plain["findings"]]
    assert (code, added["code"] in ("engine-option-owned", "engine-option-secret")) == (3, True)
    assert answer["data"]["rendered"]["train_toml"] == plain["data"]["rendered"]["train_toml"]
