"""``forge plan`` as a script or a person calls it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lora_forge.cli.app import app, run

Draw = Any
TOO_MANY_GPUS = {"cpu-processes", "gpu-count"}
"""Of a machine without a card, and of one with some."""


def forge(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Call forge with --json; its exit code and its one object."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def leaf(answer: dict[str, Any], key: str) -> Any:
    found = answer["data"]["plan"]
    for part in key.split("."):
        found = found[part]
    return found


def codes(answer: dict[str, Any], severity: str) -> set[str]:
    return {finding["code"] for finding in answer["findings"] if finding["severity"] == severity}


def test_identity_on_23_images_is_rank_16_alpha_8_repeats_2_steps_2000(draw_dataset: Draw, in_folder: Path) -> None:
    code, answer = forge("plan", "--preset", "identity", "--dataset", str(draw_dataset()))
    assert (code, answer["ok"], answer["schema_version"], answer["error"]) == (0, True, 1, None)
    keys = ("network.rank", "network.alpha", "schedule.repeats", "schedule.steps", "schedule.steps_per_epoch")
    assert [leaf(answer, key)["value"] for key in keys] == [16, 8.0, 2, 2000, 46]
    assert leaf(answer, "network.rank")["source"] == "POLICY"
    assert leaf(answer, "outputs.lora_bytes")["value"] == 153_158_240


def test_a_plan_needs_no_engine_no_model_and_no_gpu(draw_dataset: Draw, in_folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("FORGE_HOME", str(in_folder / "nowhere"))
    code, answer = forge("plan", "--preset", "identity", "--dataset", str(draw_dataset()))
    assert code == 0
    assert {"engine-not-ready", "model-missing"} <= codes(answer, "warning")


def test_every_leaf_has_value_source_and_why(draw_dataset: Draw, in_folder: Path) -> None:
    _, answer = forge("plan", "--preset", "identity", "--dataset", str(draw_dataset()))

    def leaves(tree: dict[str, Any]) -> list[dict[str, Any]]:
        if "source" in tree:
            return [tree]
        return [inner for branch in tree.values() for inner in leaves(branch)]

    found = leaves(answer["data"]["plan"])
    assert len(found) > 50
    assert all({"value", "source", "why"} <= set(each) and each["why"] for each in found)


def test_what_has_no_effect_on_flux_is_shown_and_not_sent(draw_dataset: Draw, in_folder: Path) -> None:
    _, answer = forge("plan", "--preset", "high-fidelity", "--dataset", str(draw_dataset()))
    assert leaf(answer, "loss.noise_offset")["value"] == 0.1
    assert "no-effect" in codes(answer, "warning")
    rendered = answer["data"]["rendered"]["train_toml"]
    assert "noise_offset" not in rendered
    assert "min_snr_gamma" not in rendered


def test_a_flag_beats_the_environment_beats_the_project_file(
    draw_dataset: Draw, in_folder: Path, monkeypatch: Any
) -> None:
    photos = draw_dataset()
    (in_folder / "forge.yaml").write_text(f"dataset: {photos}\npreset: identity\ntrigger: fromfile\n")
    _, answer = forge("plan")
    assert (leaf(answer, "trigger")["value"], leaf(answer, "trigger")["source"]) == ("fromfile", "PROJECT")
    assert leaf(answer, "trigger")["where"].endswith("forge.yaml:3:1")
    monkeypatch.setenv("FORGE_TRIGGER", "fromenv")
    assert leaf(forge("plan")[1], "trigger")["value"] == "fromenv"
    assert leaf(forge("plan", "--trigger", "fromflag")[1], "trigger")["value"] == "fromflag"


def test_set_overrides_a_preset_key_and_outranks_the_policy(draw_dataset: Draw, in_folder: Path) -> None:
    _, answer = forge("plan", "-p", "identity", "-d", str(draw_dataset()), "--set", "network.rank=24")
    assert (leaf(answer, "network.rank")["value"], leaf(answer, "network.rank")["source"]) == (24, "CLI")
    assert leaf(answer, "network.alpha")["value"] == 8.0


def test_set_policy_swaps_the_whole_sizing(draw_dataset: Draw, in_folder: Path) -> None:
    _, answer = forge("plan", "-p", "identity", "-d", str(draw_dataset()), "--set", "policy=tiers")
    keys = ("network.rank", "network.alpha", "schedule.repeats", "schedule.steps")
    assert [leaf(answer, key)["value"] for key in keys] == [16, 16.0, 8, 1000]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--preset", "identty"), "identity"),
        (("--preset", "identity", "--set", "netwrok.rnak=3"), "network.rank"),
        (("--preset", "identity", "--set", "network.rank=lots"), "network.rank"),
        (("--preset", "identity", "--family", "fluxx"), "flux"),
        (("--preset", "identity", "--set", "policy=teirs"), "tiers"),
    ],
)
def test_a_slip_gets_exit_3_and_names_what_was_meant(
    arguments: tuple[str, ...], said: str, draw_dataset: Draw, in_folder: Path
) -> None:
    code, answer = forge("plan", "--dataset", str(draw_dataset()), *arguments)
    assert (code, answer["ok"]) == (3, False)
    told = [f["message"] + " " + f["hint"] for f in answer["findings"] if f["severity"] == "error"]
    assert any(said in text for text in told), told


def test_all_problems_come_at_once(in_folder: Path) -> None:
    code, answer = forge("plan", "--preset", "nosuch", "--dataset", "nowhere", "--family", "fluxx")
    assert code == 3
    assert {"preset-unknown", "dataset-missing", "family-unknown"} <= codes(answer, "error")


def test_an_empty_folder_is_exit_3_and_names_the_folder(in_folder: Path) -> None:
    (in_folder / "empty").mkdir()
    code, answer = forge("plan", "--preset", "identity", "--dataset", "empty")
    assert code == 3
    assert any("empty" in finding["message"] for finding in answer["findings"])


def test_the_same_call_gives_the_same_bytes(draw_dataset: Draw, in_folder: Path) -> None:
    arguments = ("plan", "--preset", "identity", "--dataset", str(draw_dataset()))
    assert forge(*arguments) == forge(*arguments)


def test_a_plan_writes_nothing(draw_dataset: Draw, in_folder: Path) -> None:
    photos = draw_dataset()
    before = sorted(photos.iterdir())
    forge("plan", "--preset", "identity", "--dataset", str(photos))
    assert list(in_folder.iterdir()) == []
    assert sorted(photos.iterdir()) == before


def test_a_person_reads_the_steps_arithmetic_and_the_exact_size(draw_dataset: Draw, in_folder: Path) -> None:
    result = CliRunner().invoke(app, ["plan", "--preset", "identity", "--dataset", str(draw_dataset())])
    assert result.exit_code == 0
    assert "23 images × 2 repeats = 46 samples" in result.stdout
    assert "2,000 steps" in result.stdout
    assert "153,158,240 bytes" in result.stdout


def test_an_unknown_flag_is_a_usage_error(in_folder: Path) -> None:
    assert CliRunner().invoke(app, ["plan", "--prest", "identity"]).exit_code == 2


def test_train_without_the_engine_is_exit_4(draw_dataset: Draw, in_folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("FORGE_HOME", str(in_folder / "nowhere"))
    code, answer = forge("train", "--preset", "identity", "--dataset", str(draw_dataset()))
    assert (code, answer["error"]["code"]) == (4, "engine")
    assert not (in_folder / "runs").exists()


def test_train_without_a_trigger_where_one_is_needed_is_exit_3(draw_dataset: Draw, in_folder: Path) -> None:
    photos = draw_dataset(captions=False)
    code, answer = forge("train", "--preset", "identity", "--dataset", str(photos))
    assert code == 3
    assert "trigger-missing" in codes(answer, "error")
    assert not (in_folder / "runs").exists()


def test_several_gpus_stand_in_the_arithmetic(draw_dataset: Draw, in_folder: Path) -> None:
    arguments = ("plan", "--preset", "identity", "--dataset", str(draw_dataset()), "--gpus", "2")
    assert "46 batches on 2 GPUs → 23 steps an epoch" in CliRunner().invoke(app, arguments).stdout


@pytest.mark.parametrize("argv", [("plan", "--bogus"), ("nosuch",), ("plan", "--vram", "x")])
def test_a_usage_error_keeps_the_promise_of_json(
    argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for extra in ((), ("--json",)):
        monkeypatch.setattr(sys, "argv", ["forge", *argv, *extra])
        with pytest.raises(SystemExit) as left:
            run()
        assert left.value.code == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["code"] == "usage"
    assert said.err.count("Error: ") == 1


def test_the_disk_is_measured_where_the_runs_lie(
    draw_dataset: Draw, in_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda place: asked.append(Path(place)) or real(place))
    (tmp_path / "large").mkdir()
    code, answer = forge(
        "plan", "--preset", "identity", "--dataset", str(draw_dataset()), "--runs", str(tmp_path / "large" / "runs")
    )
    assert code == 0
    assert asked == [tmp_path / "large"]
    assert answer["data"]["run_dir"].startswith(str(tmp_path / "large" / "runs"))


def test_a_place_that_cannot_be_written_is_said_in_the_plan(
    draw_dataset: Draw, in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: not str(place).endswith("project"))
    _, answer = forge("plan", "--preset", "identity", "--dataset", str(draw_dataset()))
    assert "run-dir-unwritable" in codes(answer, "warning")


def test_a_plan_for_a_card_elsewhere_is_made_here_and_not_trained_here(
    draw_dataset: Draw, in_folder: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    asked = ("--preset", "face-loha", "--family", "sdxl", "--dataset", str(draw_dataset(15)), "--vram", "8")
    code, answer = forge("plan", *asked)
    assert (code, "another-machine" in codes(answer, "info")) == (0, True)
    assert "fp8_base_unet = true" in answer["data"]["rendered"]["train_toml"]
    code, answer = forge("train", *asked)
    assert (code, "another machine" in answer["error"]["message"]) == (3, True)
    assert not (in_folder / "runs").exists()


def told(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["plan", *arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_no_line_of_a_plan_ends_in_blanks_and_the_rendered_text_stays_as_it_is(
    draw_dataset: Draw, in_folder: Path
) -> None:
    asked = ("--preset", "identity", "--dataset", str(draw_dataset()))
    _, answer = forge("plan", *asked)
    text = told(*asked, "--explain", "--rendered")
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert answer["data"]["rendered"]["train_toml"] in text


def test_an_explained_value_is_written_as_yaml_would_hold_it(
    draw_dataset: Draw, in_folder: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    (in_folder / "forge.yaml").write_text("overrides:\n  network.dropout: 0.1\n")
    prompts = '["ohwx man, at sea", "ohwx man, ashore"]'
    text = told("-p", "identity", "-d", str(draw_dataset()), "--explain", "--set", f"sampling.prompts={prompts}")
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "relative_step: false, scale_parameter: false" in rows["optimizer.args"]
    assert "True" not in text
    assert "False" not in text
    assert "{" not in text
    lines = [line.strip() for line in text.splitlines()]
    assert any(line.startswith("sampling.prompts") and "ohwx man, at sea  " in line for line in lines)
    assert "ohwx man, ashore" in lines
    assert rows["network.dropout"].count("forge.yaml:2:3") == 1


def test_every_checkpoint_of_a_short_run_is_named(draw_dataset: Draw, in_folder: Path) -> None:
    text = told("-p", "identity", "-d", str(draw_dataset()), "--set", "schedule.steps=900")
    assert "100, 200, 300, 400, 500, 600, 700, 800" in text


def test_the_way_to_look_at_pictures_names_their_folder(draw_dataset: Draw, in_folder: Path) -> None:
    folder = draw_dataset(name="my photos")
    _, answer = forge("plan", "-p", "identity", "-d", str(folder))
    hint = next(each["hint"] for each in answer["findings"] if each["code"] == "pixels-unseen")
    assert hint == f"forge dataset check '{folder}'"


def test_a_run_directory_that_a_training_would_refuse_is_refused_by_the_plan(
    draw_dataset: Draw, in_folder: Path
) -> None:
    folder = draw_dataset()
    code, answer = forge("plan", "-p", "identity", "-d", str(folder), "--run-dir", str(folder))
    assert (code, "run-dir-used" in codes(answer, "error")) == (3, True)
    code, answer = forge("plan", "-p", "identity", "-d", str(folder), "--run-dir", str(folder / "000.txt"))
    assert (code, "run-dir-used" in codes(answer, "error")) == (3, True)
    code, answer = forge("train", "-p", "identity", "-d", str(folder), "--run-dir", str(folder / "000.txt"))
    assert (code, answer["error"]["message"]) == (3, f"the run directory {folder / '000.txt'} is a file")
    (in_folder / "empty").mkdir()
    for free in ("empty", "new"):
        assert forge("plan", "-p", "identity", "-d", str(folder), "--run-dir", free)[0] == 0


@pytest.mark.parametrize("place", ["photos", "photos/000.txt/below"])
def test_a_run_directory_that_cannot_be_used_hides_nothing_else(
    place: str, draw_dataset: Draw, in_folder: Path
) -> None:
    folder = draw_dataset()
    wrong = ("--set", "network.rnak=3", "--gpus", "99", "--clip-l", "nope")
    asked = ("-p", "identity", "-d", str(folder), *wrong, "--run-dir", str(folder.parent / place))
    code, answer = forge("train", *asked)
    assert (code, "run directory" in answer["error"]["message"]) == (3, True)
    assert {"unknown-key", "model-unusable"} <= codes(answer, "error")
    assert TOO_MANY_GPUS & codes(answer, "error")
    assert "run-dir-unwritable" not in codes(answer, "error")
    assert not [*folder.glob(".*")]


def test_a_wrong_value_hides_no_mistake_in_another_table(draw_dataset: Draw, in_folder: Path) -> None:
    asked = ("-p", "identity", "-d", str(draw_dataset()), "--clip-l", "nope", "--gpus", "99")
    settings = ("network.rank=x", "data.min_bucket=2048")
    code, answer = forge("plan", *asked, *(word for each in settings for word in ("--set", each)))
    assert code == 3
    assert codes(answer, "error") - TOO_MANY_GPUS == {"preset-value", "model-unusable", "bucket-min"}
    assert TOO_MANY_GPUS & codes(answer, "error")


def test_a_rule_never_compares_with_what_nobody_wrote(draw_dataset: Draw, in_folder: Path) -> None:
    asked = ("-p", "identity", "-d", str(draw_dataset()))
    for setting in ("data.resolution=1024px", "policy=tirs"):
        written = ("--set", setting, "--set", "data.min_bucket=1000", "--set", "schedule.checkpoint_every=9000")
        _, answer = forge("plan", *asked, *written)
        assert codes(answer, "error") <= {"preset-value", "policy-unknown", "bucket-min"}
        assert ("bucket-min" in codes(answer, "error")) == setting.startswith("policy")


def test_a_misspelt_preset_hides_neither_files_nor_keys_nor_gpus(in_folder: Path) -> None:
    asked = ("-p", "identitee", "-d", "nope", "--model", "nope", "--gpus", "99")
    code, answer = forge("plan", *asked, "--set", "network.rnak=4", "--set", "data.resolution=1")
    assert code == 3
    assert {"preset-unknown", "model-unusable", "unknown-key", "preset-value", "cpu-processes"} <= codes(
        answer, "error"
    )
    assert not {"preset-missing-key", "bucket-max", "no-steps"} & codes(answer, "error")


def test_buckets_without_a_meaning_hide_no_misspelt_key(draw_dataset: Draw, in_folder: Path) -> None:
    asked = ("-p", "identity", "-d", str(draw_dataset()), "--set", "data.bucket_step=1024")
    code, answer = forge("plan", *asked, "--set", "network.rnak=4")
    assert (code, answer["error"]["code"], codes(answer, "error")) == (3, "invalid-plan", {"unknown-key"})


def test_a_plan_for_a_run_directory_in_use_says_how_to_go_on(draw_dataset: Draw, in_folder: Path) -> None:
    (in_folder / "old").mkdir()
    (in_folder / "old/ledger.jsonl").write_text("{}\n")
    code, answer = forge("plan", "-p", "identity", "-d", str(draw_dataset()), "--run-dir", "old")
    hint = next(each["hint"] for each in answer["findings"] if each["code"] == "run-dir-used")
    assert (code, hint) == (0, "go on with it: add --resume")


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (("plan", "--gpus", "0"), "Invalid value for '--gpus': expected 1 or more", "forge plan --help"),
        (("plan", "--gpus", "x"), "Invalid value for '--gpus': expected a whole number", "forge plan --help"),
        (("train", "--grace", "x"), "Invalid value for '--grace': expected a number", "forge train --help"),
        (("dataset", "check", "--bogus"), "No such option: --bogus", "forge dataset check --help"),
        (("runs", "show"), "Missing argument 'ID'.", "forge runs show --help"),
        (("nosuch",), "No such command 'nosuch'.", "forge --help"),
    ],
)
def test_a_usage_error_says_what_was_expected_and_whose_help_to_read(
    argv: tuple[str, ...], message: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["forge", *argv, "--json"])
    with pytest.raises(SystemExit):
        run()
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["message"].startswith(message)
    assert told["hint"] == hint


def test_prompts_come_from_the_file_and_an_empty_one_is_an_error(draw_dataset: Draw, in_folder: Path) -> None:
    words = ("plan", "-p", "identity", "-d", str(draw_dataset(8)), "--prompts", "p.txt")
    Path("p.txt").write_bytes(b"\xef\xbb\xbf{trigger} at sea\n  # later\n")
    assert leaf(forge(*words)[1], "sampling.prompts")["value"] == ["ohwx at sea"]
    Path("p.txt").write_text("")
    code, answer = forge(*words)
    assert code == 3
    assert codes(answer, "error") == {"prompts-empty"}


def test_prompts_that_no_picture_is_made_of_are_a_finding(draw_dataset: Draw, in_folder: Path) -> None:
    Path("p.txt").write_text("{trigger} at sea\n")
    _, answer = forge("plan", "-p", "identity", "-d", str(draw_dataset(8)), "--prompts", "p.txt", "--no-samples")
    told = [each["message"] for each in answer["findings"] if each["where"] == "p.txt"]
    assert len(told) == 1
    assert "no pictures are sampled" in told[0]


@pytest.mark.parametrize("dataset", ["nope", "empty"])
def test_without_pictures_nothing_is_said_of_their_0_steps(dataset: str, in_folder: Path) -> None:
    Path("empty").mkdir()
    code, answer = forge("plan", "-p", "style-lokr", "-d", dataset)
    assert code == 3
    assert len(codes(answer, "error")) == 1
    told = [each["message"] for each in answer["findings"] if each["where"].startswith(("style-lokr", "schedule"))]
    assert [each for each in told if "0 steps" in each] == []
    said = ("--set", "schedule.epochs=3", "--set", "schedule.steps=100")
    _, both = forge("plan", "-p", "identity", "-d", dataset, *said)
    assert "epochs-overruled" not in codes(both, "warning")


def test_a_folder_named_twice_keeps_both_of_its_repeats(draw_dataset: Draw, in_folder: Path) -> None:
    draw_dataset(2, name="project/photos")
    Path("forge.yaml").write_text("preset: identity\ndataset:\n- {path: photos, repeats: 3}\n- {path: photos}\n")
    _, answer = forge("plan")
    assert "folder-repeats" not in codes(answer, "info")
    assert sum(bucket["images"] for bucket in leaf(answer, "data.buckets")["value"]) == 2 * 3 + 2 * 2
    assert "num_repeats = 3" in answer["data"]["rendered"]["dataset_toml"]
    assert "num_repeats = 2" in answer["data"]["rendered"]["dataset_toml"]


def test_one_is_not_counted_as_many(draw_dataset: Draw, in_folder: Path) -> None:
    photos = str(draw_dataset(1, captions=False))
    said = [f"--set=schedule.{key}" for key in ("epochs=9", "steps=1", "repeats=1")]
    _, answer = forge("plan", "-p", "identity", "-d", photos, *said)
    told = " ".join(f"{each['message']} {each['hint']}" for each in answer["findings"])
    assert "The one image has no caption" in told
    assert "gives way to 1 step, which is 1 epoch" in told
    assert not re.search(r"\b1 (images|steps|epochs|repeats)\b", told)


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("sampling.every=7", "schedule.checkpoint_every sets it."),
        ("sampling.xyzzy=7", "The keys of sampling are: enabled, guidance, prompts, seed, steps."),
        ("sampling.sead=7", "Did you mean sampling.seed?"),
    ],
)
def test_a_wrong_key_is_guessed_from_its_own_table_or_not_at_all(
    setting: str, hint: str, draw_dataset: Draw, in_folder: Path
) -> None:
    _, answer = forge("plan", "-p", "identity", "-d", str(draw_dataset(2)), "--set", setting)
    assert [each["hint"] for each in answer["findings"] if each["code"] == "unknown-key"] == [hint]


@pytest.mark.parametrize(
    ("asked", "name"), [("猫", "猫"), ("héé 日本", "héé_日本"), ("...", "identity"), ("猫" * 90, "猫" * 60)]
)
def test_a_name_in_any_script_is_kept_and_a_change_is_said(
    asked: str, name: str, draw_dataset: Draw, in_folder: Path
) -> None:
    code, answer = forge("plan", "-p", "identity", "-d", str(draw_dataset(2)), "--name", asked)
    assert code == 0
    assert leaf(answer, "name")["value"] == name
    assert f'output_name = "{name}"' in answer["data"]["rendered"]["train_toml"]
    said = [each for each in answer["findings"] if each["code"] == "name-changed"]
    assert [(each["severity"], each["where"]) for each in said] == ([] if asked == name else [("info", "--name")])
    assert all(f"the files are called {name}." in each["message"] for each in said)


def test_a_trigger_in_another_script_names_the_files(draw_dataset: Draw, in_folder: Path) -> None:
    _, answer = forge("plan", "-p", "identity", "-d", str(draw_dataset(2)), "-t", "Лена")
    assert leaf(answer, "name")["value"] == "Лена-identity"
    assert "name-changed" not in codes(answer, "info")
