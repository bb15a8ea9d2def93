"""A hold-out: chosen by content, stable, and without a picture on both sides."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from lora_forge.datasets.facts import DatasetFacts
from lora_forge.datasets.importing import SubsetSource, scan_sources
from lora_forge.datasets.look import look
from lora_forge.datasets.pixel_cache import PixelCache
from lora_forge.datasets.scan import scan_dataset
from lora_forge.datasets.splitting import (
    Holdout,
    Split,
    holdout_file,
    read_holdout,
    split_dataset,
    training_paths,
    write_holdout,
)
from lora_forge.errors import DatasetError


def draw(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(values).resize((96, 96), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for index in range(12):
        draw(tmp_path / "photos" / f"{index:02d}.png", index)
    return tmp_path / "photos"


def split(root: Path, count: int, recorded: Holdout | None = None) -> Split:
    facts, _ = scan_dataset(root, caption_extension=".txt")
    with PixelCache(root.parent / "cache" / "pixels.sqlite") as cache:
        return split_dataset(facts, look(training_paths(facts), cache).pixels, count, recorded)


def names(split: Split) -> set[str]:
    return {image.name for image in split.chosen}


def trained_on(facts: DatasetFacts) -> set[str]:
    return {image.name for subset in facts.train_subsets for image in subset.images}


def test_exactly_as_many_are_held_out_as_asked_and_none_of_them_is_trained_on(root: Path) -> None:
    result = split(root, 3)
    assert len(names(result)) == 3 == result.facts.validation_images
    assert result.facts.images == 9
    assert not names(result) & trained_on(result.facts)
    assert {image.name for subset in result.facts.held_out for image in subset.images} == names(result)


def test_the_choice_is_of_contents_whatever_they_are_called_and_wherever_they_lie(root: Path, tmp_path: Path) -> None:
    digests = {image.digest for image in split(root, 3).chosen}
    moved = tmp_path / "elsewhere" / "10_ohwx man"
    moved.mkdir(parents=True)
    for number, path in enumerate(sorted(root.glob("*.png"), reverse=True)):
        shutil.copy(path, moved / f"renamed-{number}.png")
    assert {image.digest for image in split(moved.parent, 3).chosen} == digests


def test_a_picture_that_cannot_be_decoded_is_not_held_out(root: Path) -> None:
    """Among those held out nobody would speak of it, and the engine would stop on it."""
    for victim in list(root.glob("*.png"))[:6]:
        os.truncate(victim, victim.stat().st_size // 2)
    chosen = names(split(root, 5))
    assert len(chosen) == 5 and all(is_whole(root / name) for name in chosen)


def is_whole(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            picture.load()
    except OSError:
        return False
    return True


def test_of_a_folder_named_twice_no_held_out_picture_is_trained_on(root: Path) -> None:
    facts, _ = scan_sources([SubsetSource(root), SubsetSource(root, class_tokens="a man")], caption_extension=".txt")
    with PixelCache(root.parent / "cache" / "pixels.sqlite") as cache:
        result = split_dataset(facts, look(training_paths(facts), cache).pixels, 3)
    held = {image.name for subset in result.facts.held_out for image in subset.images}
    assert len(held) == 3 and not held & trained_on(result.facts)


def test_another_seed_chooses_other_images(root: Path) -> None:
    assert len({frozenset(names(split(root, 3, Holdout(seed)))) for seed in range(8)}) > 3


@pytest.mark.parametrize("more", [1, 5, 40])
def test_what_was_chosen_stays_chosen_when_images_are_added(root: Path, more: int) -> None:
    before = split(root, 3)
    for index in range(more):
        draw(root / f"new-{index}.png", 1000 + index)
    after = split(root, 3, before.holdout)
    assert after.chosen == before.chosen
    assert after.facts.images == 9 + more


def test_more_are_added_to_those_recorded_and_fewer_are_their_first(root: Path) -> None:
    before = split(root, 3)
    assert split(root, 5, before.holdout).chosen[:3] == before.chosen
    fewer = split(root, 1, before.holdout)
    assert fewer.chosen == before.chosen[:1]
    assert split(root, 3, fewer.holdout).chosen == before.chosen, "the others are kept in reserve"


def test_a_removed_image_is_replaced_and_said_to_be_gone(root: Path) -> None:
    before = split(root, 3)
    (root / before.chosen[1].name).unlink()
    after = split(root, 3, before.holdout)
    assert after.gone == (before.chosen[1],)
    assert names(after) >= names(before) - {before.chosen[1].name}
    assert len(after.chosen) == 3


def test_no_look_alike_of_a_held_out_image_is_trained_on(root: Path) -> None:
    before = split(root, 3)
    victim = root / before.chosen[0].name
    with Image.open(victim) as picture:
        picture.convert("RGB").resize((200, 200)).save(root / "smaller.jpg", quality=70)
    shutil.copy(victim, root / "copy.png")
    after = split(root, 3, before.holdout)
    assert after.facts.validation_images == 3
    assert {pair.name for pair in after.look_alikes} | {victim.name} >= {"smaller.jpg", "copy.png"}
    assert not trained_on(after.facts) & {"smaller.jpg", "copy.png", victim.name}


def test_pictures_that_nothing_looks_like_are_held_out_first(root: Path) -> None:
    for index in range(10):
        shutil.copy(root / f"{index:02d}.png", root / f"copy-{index:02d}.png")
    result = split(root, 2)
    assert names(result) == {"10.png", "11.png"}
    assert result.facts.images == 20


def test_no_folder_loses_its_last_image(tmp_path: Path) -> None:
    for index in range(4):
        draw(tmp_path / "kohya" / f"{index + 1}_part{index}" / "only.png", index)
    result = split(tmp_path / "kohya", 2)
    assert (result.missing, result.facts.images, result.facts.validation_images) == (2, 4, 0)


def test_regularization_images_are_never_held_out(root: Path, tmp_path: Path) -> None:
    for index in range(30):
        draw(tmp_path / "reg" / f"{index}.png", 500 + index)
    facts, _ = scan_dataset(root, caption_extension=".txt", reg=tmp_path / "reg")
    with PixelCache(tmp_path / "pixels.sqlite") as cache:
        result = split_dataset(facts, look(training_paths(facts), cache).pixels, 6)
    assert result.facts.reg_images == 30
    assert result.facts.validation_images == 6


def test_a_held_out_image_keeps_its_caption_and_its_folders_class(tmp_path: Path) -> None:
    folder = tmp_path / "kohya" / "10_ohwx man"
    for index in range(4):
        draw(folder / f"{index}.png", index)
        (folder / f"{index}.txt").write_text(f"scene {index}\n")
    (held,) = split(tmp_path / "kohya", 1).facts.held_out
    assert held.class_tokens == "ohwx man"
    assert held.images[0].caption == f"scene {held.images[0].name[0]}"


def test_the_record_survives_a_round_trip(root: Path, tmp_path: Path) -> None:
    file = holdout_file(root, tmp_path / "project")
    file.parent.mkdir()
    holdout = split(root, 3).holdout
    write_holdout(file, holdout, root)
    assert read_holdout(file) == holdout
    assert [path.name for path in file.parent.iterdir()] == ["photos.holdout.json"]


def test_the_record_never_lies_among_the_images(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for project in (root, root / "deep" / "er"):
        assert holdout_file(root, project) == tmp_path / "photos.holdout.json"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"seed": 1}', '{"seed": "x", "images": []}', '{"images": [1], "seed": 1}']
)
def test_a_damaged_record_is_refused_and_not_chosen_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.holdout.json").write_text(text)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_holdout(tmp_path / "a.holdout.json")


def test_a_run_keeps_to_its_own_hold_out_whatever_becomes_of_the_projects(root: Path, tmp_path: Path) -> None:
    from lora_forge.runs.directory import RunDir
    from lora_forge.workflow.gather import gather
    from lora_forge.workflow.invocation import Invocation
    from lora_forge.workflow.planning import plan_run
    from lora_forge.workflow.run_layout import record_holdout

    project, run = tmp_path / "project", RunDir(tmp_path / "run")
    for folder in (project, run.path):
        folder.mkdir()
    flags = {"preset": "style", "dataset": str(root), "trigger": "ohwx"}
    call = Invocation(flags, ("data.validation=3",), {"FORGE_CACHE": str(tmp_path / "cache")}, project)
    write_holdout(holdout_file(root, project), Holdout(7), root)
    begun = plan_run(call)
    record_holdout(begun, run)
    write_holdout(holdout_file(root, project), Holdout(8), root)
    went_on = gather(Invocation(call.flags, call.settings, call.env, run.path))
    assert went_on.dataset == begun.gathered.dataset
    assert gather(call).dataset != begun.gathered.dataset


@pytest.mark.parametrize("variant", ["mirrored", "turned", "brighter", "greyed"])
def test_no_variant_of_a_held_out_picture_is_trained_on(variant: str, root: Path) -> None:
    (held,) = split(root, 1).chosen
    picture = Image.open(root / held.name).convert("RGB")
    changed = {
        "mirrored": ImageOps.mirror(picture),
        "turned": picture.rotate(270, expand=True),
        "brighter": picture.point(lambda value: min(255, value * 6 // 5)),
        "greyed": picture.convert("L").convert("RGB"),
    }[variant]
    changed.save(root / "variant.jpg", quality=85)
    after = split(root, 1, Holdout(42, (held,)))
    assert [pair.name for pair in after.look_alikes] == ["variant.jpg"]
    assert not {held.name, "variant.jpg"} & trained_on(after.facts)
