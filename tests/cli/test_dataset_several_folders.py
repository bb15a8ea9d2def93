"""Several folders, and the folders of a dataset TOML, are looked at and copied as a training would read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from planted import draw_clean
from typer.testing import CliRunner

from lora_forge.cli.app import app

TOML = """
[general]
shuffle_caption = true

[[datasets]]
resolution = 640
enable_bucket = true

  [[datasets.subsets]]
  image_dir = "{one}"
  num_repeats = 2

  [[datasets.subsets]]
  image_dir = "{other}"
  num_repeats = 5
  class_tokens = "ohwx person"
"""


def forge(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["dataset", *arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def places(answer: dict[str, Any], code: str) -> list[str]:
    return [one["where"] for one in answer["findings"] if one["code"] == code]


@pytest.fixture
def folders(in_folder: Path) -> tuple[Path, Path]:
    """The second has a caption of no bytes and a picture cut short, and its captions another number of words."""
    one, other = draw_clean(in_folder / "one", 4), draw_clean(in_folder / "other", 3, first=20)
    (other / "021.txt").write_bytes(b"")
    (other / "020.jpg").write_bytes((other / "020.jpg").read_bytes()[:20_000])
    return one, other


@pytest.fixture(params=["list", "toml"])
def named(request: pytest.FixtureRequest, folders: tuple[Path, Path], in_folder: Path) -> tuple[str, ...]:
    """The arguments that name both folders: none where forge.yaml does."""
    if request.param == "toml":
        (in_folder / "ds.toml").write_text(TOML.format(one="one", other="other"))
        return ("ds.toml",)
    (in_folder / "forge.yaml").write_text(
        "dataset:\n  - {path: one, repeats: 2}\n  - {path: other, repeats: 5}\ntrigger: ohwx\n"
    )
    return ()


@pytest.mark.parametrize("preset", [(), ("--preset", "identity")], ids=["no preset", "preset"])
def test_check_looks_into_every_folder(named: tuple[str, ...], in_folder: Path, preset: tuple[str, ...]) -> None:
    code, answer = forge("check", *named, "--trigger", "ohwx", *preset)
    assert (code, answer["data"]["images"], answer["data"]["looked_at"]) == (3, 7, 7)
    assert places(answer, "caption-unreadable") == [f"{in_folder}/other/021.txt"]
    assert places(answer, "image-truncated") == [f"{in_folder}/other/020.jpg"]
    assert answer["data"]["subsets"][0]["repeats"] == 2


def test_a_report_shows_the_findings_of_every_folder(named: tuple[str, ...], in_folder: Path) -> None:
    code, answer = forge("report", *named, "--trigger", "ohwx")
    assert (code, answer["data"]["images"], answer["data"]["shown"]) == (3, 7, 7)
    assert places(answer, "caption-unreadable") == [f"{in_folder}/other/021.txt"]
    page = Path(answer["data"]["path"])
    assert (page.parent, page.name) == (in_folder, "ds-report.html" if named else "one-report.html")
    assert "Trainable" not in answer["data"]["verdict"]


def test_a_report_never_lands_in_the_second_folder_either(
    folders: tuple[Path, Path], in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_folder / "ds.toml").write_text(TOML.format(one=folders[0], other=folders[1]))
    monkeypatch.chdir(folders[1])
    _, answer = forge("report", "../ds.toml", "--trigger", "ohwx")
    assert answer["data"]["path"] == str(in_folder / "ds-report.html")


def test_a_fixed_copy_has_a_folder_for_each_and_a_file_that_trains_on_them(
    named: tuple[str, ...], in_folder: Path
) -> None:
    code, answer = forge("fix", *named, "--out", "fixed")
    assert code == 0
    fixed, file = in_folder / "fixed", "ds.toml" if named else "dataset.toml"
    assert answer["data"]["dataset_file"] == str(fixed / file)
    assert (fixed / "one" / "001.jpg").is_file() and (fixed / "other" / "022.jpg").is_file()
    assert not (fixed / "other" / "020.jpg").exists()
    assert f"{in_folder}/other/020.jpg" in places(answer, "fix-left-out")
    planned = CliRunner().invoke(
        app, ["plan", "--preset", "identity", "--dataset", f"fixed/{file}", "--trigger", "ohwx", "--json"]
    )
    plan = json.loads(planned.stdout)["data"]["plan"]
    assert plan["data"]["images"]["value"] == 6
    assert sorted(plan["schedule"]["repeats"]["value"].values()) == [2, 5]
    if named:  # what the TOML says of training is kept
        assert (plan["data"]["resolution"]["value"], plan["captions"]["shuffle"]["value"]) == (640, True)


def test_a_second_call_changes_nothing_and_keeps_an_edited_file(named: tuple[str, ...], in_folder: Path) -> None:
    forge("fix", *named, "--out", "fixed")
    before = {path: path.stat().st_mtime_ns for path in (in_folder / "fixed").rglob("*.jpg")}
    assert forge("fix", *named, "--out", "fixed")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in (in_folder / "fixed").rglob("*.jpg")} == before
    file = in_folder / "fixed" / ("ds.toml" if named else "dataset.toml")
    file.write_text(file.read_text() + "# mine\n")
    code, answer = forge("fix", *named, "--out", "fixed")
    assert code == 0 and places(answer, "fix-edited") == [file.name]
    assert file.read_text().endswith("# mine\n")


def test_a_copy_of_several_refuses_a_folder_that_is_not_its_own(named: tuple[str, ...], in_folder: Path) -> None:
    (in_folder / "mine").mkdir()
    (in_folder / "mine" / "letter.txt").write_text("dear")
    code, answer = forge("fix", *named, "--out", "mine")
    assert (code, answer["error"]["code"]) == (3, "invalid-dataset")
    assert [path.name for path in (in_folder / "mine").iterdir()] == ["letter.txt"]
    assert forge("fix", *named, "--out", "other/in")[0] == 3


def test_a_dry_run_of_several_writes_nothing(named: tuple[str, ...], in_folder: Path) -> None:
    code, answer = forge("fix", *named, "--out", "fixed", "--dry-run")
    assert (code, answer["data"]["counts"]["left-out"]) == (0, 3)
    assert not (in_folder / "fixed").exists()


def test_captions_keep_the_ending_that_their_folder_is_read_with(in_folder: Path) -> None:
    (in_folder / "a").mkdir()
    Image.new("RGB", (768, 768), (9, 90, 40)).save(in_folder / "a" / "1.png")
    (in_folder / "a" / "1.caption").write_bytes(b"\xef\xbb\xbfohwx, a man\r\n")
    (in_folder / "ds.toml").write_text(
        '[general]\ncaption_extension = ".caption"\n[[datasets]]\n[[datasets.subsets]]\nimage_dir = "a"\n'
    )
    assert forge("fix", "ds.toml", "--out", "fixed")[0] == 0
    assert (in_folder / "fixed" / "a" / "1.caption").read_text() == "ohwx, a man\n"


@pytest.mark.parametrize("command", [("check",), ("report",), ("fix", "--out", "fixed")], ids=lambda each: each[0])
def test_a_toml_that_cannot_be_trained_from_is_said_in_its_own_words(command: tuple[str, ...], in_folder: Path) -> None:
    (in_folder / "ds.toml").write_text("[[datasets]]\nresolution = 'wide'\n")
    code, answer = forge(command[0], "ds.toml", *command[1:])
    assert code == 3
    assert any("ds.toml" in one["message"] and "folder" not in one["message"] for one in answer["findings"])


def test_a_copy_of_several_folders_goes_into_no_copy_of_other_ones(
    folders: tuple[Path, Path], in_folder: Path, tmp_path: Path
) -> None:
    (in_folder / "ds.toml").write_text(TOML.format(one="one", other="other"))
    (in_folder / "forge.yaml").write_text(f"dataset:\n  - one\n  - {tmp_path}/else/other\n")
    draw_clean(tmp_path / "else" / "other", 2, first=40)
    assert forge("fix", "one", "--out", "single")[0] == forge("fix", "ds.toml", "--out", "several")[0] == 0
    before = sorted((in_folder / "several").rglob("*"))
    for arguments in (("ds.toml", "--out", "single"), ("one", "--out", "several"), ("--out", "several")):
        code, answer = forge("fix", *arguments)
        assert (code, answer["error"]["code"]) == (3, "invalid-dataset"), arguments
        assert "prepared copy of" in answer["error"]["message"]
    assert sorted((in_folder / "several").rglob("*")) == before


def test_a_part_that_was_copied_from_elsewhere_is_refused_before_anything_is_written(
    folders: tuple[Path, Path], in_folder: Path, tmp_path: Path
) -> None:
    draw_clean(tmp_path / "else" / "other", 2, first=40)
    (in_folder / "forge.yaml").write_text("dataset: [one, other]\n")
    assert forge("fix", "--out", "several")[0] == 0
    draw_clean(in_folder / "one", 1, first=60)
    before = sorted((in_folder / "several").rglob("*"))
    (in_folder / "forge.yaml").write_text(f"dataset:\n  - one\n  - {tmp_path}/else/other\n")
    code, answer = forge("fix", "--out", "several")
    assert (code, str(folders[1]) in answer["error"]["message"]) == (3, True)
    assert sorted((in_folder / "several").rglob("*")) == before
