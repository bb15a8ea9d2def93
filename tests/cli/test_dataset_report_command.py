"""``forge dataset report``: one page where the caller stands, never in the dataset, never over a foreign file."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from lora_forge.cli.app import app
from lora_forge.datasets.report_html import MARK

Draw = Any


def forge(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["dataset", "report", *arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_clean_dataset_gives_a_page_in_the_current_folder_and_figures(draw_dataset: Draw, in_folder: Path) -> None:
    photos = draw_dataset(23, trigger="ohwx")
    before = files_below(photos)
    code, answer = forge(str(photos), "--preset", "identity")
    page = in_folder / "photos-report.html"
    assert code == 0, answer
    assert files_below(photos) == before
    assert [path.name for path in in_folder.iterdir()] == ["photos-report.html"]
    data = answer["data"]
    assert (data["path"], data["size_bytes"]) == (str(page), page.stat().st_size)
    figures = {"images": 23, "shown": 23, "captions": 23, "reg_images": 0, "buckets": 3, "errors": 0}
    assert {key: data[key] for key in figures} == figures
    assert (data["preset"], data["trigger"]) == ("identity", "ohwx")
    assert page.read_text(encoding="utf-8").count("<img ") == 23


def test_an_error_in_the_dataset_still_gives_the_page_and_exit_3(draw_dataset: Draw, in_folder: Path) -> None:
    photos = draw_dataset(4)
    whole = (photos / "001.png").read_bytes()
    (photos / "001.png").write_bytes(whole[: len(whole) // 2])
    (photos / "broken.png").write_bytes(b"not an image")
    code, answer = forge(str(photos), "--preset", "identity")
    assert code == 3
    assert answer["ok"] is False
    assert answer["error"] is None
    page = (in_folder / "photos-report.html").read_text(encoding="utf-8")
    assert answer["data"]["verdict"] in page
    assert "broken.png" in page
    assert "001.png" in page
    assert page.count("<img ") == 3


def test_the_same_dataset_gives_the_same_bytes(draw_dataset: Draw, in_folder: Path) -> None:
    photos = draw_dataset(9)
    pages = []
    for name in ("a.html", "b.html"):
        assert forge(str(photos), "--preset", "identity", "--out", name)[0] == 0
        pages.append((in_folder / name).read_bytes())
    assert pages[0] == pages[1]


def test_a_stamp_is_printed_only_where_it_is_given(draw_dataset: Draw, in_folder: Path) -> None:
    photos = draw_dataset(2)
    forge(str(photos), "--preset", "identity", "--stamp", "1 May <2030>", "--out", "a.html")
    forge(str(photos), "--preset", "identity", "--out", "b.html")
    assert "1 May &lt;2030&gt;" in (in_folder / "a.html").read_text(encoding="utf-8")
    assert "May" not in (in_folder / "b.html").read_text(encoding="utf-8")


def test_inside_the_dataset_the_page_goes_beside_it(draw_dataset: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = draw_dataset(3)
    before = files_below(photos)
    monkeypatch.chdir(photos)
    code, answer = forge(".", "--preset", "identity")
    assert code == 0
    assert answer["data"]["path"] == str(photos.parent / "photos-report.html")
    assert files_below(photos) == before


def test_a_report_is_renewed_and_a_foreign_file_is_not(draw_dataset: Draw, in_folder: Path) -> None:
    photos = draw_dataset(2)
    target = in_folder / "photos-report.html"
    target.write_text("<!doctype html><p>mine")
    code, answer = forge(str(photos), "--preset", "identity")
    assert (code, answer["error"]["code"]) == (3, "invalid-dataset")
    assert "--force" in answer["error"]["hint"]
    assert target.read_text() == "<!doctype html><p>mine"
    assert forge(str(photos), "--preset", "identity", "--force")[0] == 0
    first = target.read_bytes()
    assert MARK.encode() in first
    (photos / "000.txt").write_text("ohwx, another caption\n")
    assert forge(str(photos), "--preset", "identity")[0] == 0
    assert b"another caption" in target.read_bytes()


def test_a_folder_as_out_takes_the_page_under_its_own_name(draw_dataset: Draw, in_folder: Path) -> None:
    photos = draw_dataset(2)
    (in_folder / "pages").mkdir()
    assert forge(str(photos), "--preset", "identity", "--out", "pages")[0] == 0
    assert [path.name for path in (in_folder / "pages").iterdir()] == ["photos-report.html"]


@pytest.mark.parametrize("place", ["nowhere", "file.txt"])
def test_where_there_is_no_folder_nothing_is_written(place: str, in_folder: Path) -> None:
    (in_folder / "file.txt").write_text("no folder\n")
    code, answer = forge(place, "--preset", "identity")
    assert code == 3
    assert "dataset-missing" in [finding["code"] for finding in answer["findings"]]
    assert [path.name for path in in_folder.iterdir()] == ["file.txt"]


def test_without_a_preset_the_page_says_for_which_it_was_made(draw_dataset: Draw, in_folder: Path) -> None:
    photos = draw_dataset(2)
    code, answer = forge(str(photos))
    assert code == 0, answer
    assert answer["data"]["preset"] == "identity"
    assert "none was named" in (in_folder / "photos-report.html").read_text(encoding="utf-8")


def test_another_preset_and_family_give_other_buckets(draw_dataset: Draw, in_folder: Path) -> None:
    photos = draw_dataset(4)
    forge(str(photos), "--preset", "fast-iteration", "--family", "sdxl", "--out", "a.html")
    page = (in_folder / "a.html").read_text(encoding="utf-8")
    assert "512 px" in page
    assert "1024×1024 → 512×512" in page


def test_repeats_of_kohya_folders_and_regularization_are_on_their_cards(draw_dataset: Draw, in_folder: Path) -> None:
    draw_dataset(2, name="set/10_ohwx man")
    draw_dataset(2, name="set/3_ohwx woman")
    reg = draw_dataset(2, name="reg", trigger="a person")
    code, answer = forge(str(reg.parent / "set"), "--preset", "face-loha", "--reg", str(reg))
    assert (code, answer["data"]["images"], answer["data"]["reg_images"]) == (0, 4, 2), answer
    page = (in_folder / "set-report.html").read_text(encoding="utf-8")
    for badge in ("10 repeats", "3 repeats", "regularization"):
        assert f">{badge}</li>" in page


def test_nothing_of_a_photograph_but_its_pixels_gets_into_the_page(in_folder: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "home address", 6
    Image.new("RGB", (900, 700), "teal").save(photos / "a.jpg", exif=exif, comment=b"home address")
    (photos / "a.txt").write_text("ohwx, a wall\n")
    forge(str(photos), "--preset", "identity", "--trigger", "ohwx")
    page = (in_folder / "photos-report.html").read_text(encoding="utf-8")
    assert "turned by 90° to the right" in page
    from base64 import b64decode

    picture = page.split('src="data:image/')[1].split('"')[0].split(",", 1)[1]
    assert b"home address" not in b64decode(picture)
    assert b"Exif" not in b64decode(picture)


def test_the_exit_code_is_the_one_of_check(draw_dataset: Draw, in_folder: Path) -> None:
    photos = draw_dataset(5)
    (photos / "002.txt").write_bytes(b"\xff\xfe")
    checked = CliRunner().invoke(app, ["dataset", "check", str(photos), "--preset", "identity", "--json"])
    code, answer = forge(str(photos), "--preset", "identity")
    assert code == checked.exit_code == 3
    codes = [
        sorted(one["code"] for one in found) for found in (json.loads(checked.stdout)["findings"], answer["findings"])
    ]
    assert codes[0] == codes[1]


def test_images_held_out_for_validation_are_counted_apart(draw_dataset: Draw, in_folder: Path) -> None:
    photos, rng = draw_dataset(12), random.Random(3)
    for path in photos.glob("*.png"):  # plain pictures are all alike, and of look-alikes none may be held out
        Image.frombytes("RGB", (9, 9), rng.randbytes(243)).resize((800, 800)).save(path)
    code, answer = forge(str(photos), "--preset", "identity", "--set", "data.validation=3")
    assert (code, answer["data"]["images"]) == (0, 9), answer
    assert "3 images held out for validation" in (in_folder / "photos-report.html").read_text(encoding="utf-8")
    assert [path.name for path in in_folder.iterdir()] == ["photos-report.html"]


@pytest.mark.parametrize(
    "out", ["photos", "photos/page.html", "alias/page.html", "photos/10_ohwx/a.html", "reg/a.html"]
)
def test_a_page_into_the_dataset_is_refused_by_whatever_name(out: str, draw_dataset: Draw, tmp_path: Path) -> None:
    photos, reg = draw_dataset(2), draw_dataset(2, name="reg", trigger="a person")
    (tmp_path / "alias").symlink_to(photos)
    before = files_below(photos), files_below(reg)
    code, answer = forge(
        str(photos), "--preset", "identity", "--reg", str(reg), "--out", str(tmp_path / out), "--force"
    )
    assert (code, answer["error"]["code"]) == (3, "invalid-dataset")
    assert "never written" in answer["error"]["message"]
    assert (files_below(photos), files_below(reg)) == before


def test_a_dataset_that_is_not_there_is_not_answered_with_the_same_command(in_folder: Path) -> None:
    _, answer = forge("nowhere")
    hints = [answer["error"]["hint"], *(finding["hint"] for finding in answer["findings"])]
    assert not [hint for hint in hints if "--dataset" in hint or "dataset report" in hint]
