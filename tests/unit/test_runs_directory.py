"""The run directory and the staged dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_forge.errors import DatasetError
from lora_forge.runs.directory import AttemptDir, RunDir, next_run_dir, write_atomically
from lora_forge.runs.staging import StagedImage, StagedSubset, stage_dataset


def test_runs_are_numbered_from_one(tmp_path: Path) -> None:
    made = [next_run_dir(tmp_path / "runs", "jeff").name for _ in range(3)]
    assert made == ["jeff-001", "jeff-002", "jeff-003"]


def test_a_number_is_not_used_again_while_a_higher_one_stands(tmp_path: Path) -> None:
    for name in ("jeff-007", "jeff-1000", "jeff-two-500", "jeffrey-2000"):
        (tmp_path / name).mkdir()
    assert next_run_dir(tmp_path, "jeff").name == "jeff-1001"


def test_two_creators_never_share_a_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, rival_came = Path.mkdir, False

    def mkdir(self: Path, *args: object, **named: object) -> None:
        nonlocal rival_came
        if self.name == "jeff-001" and not rival_came:
            rival_came = True
            real(self)  # the rival is quicker
        real(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert next_run_dir(tmp_path, "jeff").name == "jeff-002"


def test_a_write_that_fails_leaves_the_old_text_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    write_atomically(path, "old")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_secret_in_the_environment_is_not_written_down(tmp_path: Path) -> None:
    attempt = AttemptDir(tmp_path)
    attempt.write_command(["python", "-m", "x"], {"FORGE_X": "1", "HF_TOKEN": "hunter2", "WANDB_API_KEY": "hunter2"})
    text = attempt.command_json.read_text()
    assert "hunter2" not in text
    assert json.loads(text)["env"]["FORGE_X"] == "1"


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[Path]:
    """A person's folder that must not change."""
    folder = tmp_path / "my pictures"
    folder.mkdir()
    (folder / "Été 'un'.JPG").write_bytes(b"first")
    (folder / "two.png").write_bytes(b"second")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    yield folder
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


def stage(tmp_path: Path, run_name: str, *images: StagedImage) -> Path:
    run = RunDir(tmp_path / run_name)
    run.path.mkdir()
    (folder,) = stage_dataset(run, [StagedSubset("10_jeff person", images)])
    return folder


def test_staged_names_are_plain_and_lead_to_the_images(tmp_path: Path, pictures: Path) -> None:
    images = [StagedImage(path, "a house, ÄÖ") for path in sorted(pictures.iterdir())]
    folder = stage(tmp_path, "run", *images)
    links = sorted(path for path in folder.iterdir() if path.suffix != ".txt")
    assert [link.read_bytes() for link in links] == [image.path.read_bytes() for image in images]
    assert {link.suffix for link in links} == {".jpg", ".png"}
    assert all(link.is_symlink() and link.name.isascii() for link in links)
    assert [link.with_suffix(".txt").read_text("utf-8") for link in links] == ["a house, ÄÖ\n"] * 2


def test_an_edited_caption_or_image_gets_another_name(tmp_path: Path) -> None:
    image = tmp_path / "it.png"
    image.write_bytes(b"pixels")

    def name(run: str, caption: str) -> str:
        return next(path.name for path in stage(tmp_path, run, StagedImage(image, caption)).glob("*.png"))

    first = name("a", "jeff, a man")
    assert name("b", "jeff, a man") == first
    assert name("c", "jeff, a woman") != first
    image.write_bytes(b"PIXELS")
    assert name("d", "jeff, a man") != first


def test_an_image_without_caption_gets_no_caption_file(tmp_path: Path, pictures: Path) -> None:
    folder = stage(tmp_path, "run", StagedImage(pictures / "two.png", None), StagedImage(pictures / "two.png", ""))
    assert [path.suffix for path in folder.iterdir()] == [".png", ".png"]


def test_a_caption_of_two_lines_is_refused_with_its_image(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(DatasetError, match=r"two\.png has more than one line"):
        stage(tmp_path, "run", StagedImage(pictures / "two.png", "one\ntwo"))


def test_an_image_that_vanished_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.png cannot be read"):
        stage(tmp_path, "run", StagedImage(tmp_path / "gone.png", "x"))


def test_images_are_copied_where_links_are_unknown(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    folder = stage(tmp_path, "run", StagedImage(pictures / "two.png", None))
    (copy,) = folder.iterdir()
    assert not copy.is_symlink()
    assert copy.read_bytes() == b"second"


def test_a_link_that_leads_elsewhere_gives_way_to_the_measured_file(tmp_path: Path, pictures: Path) -> None:
    """The old place still is there, and holds what it likes by now."""
    old, run = tmp_path / "two.png", RunDir(tmp_path / "run")
    old.write_bytes(b"second")
    link = stage(tmp_path, "run", StagedImage(old, None)).joinpath
    (name,) = (path.name for path in (run.dataset / "01-10_jeff_person").iterdir())
    old.write_bytes(b"a stranger")
    stage_dataset(run, [StagedSubset("10_jeff person", [StagedImage(pictures / "two.png", None)])])
    assert link(name).read_bytes() == b"second"
    assert [path.name for path in link(name).parent.iterdir()] == [name]


def test_a_copy_that_is_not_the_picture_any_more_is_made_anew(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    subsets = [StagedSubset("10_jeff person", [StagedImage(pictures / "two.png", None)])]
    (copy,) = stage(tmp_path, "run", *subsets[0].images).iterdir()
    copy.write_bytes(b"sec")
    stage_dataset(RunDir(tmp_path / "run"), subsets)
    assert copy.read_bytes() == b"second"
