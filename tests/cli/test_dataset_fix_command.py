"""``forge dataset fix`` as a script or a person calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from lora_forge.cli.app import app


def forge(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def photos(in_folder: Path) -> Path:
    folder = in_folder / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 60), (200, 10, 10)).save(folder / "A.JPG", "JPEG", exif=exif)
    Image.new("RGBA", (60, 60), (0, 0, 0, 0)).save(folder / "b.png")
    Image.new("RGB", (60, 60)).save(folder / "c.png")
    (folder / "A.txt").write_bytes(b"\xef\xbb\xbfohwx, a man\r\n")
    (folder / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def test_the_answer_tells_every_file_and_what_was_left_out(photos: Path, in_folder: Path) -> None:
    code, answer = forge("dataset", "fix", "photos", "--out", "fixed", "--background", "#102030")
    assert (code, answer["ok"]) == (0, True)
    assert answer["data"]["counts"] == {"written": 3, "linked": 1, "left-out": 1}
    assert {finding["code"] for finding in answer["findings"]} == {"fix-left-out", "fix-lossy", "fix-linked"}
    with Image.open(in_folder / "fixed" / "b.png") as flat:
        assert flat.getpixel((0, 0)) == (0x10, 0x20, 0x30)
    assert (in_folder / "fixed" / "A.txt").read_bytes() == b"ohwx, a man\n"
    manifest = json.loads((in_folder / "fixed" / "forge-fix.json").read_text())
    assert len(manifest["files"]) == len(answer["data"]["files"]) == 5


def test_a_prepared_copy_is_a_dataset_without_a_fault_of_the_files(photos: Path) -> None:
    forge("dataset", "fix", "photos", "--out", "fixed")
    code, answer = forge("plan", "--preset", "identity", "--dataset", "fixed", "--trigger", "ohwx")
    assert code == 0
    assert answer["data"]["plan"]["data"]["images"]["value"] == 3
    spoken = {finding["code"] for finding in answer["findings"]}
    assert not spoken & {"image-unreadable", "caption-bom", "image-extension", "image-orientation", "image-alpha"}


def test_a_dry_run_says_it_and_writes_nothing(photos: Path, in_folder: Path) -> None:
    code, answer = forge("dataset", "fix", "photos", "--out", "fixed", "--dry-run")
    assert (code, answer["data"]["dry_run"]) == (0, True)
    assert not (in_folder / "fixed").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("photos", "--out", "photos"),
        ("photos", "--out", "photos/in"),
        ("nowhere", "--out", "fixed"),
        ("photos", "--out", "fixed", "--background", "noise"),
        ("--out", "fixed"),
    ],
)
def test_what_cannot_be_done_is_exit_3_with_a_hint(photos: Path, arguments: tuple[str, ...]) -> None:
    code, answer = forge("dataset", "fix", *arguments)
    assert code == 3
    assert answer["error"]["code"] == "invalid-dataset"
    assert answer["error"]["hint"]


def test_forge_yaml_names_the_dataset(photos: Path, in_folder: Path) -> None:
    (in_folder / "forge.yaml").write_text("dataset: photos\n")
    assert forge("dataset", "fix", "--out", "fixed")[0] == 0


def test_a_person_reads_what_changed(photos: Path) -> None:
    text = CliRunner().invoke(app, ["dataset", "fix", "photos", "--out", "fixed"]).stdout
    assert "A.JPG → A.jpg: EXIF orientation 6 applied" in text
    assert "3 changed, 1 linked (the same file as the original), 1 left out" in text


def test_a_person_is_told_that_a_link_is_the_original_and_how_to_get_a_copy(photos: Path, in_folder: Path) -> None:
    told = CliRunner().invoke(app, ["dataset", "fix", "photos", "--out", "fixed"]).stderr
    assert "1 picture is a hard link, the same file as the original: an edit in place changes both." in told
    assert "--copy" in told
    _, answer = forge("dataset", "fix", "photos", "--out", "fixed", "--copy")
    assert answer["data"]["counts"] == {"written": 3, "copied": 1, "left-out": 1}
    assert "fix-linked" not in {finding["code"] for finding in answer["findings"]}
    assert not (in_folder / "fixed" / "c.png").samefile(photos / "c.png")


def test_a_folder_that_another_dataset_was_copied_to_is_refused(photos: Path, in_folder: Path) -> None:
    forge("dataset", "fix", "photos", "--out", "fixed")
    (in_folder / "others").mkdir()
    Image.new("RGB", (60, 60), "teal").save(in_folder / "others" / "c.png")
    before = sorted(path.name for path in (in_folder / "fixed").iterdir())
    code, answer = forge("dataset", "fix", "others", "--out", "fixed")
    assert (code, answer["error"]["code"]) == (3, "invalid-dataset")
    assert str(photos) in answer["error"]["message"]
    assert sorted(path.name for path in (in_folder / "fixed").iterdir()) == before


def test_a_dataset_in_which_nothing_can_be_used_is_exit_3(in_folder: Path) -> None:
    (in_folder / "empty").mkdir()
    code, answer = forge("dataset", "fix", "empty", "--out", "fixed")
    assert code == 3
    assert answer["findings"][-1]["code"] == "dataset-empty"
