"""Base models that nobody named: found by content, chosen only where nothing else would do."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_forge.errors import ProjectError
from lora_forge.families import load_family
from lora_forge.models.locating import (
    THOROUGH,
    Budget,
    Located,
    list_models,
    locate_models,
    locate_tokenizers,
)
from lora_forge.models.places import Roots, usual_roots
from lora_forge.models.user_file import set_in_file, with_setting
from lora_forge.settings import Source
from tests.model_files import AE, CLIP_L, FILL, FLUX, SDXL, T5, UNET, write_flux, write_hub, write_model


def locate(root: Path, family: str = "flux", hub: Path | None = None, budget: Budget | None = None) -> Located:
    files = [file for file in load_family(family).files if file.required]
    return locate_models(files, Roots(hubs=(hub,) if hub else (), apps=(root,)), budget)


def paths(located: Located) -> dict[str, Path]:
    return {name: candidate.path for name, candidate in located.chosen.items()}


def test_the_four_files_of_flux_are_found_below_an_application(tmp_path: Path) -> None:
    written = write_flux(tmp_path / "ComfyUI")
    located = locate(tmp_path)
    assert paths(located) == written
    model = located.written()["model"]
    assert (model.value, model.source) == (str(written["model"]), Source.MACHINE)
    assert "ComfyUI/models/unet" in model.why
    assert [finding.code for finding in located.findings(load_family("flux").files)] == ["model-located"]


def test_a_name_says_nothing_about_a_file(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "unet" / "flux1-dev.safetensors", SDXL)
    right = write_model(tmp_path / "models" / "checkpoints" / "sdxl_base.safetensors", FLUX)
    assert paths(locate(tmp_path)) == {"model": right}


def test_two_that_fit_mean_that_none_is_chosen(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "unet" / "a.safetensors", FLUX)
    write_model(tmp_path / "models" / "unet" / "b.safetensors", FLUX, fill=1)
    located = locate(tmp_path)
    assert "model" not in located.chosen
    (finding,) = located.findings(load_family("flux").files)
    assert finding.code == "model-several"
    assert "a.safetensors" in finding.message
    assert "b.safetensors" in finding.message


def test_random_weights_are_never_chosen(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "unet" / "demo.safetensors", FLUX, metadata={"random_weights": "true"})
    assert paths(locate(tmp_path)) == {}


def test_two_copies_of_one_file_are_one(tmp_path: Path) -> None:
    first = write_model(tmp_path / "ComfyUI" / "models" / "clip" / "clip_l.safetensors", CLIP_L)
    write_model(tmp_path / "forge" / "models" / "text_encoder" / "l.safetensors", CLIP_L)
    assert paths(locate(tmp_path)) == {"clip_l": first}


@pytest.mark.parametrize(
    ("folder", "shapes", "dtype"),
    [
        ("unet", FLUX, "F8_E5M2"),
        ("unet", FILL, "BF16"),
        ("unet", {**FLUX, "scaled_fp8": (1,)}, "F8_E4M3"),
    ],
)
def test_what_the_engine_would_refuse_or_misread_is_not_chosen(
    folder: str, shapes: dict[str, tuple[int, ...]], dtype: str, tmp_path: Path
) -> None:
    write_model(tmp_path / "models" / folder / "x.safetensors", shapes, dtype)
    assert locate(tmp_path) == Located()


def test_an_e4m3fn_file_is_chosen(tmp_path: Path) -> None:
    path = write_model(tmp_path / "models" / "unet" / "x.safetensors", FLUX, "F8_E4M3")
    assert paths(locate(tmp_path)) == {"model": path}


def test_a_unet_without_its_text_encoder_is_no_checkpoint(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "unet" / "x.safetensors", UNET)
    assert locate(tmp_path, "sdxl") == Located()
    path = write_model(tmp_path / "models" / "checkpoints" / "y.safetensors", SDXL)
    assert paths(locate(tmp_path, "sdxl")) == {"model": path}


def test_the_hugging_face_cache_is_read_at_the_revision_of_main(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    write_hub(hub, "someone/flux", {"old.safetensors": FILL}, revision="old")
    snapshot = write_hub(hub, "someone/flux", {"flux.safetensors": FLUX, "ae.safetensors": AE})
    located = locate(tmp_path / "nothing", hub=hub)
    assert paths(located) == {"model": snapshot / "flux.safetensors", "ae": snapshot / "ae.safetensors"}
    assert located.chosen["ae"].origin == "the Hugging Face cache, someone/flux"


def test_a_file_of_its_own_stands_before_a_part_of_a_diffusers_model(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    parts = write_hub(hub, "a/diffusers", {"text_encoder/model.safetensors": CLIP_L})
    (parts / "model_index.json").write_text("{}")
    assert paths(locate(tmp_path / "nothing", hub=hub)) == {"clip_l": parts / "text_encoder" / "model.safetensors"}
    alone = write_model(tmp_path / "app" / "models" / "clip" / "x.safetensors", {**CLIP_L, "more": (3,)})
    assert paths(locate(tmp_path, hub=hub)) == {"clip_l": alone}


def test_one_shard_of_several_is_no_text_encoder(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "text_encoders" / "model-00001-of-00002.safetensors", T5)
    assert locate(tmp_path) == Located()


def test_a_search_that_ran_out_of_budget_chooses_nothing(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "unet" / "a.safetensors", FLUX)
    located = locate(tmp_path, budget=Budget(looks=1))
    assert located.chosen == {}
    assert not located.complete
    assert "too many" in located.findings(load_family("flux").files)[0].message


def test_a_pickle_is_listed_as_refused_whatever_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "false.safetensors").write_bytes(b"PK\x03\x04" + bytes(40))
    (folder / "old.ckpt").write_bytes(b"\x80\x02" + bytes(40))
    good = write_model(folder / "good.safetensors", SDXL)
    listed = {entry.path.name: entry for entry in list_models(Roots(apps=(tmp_path,)), Budget(*THOROUGH))}
    assert "run code" in listed["false.safetensors"].refused
    assert "run code" in listed["old.ckpt"].refused
    assert listed[good.name].facts is not None
    assert listed[good.name].refused == ""


def test_an_e5m2_file_is_listed_with_its_reason(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "unet" / "x.safetensors", FLUX, "F8_E5M2")
    (listed,) = list_models(Roots(apps=(tmp_path,)), Budget(*THOROUGH))
    assert "F8_E4M3" in listed.refused


def test_tokenizers_are_looked_for_where_the_engine_looks(tmp_path: Path) -> None:
    folder, hub = tmp_path / "tokenizers", tmp_path / "hub"
    (folder / "openai_clip").mkdir(parents=True)
    snapshot = write_hub(hub, "google/t5", {})
    snapshot.mkdir(parents=True)
    (snapshot / "spiece.model").write_bytes(b"x")
    local, cached, missing = locate_tokenizers(["openai/clip", "google/t5", "no/where"], folder, Roots(hubs=(hub,)))
    assert (local.path, cached.path, missing.path) == (folder / "openai_clip", snapshot, None)
    assert str(folder / "no_where") in missing.how


def test_the_cache_is_where_hugging_face_says(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert usual_roots(home, tmp_path).hubs == (tmp_path / ".cache/huggingface/hub",)
    assert usual_roots({**home, "HF_HOME": "/x"}, tmp_path).hubs == (Path("/x/hub"),)
    assert usual_roots({**home, "HF_HOME": "/x", "HF_HUB_CACHE": "/y"}, tmp_path).hubs == (Path("/y"),)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "models:\n  model: /new\n"),
        ("# mine\ntrigger: x", "# mine\ntrigger: x\nmodels:\n  model: /new\n"),
        ("models:\n  model: /old  # note\nname: x\n", "models:\n  model: /new  # note\nname: x\n"),
        ("models:\n    ae: /ae  # a\n\n# end\n", "models:\n    ae: /ae  # a\n    model: /new\n\n# end\n"),
        ("models:\nname: x\n", "models:\n  model: /new\nname: x\n"),
        ("models:\n  model:\n  ae: /ae\n", "models:\n  model: /new\n  ae: /ae\n"),
    ],
)
def test_one_line_changes_and_the_rest_stays(before: str, after: str) -> None:
    assert with_setting(before, "model", "/new", label="forge.yaml") == after


@pytest.mark.parametrize("before", ["models: {ae: /ae}\n", "{trigger: x}\n", "models: [a]\n", "a: 1\na: 2\n"])
def test_a_file_that_cannot_be_changed_safely_is_left_alone(before: str, tmp_path: Path) -> None:
    file = tmp_path / "forge.yaml"
    file.write_text(before)
    with pytest.raises(ProjectError):
        set_in_file(file, "model", "/new")
    assert file.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["forge.yaml"]


def test_a_path_with_colons_and_quotes_is_read_back_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "sub" / "forge.yaml"
    path = '/a b/c: "d"/é #1.safetensors'
    set_in_file(file, "model", path)
    set_in_file(file, "ae", "/x")
    from lora_forge.presets.yaml_reader import read_settings_file

    settings, findings = read_settings_file(file, source=Source.PROJECT, label="f", leaves=())
    assert findings == []
    assert {key: written.value for key, written in settings.items()} == {"models.model": path, "models.ae": "/x"}


def test_a_link_that_leads_in_a_circle_hides_nothing_beside_it(tmp_path: Path) -> None:
    written = write_flux(tmp_path / "ComfyUI")
    for folder in (tmp_path, tmp_path / "ComfyUI" / "models", written["model"].parent):
        (folder / "loop").symlink_to("loop")
        (folder / "loop.safetensors").symlink_to("loop.safetensors")
    assert paths(locate(tmp_path)) == written
    listed = list_models(Roots(apps=(tmp_path,), named=(tmp_path / "ComfyUI" / "models",)), Budget(*THOROUGH))
    assert {each.path for each in listed} == set(written.values())
