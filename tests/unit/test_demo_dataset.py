"""The drawn dataset follows the rules that forge itself asks of an identity dataset."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from lora_forge.demo import draw
from lora_forge.demo.shots import FRAMINGS, SHOTS, TRIGGER, view_name

NEGATIONS = {"no", "not", "without", "never", "none"}


@pytest.fixture
def coarse(monkeypatch):
    """Drawn without oversampling: a fraction of the time, the same files."""
    monkeypatch.setattr(draw, "OVERSAMPLING", 1)


@pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: shot.caption)
def test_every_caption_is_one_positive_line_that_begins_with_the_trigger(shot):
    assert shot.text.startswith(f"{TRIGGER}, ")
    assert "\n" not in shot.text
    assert not NEGATIONS & set(shot.text.replace(",", "").split())


def test_no_two_captions_are_identical_and_no_place_is_used_twice():
    assert len(SHOTS) == 23
    assert len({shot.text for shot in SHOTS}) == 23
    assert len({id(shot.scene) for shot in SHOTS}) == 23


def test_every_view_and_framing_appears_at_least_four_times():
    views = [view_name(shot.pose.yaw) for shot in SHOTS]
    framings = [shot.framing for shot in SHOTS]
    assert min(views.count(view) for view in ("front view", "three-quarter view", "profile view")) >= 4
    assert min(framings.count(framing) for framing in FRAMINGS) >= 4
    assert len({shot.pose.mood for shot in SHOTS}) >= 6


def test_pictures_are_large_enough_for_the_preset_and_spread_over_five_shapes():
    assert min(min(shot.size) for shot in SHOTS) >= 768
    assert len({shot.size for shot in SHOTS}) == 5


def test_the_same_seed_draws_the_same_pixels_and_another_seed_does_not(coarse):
    first, again, other = (draw.draw_shot(SHOTS[0], Random(seed)).tobytes() for seed in ("1:1", "1:1", "2:1"))
    assert first == again
    assert first != other


def test_the_character_looks_different_from_every_side(coarse):
    poses = [replace(SHOTS[0].pose, yaw=yaw) for yaw in (-75, -35, 0, 35, 75)]
    pictures = {draw.draw_shot(replace(SHOTS[0], pose=pose), Random(7)).tobytes() for pose in poses}
    assert len(pictures) == len(poses)


def test_every_picture_opens_at_its_size_and_has_its_caption(coarse, tmp_path):
    folder = tmp_path / "dataset"
    draw.draw_dataset(folder)
    pictures = sorted(path for path in folder.iterdir() if path.suffix != ".txt")
    assert [_size(path) for path in pictures] == [shot.size for shot in SHOTS]
    assert [path.with_suffix(".txt").read_text() for path in pictures] == [f"{shot.text}\n" for shot in SHOTS]
    assert {path.suffix for path in pictures} == {".jpg", ".png"}


def test_a_drawing_that_stops_half_way_leaves_the_earlier_dataset_alone(coarse, tmp_path, monkeypatch):
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "kept.txt").write_text("earlier")
    monkeypatch.setattr(draw, "_save", _disk_full_at_the_third)
    with pytest.raises(OSError, match="no space"):
        draw.draw_dataset(folder)
    assert [path.name for path in folder.iterdir()] == ["kept.txt"]


def _disk_full_at_the_third(_picture: Image.Image, _path: Path, number: int) -> None:
    if number == 3:
        raise OSError(28, "no space left on device")


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        picture.load()
        return picture.size
