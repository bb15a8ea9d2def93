"""``forge dataset caption`` as a script or a person calls it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from lora_forge.cli.app import app


def forge(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["dataset", "caption", *arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def codes(answer: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in answer["findings"]]


@pytest.fixture
def photos(in_folder: Path) -> Path:
    folder = in_folder / "photos"
    folder.mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (64, 64)).save(folder / f"{name}.png")
    (folder / "a.txt").write_text("ohwx, by hand\n")
    return folder


def captions(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.txt"))}


def test_a_template_fills_what_is_missing_and_keeps_what_is_there(photos: Path) -> None:
    code, answer = forge("photos", "--template", "{trigger}, a man in {stem}", "--trigger", "ohwx")
    assert code == 0
    assert answer["data"]["counts"] == {"kept": 1, "new": 2}
    assert captions(photos) == {"a": "ohwx, by hand\n", "b": "ohwx, a man in b\n", "c": "ohwx, a man in c\n"}
    assert codes(answer) == ["caption-kept"]


def test_the_trigger_of_the_project_is_taken(photos: Path, in_folder: Path) -> None:
    (in_folder / "forge.yaml").write_text("dataset: photos\ntrigger: sks\n")
    forge("--template", "{trigger}, {stem}")
    assert captions(photos)["b"] == "sks, b\n"


def test_captions_that_are_kept_are_counted_and_shown_as_no_change(photos: Path) -> None:
    for name in ("b", "c"):
        (photos / f"{name}.txt").write_text(f"ohwx, {name} by hand\n")
    result = CliRunner().invoke(app, ["dataset", "caption", "photos", "--template", "new"])
    assert result.stdout == "3 kept\n"
    assert "captions are the same" not in result.stderr
    assert "--overwrite" in result.stderr


def test_a_person_sees_the_difference(photos: Path) -> None:
    arguments = ["dataset", "caption", "photos", "--template", "new", "--overwrite", "--dry-run"]
    text = CliRunner().invoke(app, arguments).stdout
    assert "a.png\n- ohwx, by hand\n+ new\n" in text
    assert "b.png\n+ new\n" in text
    assert "nothing was written" in text
    assert captions(photos) == {"a": "ohwx, by hand\n"}


def test_captions_that_are_all_the_same_are_spoken_of(photos: Path) -> None:
    _, answer = forge("photos", "--template", "a man", "--overwrite")
    assert "caption-identical" in codes(answer)


@pytest.mark.parametrize("ending", ["csv", "md"])
def test_a_sheet_goes_out_is_edited_and_comes_back(photos: Path, in_folder: Path, ending: str) -> None:
    sheet = in_folder / f"captions.{ending}"
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    code, answer = forge("photos", "--sheet", sheet.name)
    assert (code, answer["data"]["rows"]) == (0, 3)
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before
    text = sheet.read_text("utf-8-sig").replace("ohwx, by hand", "ohwx, edited")
    text = text.replace('"b.png",""', '"b.png","=b"').replace("| b.png |  |", "| b.png | =b |")
    sheet.write_text(text)
    code, answer = forge("photos", "--from", sheet.name)
    assert (code, answer["data"]["counts"]) == (0, {"kept": 1, "new": 1})
    code, answer = forge("photos", "--from", sheet.name, "--overwrite")
    assert captions(photos) == {"a": "ohwx, edited\n", "b": "=b\n"}, "an empty cell writes nothing"


def test_a_row_for_no_image_is_told_by_line(photos: Path, in_folder: Path) -> None:
    (in_folder / "s.csv").write_text("image,caption\nb.png,fine\n../secret.png,x\n/etc/passwd,x\n")
    code, answer = forge("photos", "--from", "s.csv")
    assert code == 0
    assert [finding["where"].rpartition(":")[2] for finding in answer["findings"]] == ["3", "4"]
    assert captions(photos)["b"] == "fine\n"


def test_a_sheet_is_not_put_among_images_nor_over_another(photos: Path, in_folder: Path) -> None:
    assert forge("photos", "--sheet", "photos/s.csv")[0] == 3
    (in_folder / "s.csv").write_text("mine")
    assert forge("photos", "--sheet", "s.csv")[0] == 3
    assert (in_folder / "s.csv").read_text() == "mine"
    assert forge("photos", "--sheet", "s.txt")[0] == 3


@pytest.mark.processes
def test_a_command_is_run_for_each_image_that_has_no_caption(photos: Path, in_folder: Path) -> None:
    tool = in_folder / "tool.py"
    tool.write_text("import sys, pathlib\nprint('a man,', pathlib.Path(sys.argv[1]).stem)\n")
    command = f"{sys.executable} {tool} {{image}}"
    code, answer = forge("photos", "--command", command, "--template", "{trigger}, {caption}", "--trigger", "ohwx")
    assert code == 0
    assert captions(photos) == {"a": "ohwx, by hand\n", "b": "ohwx, a man, b\n", "c": "ohwx, a man, c\n"}
    assert codes(answer) == ["caption-kept"]


@pytest.mark.processes
def test_a_command_captions_an_image_whose_caption_has_no_bytes(photos: Path, in_folder: Path) -> None:
    (photos / "b.txt").write_bytes(b"")
    tool = in_folder / "tool.py"
    tool.write_text("print('said')")
    _, answer = forge("photos", "--command", f"{sys.executable} {tool} {{image}}")
    assert captions(photos) == {"a": "ohwx, by hand\n", "b": "said\n", "c": "said\n"}
    assert answer["data"]["counts"] == {"new": 2}


def test_a_torn_row_is_exit_3_and_the_whole_ones_are_written(photos: Path, in_folder: Path) -> None:
    (in_folder / "s.csv").write_text("image,caption\nb.png,ohwx, a man\nc.png,ohwx\n")
    code, answer = forge("photos", "--from", "s.csv")
    assert (code, codes(answer)) == (3, ["sheet-torn"])
    assert set(captions(photos)) == {"a", "c"}


@pytest.mark.processes
def test_a_command_that_fails_on_one_image_is_a_finding_and_the_others_go_on(photos: Path, in_folder: Path) -> None:
    tool = in_folder / "tool.py"
    tool.write_text("import sys\nsys.exit('out of luck') if 'b.png' in sys.argv[1] else print('fine')\n")
    code, answer = forge("photos", "--command", f"{sys.executable} {tool} {{image}}")
    assert code == 1
    assert "out of luck" in next(f["message"] for f in answer["findings"] if f["code"] == "caption-failed")
    assert captions(photos)["c"] == "fine\n"
    assert "b" not in captions(photos)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--template", "{nmae}"),
        ("--template", "{trigger}"),
        ("--command", "prog"),
        ("--tagger", "blip", "--model", "m"),
        ("--tagger", "wd14"),
        ("--tagger", "wd14", "--model", "nowhere"),
        ("--from", "nowhere.csv"),
        ("--from", "a.csv", "--sheet", "b.csv"),
        ("--from", "a.csv", "--template", "x"),
    ],
)
def test_what_cannot_be_meant_is_exit_3_with_a_hint(photos: Path, arguments: tuple[str, ...]) -> None:
    code, answer = forge("photos", *arguments)
    assert code == 3
    assert answer["error"]["hint"]
    assert captions(photos) == {"a": "ohwx, by hand\n"}


def test_images_are_never_written(photos: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in photos.glob("*.png")}
    forge("photos", "--template", "words", "--overwrite")
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in photos.glob("*.png")} == before
