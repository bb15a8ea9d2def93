"""``forge dataset check`` as a person, a script and a CI runner see it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path

import pytest
from planted import draw_clean, draw_picture
from typer.testing import CliRunner

from lora_forge.cli.app import app
from lora_forge.cli.dataset_view import annotation
from lora_forge.findings import error, info, warning


def forge(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clean(tmp_path_factory.mktemp("drawn") / "photos", 16)


@pytest.fixture
def photos(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "photos"))


def spoil(photos: Path) -> None:
    (photos / "001.txt").write_text("ohwx, a man without a hat")
    (photos / "002.jpg").write_bytes((photos / "002.jpg").read_bytes()[:9000])


def test_a_clean_dataset_is_fit_and_exits_0(photos: Path) -> None:
    code, out, _ = forge("dataset", "check", str(photos), "--trigger", "ohwx")
    assert code == 0
    assert "16 images, 16 looked at: 0 errors, 0 warnings, 1 note; fit to train on" in out


def test_errors_exit_3_and_every_finding_has_its_place(photos: Path) -> None:
    spoil(photos)
    code, out, err = forge("dataset", "check", str(photos), "--trigger", "ohwx", "--json")
    told = json.loads(out)
    places = {one["code"]: one["where"] for one in told["findings"]}
    assert (code, err, told["ok"], told["schema_version"]) == (3, "", False, 1)
    assert places["caption-negative"] == f"{photos}/001.txt:1"
    assert places["image-truncated"] == f"{photos}/002.jpg"
    assert told["data"]["counts"] == {"error": 1, "warning": 1, "info": 1}
    assert all(one["message"] and one["hint"] for one in told["findings"])


def test_strict_counts_warnings(photos: Path) -> None:
    (photos / "001.txt").write_text("ohwx, a man without a hat")
    assert forge("dataset", "check", str(photos), "--trigger", "ohwx")[0] == 0
    assert forge("dataset", "check", str(photos), "--trigger", "ohwx", "--strict")[0] == 3


def test_without_pixels_nothing_is_decoded(photos: Path) -> None:
    spoil(photos)
    code, out, _ = forge("dataset", "check", str(photos), "--trigger", "ohwx", "--no-pixels", "--json")
    told = json.loads(out)
    assert (code, told["data"]["looked_at"]) == (0, 0)


def test_the_originals_are_not_touched(photos: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in photos.iterdir()}

    spoil(photos)
    before = state()
    forge("dataset", "check", str(photos))
    assert state() == before


def test_with_a_preset_its_own_advice_counts_once(photos: Path) -> None:
    for path in sorted(photos.iterdir())[10:]:
        path.unlink()
    code, out, _ = forge("dataset", "check", str(photos), "--preset", "identity", "--json")
    codes = [one["code"] for one in json.loads(out)["findings"]]
    assert code == 0
    assert codes.count("image-count") == 1
    assert "over-trained" in codes
    assert "preset-none" not in codes


def test_a_plan_says_the_same_in_short_and_points_to_the_check(photos: Path) -> None:
    spoil(photos)
    before = json.loads(forge("plan", "--preset", "identity", "--dataset", str(photos), "--json")[1])["findings"]
    told = {one["code"]: one for one in before}
    assert told["caption-negative"]["where"] == str(photos)
    assert told["pixels-unseen"]["hint"] == f"forge dataset check {photos}"
    assert "image-truncated" not in told


def test_a_plan_knows_what_an_earlier_check_has_seen(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lora_forge.datasets import pixel_cache

    monkeypatch.setattr(pixel_cache, "_GRAIN_NS", 0)
    spoil(photos)
    forge("dataset", "check", str(photos))
    code, out, _ = forge("plan", "--preset", "identity", "--dataset", str(photos), "--json")
    codes = [one["code"] for one in json.loads(out)["findings"]]
    assert code == 3
    assert "image-truncated" in codes
    assert "pixels-unseen" not in codes


def test_a_plan_makes_no_cache(photos: Path) -> None:
    from lora_forge.datasets.cache_place import default_cache_file

    forge("plan", "--preset", "identity", "--dataset", str(photos))
    assert not default_cache_file().exists()


def test_a_dataset_that_is_not_there_is_one_clear_error(tmp_path: Path, in_folder: Path) -> None:
    code, out, _ = forge("dataset", "check", str(tmp_path / "none"))
    assert code == 3
    assert "does not exist" in out
    code, _, err = forge("dataset", "check")
    assert code == 3
    assert "no dataset was named" in err


def test_the_project_file_names_the_dataset(photos: Path, in_folder: Path) -> None:
    (in_folder / "forge.yaml").write_text(f"dataset: {photos}\ntrigger: zzz\n")
    code, out, _ = forge("dataset", "check", "--json")
    codes = {one["code"] for one in json.loads(out)["findings"]}
    assert code == 0
    assert "trigger-absent" in codes


def test_many_of_a_kind_are_shown_in_part(photos: Path) -> None:
    for path in photos.glob("*.txt"):
        path.unlink()
    _, out, _ = forge("dataset", "check", str(photos))
    assert "caption-missing (16)" in out
    assert "and 8 more" in out
    assert out.count("has no caption") == 8


def test_an_unknown_format_is_a_usage_error(photos: Path) -> None:
    assert forge("dataset", "check", str(photos), "--format", "gitlab")[0] == 2


def test_github_reads_file_and_line(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    spoil(photos)
    code, out, err = forge("dataset", "check", str(photos), "--trigger", "ohwx", "--format", "github")
    lines = out.splitlines()
    assert (code, err) == (3, "")
    assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in lines)
    assert any(
        line.startswith("::warning file=photos/001.txt,line=1,title=caption-negative::001.txt says") for line in lines
    )
    assert any(line.startswith("::error file=photos/002.jpg,title=image-truncated::") for line in lines)


def test_nothing_in_a_dataset_can_give_github_a_command(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    name = "x\n::set-output name=a::b,c%0A\r\u2028::stop-commands::t.jpg"
    draw_picture(1, (800, 800)).save(folder / "plain.jpg")
    os.rename(folder / "plain.jpg", folder / name)
    (folder / (name[:-4] + ".txt")).write_text("no\r::error::\x85::warning::")
    _, out, _ = forge("dataset", "check", str(folder), "--format", "github")
    lines = [line for chunk in out.split("\n") for line in chunk.splitlines()]
    assert lines
    assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in lines)
    assert not any("stop-commands::t" in line.split("::", 2)[1] for line in lines)


def test_annotations_are_escaped_as_github_asks(tmp_path: Path) -> None:
    (tmp_path / "a:1").write_text("")
    assert (
        annotation(warning("c", "50 %\nx", "", f"{tmp_path}/a:1"), tmp_path)
        == "::warning file=a%3A1,title=c::50 %25%0Ax"
    )
    assert annotation(info("c", "m", "h", "b:2"), tmp_path) == "::notice file=b,line=2,title=c::m Try: h"
    assert annotation(info("c", "m", "h", "b:2:7"), tmp_path) == "::notice file=b,line=2,col=7,title=c::m Try: h"
    assert annotation(info("c", "m", "h", f"{tmp_path}/a:1:7"), tmp_path).startswith("::notice file=a%3A1,line=7,title")
    assert annotation(error("c", "m"), tmp_path) == "::error title=c::m"


@pytest.mark.parametrize(
    "command",
    [
        ("check",),
        ("report",),
        ("fix", "--out", "prepared"),
        ("caption", "--template", "{trigger}, a man", "--trigger", "ohwx"),
        ("split", "--validation", "2"),
    ],
)
def test_a_broken_project_file_is_what_is_told_not_a_dataset_that_nobody_named(
    in_folder: Path, command: tuple[str, ...]
) -> None:
    (in_folder / "forge.yaml").write_text("dataset: [a\npreset: x")
    result = CliRunner().invoke(app, ["dataset", *command, "--json"])
    answer = json.loads(result.stdout)
    assert result.exit_code == 3
    assert [finding["where"].partition(":")[0] for finding in answer["findings"]] == ["forge.yaml"]
    assert "cannot be read" in answer["error"]["message"]


def test_findings_of_one_kind_with_different_hints_keep_each_its_own(in_folder: Path, photos: Path) -> None:
    (in_folder / "forge.yaml").write_text(f"prest: identity\ntriger: ohwx\ndataset: {photos}\n")
    _, out, _ = forge("dataset", "check", "--no-pixels")
    lines = [line.strip() for line in out.splitlines()]
    said = dict(itertools.pairwise(lines))
    hints = {name: hint for line, hint in said.items() for name in ("prest", "triger") if f"setting {name}." in line}
    assert hints == {"prest": "try: Did you mean preset?", "triger": "try: Did you mean trigger?"}


def test_findings_of_one_kind_with_one_hint_say_it_once(photos: Path) -> None:
    for number in (1, 2, 3):
        (photos / f"00{number}.txt").write_text(f"ohwx, a man without a hat number {number}")
    _, out, _ = forge("dataset", "check", str(photos), "--trigger", "ohwx", "--no-pixels")
    assert "caption-negative (3)" in out
    assert out.count("try: Say only what can be seen.") == 1


def test_no_hint_names_an_option_that_the_command_does_not_have(in_folder: Path) -> None:
    code, out, _ = forge("dataset", "check", "nowhere")
    assert code == 3
    assert "does not exist" in out
    assert "--dataset" not in out


def test_a_preset_that_is_not_there_is_no_word_about_a_plan(photos: Path) -> None:
    code, _, err = forge("dataset", "check", str(photos), "--preset", "nope")
    assert code == 3
    assert "There is no preset 'nope'" in err
    assert "plan" not in err
    assert "leave --preset out" in err


def test_pictures_that_train_on_their_folders_class_tokens_are_told(photos: Path) -> None:
    folder = photos / "5_ohwx woman"
    folder.mkdir()
    for path in photos.glob("*.*"):
        path.rename(folder / path.name)
    for caption in [*folder.glob("*.txt")][:6]:
        caption.unlink()
    _, out, _ = forge("dataset", "check", str(photos), "--preset", "identity", "--no-pixels", "--json")
    (told,) = [one for one in json.loads(out)["findings"] if one["code"] == "class-tokens-alone"]
    assert told["severity"] == "info"
    assert "5_ohwx woman: 6 images without a caption train on “ohwx woman”" in told["message"]
    assert told["where"] == str(folder)


def test_the_trigger_that_most_captions_begin_with_is_named_but_not_taken(photos: Path) -> None:
    (photos / "001.txt").write_text("a man, and nothing else to be seen")
    code, out, _ = forge("dataset", "check", str(photos), "--preset", "identity", "--no-pixels", "--json")
    (told,) = [one for one in json.loads(out)["findings"] if one["code"] == "trigger-missing"]
    assert (code, told["severity"]) == (3, "error")
    assert "15 of 16 captions begin with ohwx" in told["message"]
    assert told["hint"].startswith("--trigger ohwx")
