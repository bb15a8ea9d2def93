"""``forge dataset split`` and ``--validation`` as a script or a person calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toml
from PIL import Image
from typer.testing import CliRunner

from lora_forge.cli.app import app


def forge(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def codes(answer: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in answer["findings"]}


def draw(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    for index in range(first, first + count):
        values = np.random.default_rng(index).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(values).resize((768, 768), Image.Resampling.BICUBIC).save(
            folder / f"{index:02d}.png", compress_level=1
        )
        (folder / f"{index:02d}.txt").write_text(f"ohwx, scene {index}\n")
    return folder


@pytest.fixture
def photos(in_folder: Path) -> Path:
    return draw(in_folder / "photos", 20)


PLAN = ("plan", "--preset", "identity", "--dataset", "photos", "--trigger", "ohwx")


def names(in_folder: Path) -> set[str]:
    return {image["name"] for image in json.loads((in_folder / "photos.holdout.json").read_text())["images"]}


def test_a_split_is_recorded_in_the_project_and_the_folder_stays_as_it_is(photos: Path, in_folder: Path) -> None:
    before = sorted(path.name for path in photos.iterdir())
    code, answer = forge("dataset", "split", "photos", "--validation", "20%")
    assert (code, answer["data"]["training_images"]) == (0, 16)
    assert {image["name"] for image in answer["data"]["held_out"]} == names(in_folder)
    assert sorted(path.name for path in photos.iterdir()) == before


def test_a_plan_trains_on_the_others_and_its_steps_follow(photos: Path, in_folder: Path) -> None:
    forge("dataset", "split", "photos", "--validation", "3", "--seed", "7")
    code, answer = forge(*PLAN, "--validation", "3")
    assert code == 0
    plan = answer["data"]["plan"]
    assert (plan["data"]["images"]["value"], plan["data"]["validation_images"]["value"]) == (17, 3)
    assert plan["data"]["validation_images"]["source"] == "CLI"
    assert plan["schedule"]["steps_per_epoch"]["value"] == 17 * 2
    assert plan["schedule"]["steps"]["value"] == 1500
    rendered = answer["data"]["rendered"]
    training, validation = toml.loads(rendered["dataset_toml"])["datasets"]
    assert "validation_split" not in training
    assert validation["validation_split"] == 1.0
    assert validation["subsets"][0]["num_repeats"] == 1
    assert training["subsets"][0]["image_dir"] != validation["subsets"][0]["image_dir"]
    options = toml.loads(rendered["train_toml"])
    assert options["validate_every_n_steps"] == plan["schedule"]["checkpoint_every"]["value"]
    assert options["validate_every_n_epochs"] > plan["schedule"]["epochs"]["value"], "1,500 is a checkpoint itself"
    assert options["validation_seed"] == 42


def test_the_last_step_is_validated_too_where_it_is_no_checkpoint(photos: Path) -> None:
    _, answer = forge(*PLAN, "--validation", "3", "--set", "schedule.steps=1400")
    options = toml.loads(answer["data"]["rendered"]["train_toml"])
    assert options["validate_every_n_epochs"] == answer["data"]["plan"]["schedule"]["epochs"]["value"]


def test_without_validation_nothing_is_held_out_though_a_choice_is_recorded(photos: Path) -> None:
    forge("dataset", "split", "photos", "--validation", "3")
    _, answer = forge(*PLAN)
    plan = answer["data"]["plan"]
    assert (plan["data"]["images"]["value"], plan["data"]["validation_images"]["value"]) == (20, 0)
    assert not [key for key in toml.loads(answer["data"]["rendered"]["train_toml"]) if "validat" in key]


def test_forge_yaml_asks_for_validation_as_a_preset_key(photos: Path, in_folder: Path) -> None:
    (in_folder / "forge.yaml").write_text(
        "dataset: photos\noverrides:\n  data.validation: 2   # enough to see a trend\n"
    )
    _, answer = forge("plan", "--preset", "identity", "--trigger", "ohwx")
    leaf = answer["data"]["plan"]["data"]["validation_images"]
    assert (leaf["value"], leaf["source"], leaf["where"]) == (2, "PROJECT", "forge.yaml:3:3")


def test_a_plan_records_nothing(photos: Path, in_folder: Path) -> None:
    forge(*PLAN, "--validation", "3")
    assert not (in_folder / "photos.holdout.json").exists()


def test_images_that_are_added_move_nothing_across_the_border(photos: Path, in_folder: Path) -> None:
    forge("dataset", "split", "photos", "--validation", "3")
    before = names(in_folder)
    draw(photos, 10, first=20)
    _, answer = forge("dataset", "split", "photos", "--validation", "3")
    assert (names(in_folder), answer["data"]["kept"]) == (before, 3)
    _, anew = forge("dataset", "split", "photos", "--validation", "3", "--anew", "--seed", "9")
    assert anew["data"]["kept"] == 0
    assert names(in_folder) != before


def test_a_dry_run_records_nothing(photos: Path, in_folder: Path) -> None:
    _, answer = forge("dataset", "split", "photos", "--validation", "3", "--dry-run")
    assert len(answer["data"]["held_out"]) == 3
    assert not (in_folder / "photos.holdout.json").exists()


def test_more_than_there_is_to_hold_out_stops_a_plan(photos: Path) -> None:
    code, answer = forge(*PLAN, "--validation", "20")
    assert code == 3
    assert "holdout-too-many" in codes(answer)
    assert forge("dataset", "split", "photos", "--validation", "20")[0] == 3


@pytest.mark.parametrize("share", ["0", "-1", "many", "100%", "1.5"])
def test_a_share_that_cannot_be_meant_is_exit_3(photos: Path, share: str) -> None:
    code, answer = forge("dataset", "split", "photos", f"--validation={share}")
    assert (code, answer["error"]["code"]) == (3, "invalid-dataset")


def test_a_record_of_another_dataset_is_not_taken_for_this_one(photos: Path, in_folder: Path) -> None:
    record = {"schema_version": 1, "dataset": "x", "seed": 1, "images": [{"digest": "0" * 32, "name": "z.png"}]}
    (in_folder / "photos.holdout.json").write_text(json.dumps(record))
    code, answer = forge(*PLAN, "--validation", "3")
    assert code == 3
    assert "holdout-other-dataset" in codes(answer)


def test_a_damaged_record_stops_a_plan_with_a_way_out(photos: Path, in_folder: Path) -> None:
    (in_folder / "photos.holdout.json").write_text("{")
    code, answer = forge(*PLAN, "--validation", "3")
    assert code == 3
    assert "holdout-unreadable" in codes(answer)
    assert forge("dataset", "split", "photos", "--validation", "3", "--anew")[0] == 0


def test_a_person_reads_what_is_held_out_and_how_to_use_it(photos: Path) -> None:
    text = CliRunner().invoke(app, ["dataset", "split", "photos", "--validation", "2"]).stdout
    assert text.count("held out  ") == 2
    assert "forge train --validation 2" in text


def test_a_split_that_fails_looks_in_no_way_done(photos: Path, in_folder: Path) -> None:
    result = CliRunner().invoke(app, ["dataset", "split", "photos", "--validation", "40"])
    assert (result.exit_code, result.stdout) == (3, "")
    assert "40 images" in result.stderr
    assert not (in_folder / "photos.holdout.json").exists()


def test_several_folders_on_the_command_line(photos: Path, in_folder: Path) -> None:
    draw(in_folder / "more", 5, first=50)
    code, answer = forge(
        *("plan", "--preset", "identity", "--trigger", "ohwx"),
        *("--dataset", "{path: photos, repeats: 2}", "--dataset", "{path: more, repeats: 5}"),
    )
    assert code == 0
    subsets = toml.loads(answer["data"]["rendered"]["dataset_toml"])["datasets"][0]["subsets"]
    assert [subset["num_repeats"] for subset in subsets] == [2, 5]
    assert answer["data"]["plan"]["schedule"]["repeats"]["value"] == {"photos": 2, "more": 5}


def test_a_hold_out_is_of_all_folders_that_the_project_trains_on(photos: Path, in_folder: Path) -> None:
    draw(in_folder / "more", 20, first=50)
    (in_folder / "forge.yaml").write_text(
        "dataset: [{path: photos, repeats: 2}, more]\npreset: identity\ntrigger: ohwx\n"
    )
    _, recorded = forge("dataset", "split", "--validation", "12")
    folders = {image["name"].partition("/")[0] for image in recorded["data"]["held_out"]}
    assert folders == {"photos", "more"}
    code, answer = forge("plan", "--validation", "12")
    assert code == 0
    plan = answer["data"]["plan"]["data"]
    assert (plan["images"]["value"], plan["validation_images"]["value"]) == (28, 12)


def test_a_dataset_toml_on_the_command_line(photos: Path, in_folder: Path) -> None:
    (in_folder / "own.toml").write_text(
        "[[datasets]]\nresolution = 640\nenable_bucket = true\n"
        '[[datasets.subsets]]\nimage_dir = "photos"\nnum_repeats = 3\n'
    )
    code, answer = forge("plan", "--preset", "identity", "--trigger", "ohwx", "--dataset", "own.toml")
    assert code == 0
    plan = answer["data"]["plan"]
    assert (plan["data"]["resolution"]["value"], plan["schedule"]["repeats"]["value"]) == (640, 3)
    (in_folder / "own.toml").write_text("[[datasets]]\nresolutoin = 640\n")
    code, answer = forge("plan", "--preset", "identity", "--trigger", "ohwx", "--dataset", "own.toml")
    assert code == 3
    assert "engine-dataset-unknown" in codes(answer)
    assert "dataset-missing" not in codes(answer)


def test_one_image_is_said_in_the_singular(photos: Path) -> None:
    text = CliRunner().invoke(app, ["dataset", "split", "photos", "--validation", "1"]).stdout
    assert "\n1 image held out (0 as before)" in text
