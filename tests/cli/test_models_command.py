"""``forge models``, and what a plan makes of files that nobody named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lora_forge.cli.app import app
from tests.model_files import AE, CLIP_L, FLUX, SDXL, write_flux, write_model

Draw = Any


def forge(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def codes(answer: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in answer["findings"]}


def test_a_plan_uses_what_it_found_and_says_so(draw_dataset: Draw, in_folder: Path) -> None:
    models = write_flux(in_folder / "ComfyUI")
    code, answer = forge("plan", "--preset", "identity", "--dataset", str(draw_dataset()))
    assert code == 0
    assert "model-located" in codes(answer)
    assert "model-missing" not in codes(answer)
    for path in models.values():
        assert f'"{path}"' in answer["data"]["rendered"]["train_toml"]


def test_a_named_file_stands_before_a_found_one(draw_dataset: Draw, in_folder: Path) -> None:
    write_flux(in_folder)
    mine = write_model(in_folder.parent / "mine.safetensors", FLUX, fill=1)
    _, answer = forge("plan", "-p", "identity", "-d", str(draw_dataset()), "--model", str(mine))
    train = answer["data"]["rendered"]["train_toml"]
    assert f'pretrained_model_name_or_path = "{mine}"' in train
    assert str(in_folder / "models" / "unet") not in train
    assert str(in_folder / "models" / "clip") in train


def test_two_that_fit_leave_the_model_missing(draw_dataset: Draw, in_folder: Path) -> None:
    write_flux(in_folder)
    write_model(in_folder / "models" / "unet" / "second.safetensors", FLUX, fill=1)
    _, answer = forge("plan", "-p", "identity", "-d", str(draw_dataset()))
    assert {"model-several", "model-missing"} <= codes(answer)
    assert "pretrained_model_name_or_path" not in answer["data"]["rendered"]["train_toml"]


def test_ls_tells_each_file_by_content(in_folder: Path) -> None:
    write_flux(in_folder)
    (in_folder / "models" / "unet" / "bad.safetensors").write_bytes(b"PK\x03\x04" + bytes(40))
    _, answer = forge("models", "ls")
    found = {Path(model["path"]).name: model.get("holds") or model["refused"] for model in answer["data"]}
    assert {name: found[name] for name in ("a.safetensors", "b.safetensors")} == {
        "a.safetensors": "flux",
        "b.safetensors": "clip_l",
    }
    assert "run code" in found["bad.safetensors"]
    assert "refused" in CliRunner().invoke(app, ["models", "ls"]).stdout


def test_locate_shows_source_missing_and_tokenizers(in_folder: Path) -> None:
    write_model(in_folder / "extra" / "models" / "clip" / "x.safetensors", CLIP_L)
    named = write_model(in_folder / "sdxl.safetensors", SDXL)
    (in_folder / "forge.yaml").write_text(f"models:\n  model: {named}\n")
    code, answer = forge("models", "locate", "--family", "flux")
    assert code == 0
    (family,) = answer["data"]
    files = {file["name"]: file for file in family["files"]}
    assert (files["model"]["source"], files["clip_l"]["source"]) == ("PROJECT", "MACHINE")
    assert files["model"]["why"] == "named in forge.yaml:2:3"
    assert "sdxl weights" in files["model"]["problem"]
    assert (files["t5xxl"]["path"], files["ae"]["path"]) == (None, None)
    assert "--t5xxl, --ae" in answer["findings"][0]["message"]
    assert [tokenizer["path"] for tokenizer in family["tokenizers"]] == [None, None]
    assert "google_t5-v1_1-xxl" in CliRunner().invoke(app, ["models", "locate"]).stdout


def test_locate_looks_where_it_is_told_to(in_folder: Path) -> None:
    elsewhere = in_folder.parent / "far" / "away"
    path = write_model(elsewhere / "models" / "checkpoints" / "x.safetensors", SDXL)
    _, answer = forge("models", "locate", "--family", "sdxl", "--in", str(elsewhere))
    assert answer["data"][0]["files"][0]["path"] == str(path)


def test_set_is_remembered_for_the_next_plan(draw_dataset: Draw, in_folder: Path) -> None:
    model = write_model(in_folder / "far.safetensors", FLUX)
    code, answer = forge("models", "set", "model", "far.safetensors")
    assert (code, answer["data"][0]["path"]) == (0, str(model))
    file = Path(answer["data"][0]["file"])
    file.write_text("# mine\n" + file.read_text())
    forge("models", "set", "clip-l", str(write_model(in_folder / "c.safetensors", CLIP_L)))
    assert file.read_text().startswith("# mine\n")
    _, planned = forge("plan", "-p", "identity", "-d", str(draw_dataset()))
    assert str(model) in planned["data"]["rendered"]["train_toml"]
    assert str(in_folder / "c.safetensors") in planned["data"]["rendered"]["train_toml"]


@pytest.mark.parametrize(
    ("name", "shapes", "dtype", "said"),
    [
        ("clip_l", FLUX, "BF16", "holds flux weights"),
        ("model", FLUX, "F8_E5M2", "F8_E4M3"),
        ("modle", FLUX, "BF16", "no model file called"),
        ("tokenizers", FLUX, "BF16", "none of the engine's tokenizers"),
    ],
)
def test_set_refuses_what_does_not_suit(name: str, shapes: Any, dtype: str, said: str, in_folder: Path) -> None:
    write_model(in_folder / "x.safetensors", shapes, dtype)
    code, answer = forge("models", "set", name, "x.safetensors")
    assert code == 3
    assert said in answer["error"]["message"]
    assert not (in_folder.parent / "no-config").exists()


def test_set_refuses_a_pickle_under_a_false_name(in_folder: Path) -> None:
    (in_folder / "x.safetensors").write_bytes(b"\x80\x04" + bytes(40))
    code, answer = forge("models", "set", "model", "x.safetensors")
    assert (code, answer["error"]["code"]) == (3, "invalid-model")
    assert "run code" in answer["error"]["message"]


@pytest.mark.parametrize("command", ["ls", "locate"])
def test_a_named_folder_is_looked_into_itself(command: str, in_folder: Path, tmp_path: Path) -> None:
    named = tmp_path / "m"
    files = {
        "model": write_model(named / "a.safetensors", FLUX),
        "clip_l": write_model(named / "clip" / "b.safetensors", CLIP_L),
        "ae": write_model(named / "vae" / "deeper" / "c.safetensors", AE),
    }
    if command == "ls":
        found = {Path(model["path"]) for model in forge("models", "ls", "--in", "../m")[1]["data"]}
        assert found == {in_folder / "../m" / file.relative_to(named) for file in files.values()}
        return
    family = forge("models", "locate", "--family", "flux", "--in", str(named))[1]["data"][0]
    located = {file["name"]: file["path"] for file in family["files"] if file["path"]}
    assert located == {name: str(file) for name, file in files.items()}
    assert {file["why"] for file in family["files"] if file["path"]} == {
        "found in m",
        "found in m/clip",
        "found in m/vae",
    }


def test_what_nobody_named_is_not_looked_into(in_folder: Path) -> None:
    write_model(in_folder / "a.safetensors", FLUX)
    write_model(in_folder / "unet" / "b.safetensors", FLUX)
    assert forge("models", "ls")[1]["data"] == []


@pytest.mark.parametrize("command", ["ls", "locate"])
def test_a_named_folder_that_is_not_there_is_an_error(command: str, in_folder: Path) -> None:
    code, answer = forge("models", command, "--in", "nowhere")
    assert (code, "folder-missing" in codes(answer)) == (3, True)


def test_why_a_file_is_refused_is_a_sentence(in_folder: Path) -> None:
    write_model(in_folder / "models/vae/odd.safetensors", {"a.weight": (4, 4)})
    told = CliRunner().invoke(app, ["models", "ls"]).stdout
    assert "refused: it is no model that forge knows" in told


def test_unknown_weights_are_not_called_no_model_in_one_breath_with_a_model(
    draw_dataset: Draw, in_folder: Path
) -> None:
    odd = write_model(in_folder / "odd.safetensors", {"a.weight": (4, 4)})
    _, answer = forge("plan", "-p", "identity", "-d", str(draw_dataset()), "--model", str(odd))
    [message] = [each["message"] for each in answer["findings"] if each["code"] == "model-wrong-file"]
    assert message.startswith("odd.safetensors holds weights that forge does not know, but --model wants")


def test_a_folder_of_pictures_is_no_model_and_nobody_speaks_of_unets(draw_dataset: Draw, in_folder: Path) -> None:
    photos = draw_dataset()
    _, answer = forge("plan", "-p", "identity", "-d", str(photos), "--ae", str(photos))
    [finding] = [each for each in answer["findings"] if each["code"] == "model-unusable"]
    assert finding["message"] == f"{photos} is a folder, and not one of a Diffusers model"
    assert finding["hint"] == "name the .safetensors file itself"
