"""What a dataset folder holds, and everything that can be wrong with it."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from lora_forge.datasets.facts import DatasetFacts
from lora_forge.datasets.notes import SHOWN_EACH
from lora_forge.datasets.scan import scan_dataset
from lora_forge.findings import Finding


def png(width: int, height: int) -> bytes:
    """A PNG header with an empty body: enough to be measured, nothing to decode."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def put(folder: Path, name: str, caption: str | bytes | None = "ohwx, a man", size: tuple[int, int] = (96, 64)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(png(*size))
    if caption is not None:
        data = caption if isinstance(caption, bytes) else caption.encode()
        (folder / name).with_suffix(".txt").write_bytes(data)


def scan(root: Path, reg: Path | None = None, extension: str = ".txt") -> tuple[DatasetFacts, list[Finding]]:
    return scan_dataset(root, caption_extension=extension, reg=reg)


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def test_a_flat_folder_is_one_subset_in_name_order(tmp_path: Path) -> None:
    put(tmp_path, "b.png", size=(64, 128))
    put(tmp_path, "a.png", " ohwx, smiling \n")
    facts, findings = scan(tmp_path)
    (subset,) = facts.subsets
    assert findings == []
    assert (subset.folder, subset.repeats, subset.class_tokens, subset.is_reg) == (tmp_path, None, None, False)
    assert [tuple(image) for image in subset.images] == [
        ("a.png", 96, 64, "ohwx, smiling", "a.txt"),
        ("b.png", 64, 128, "ohwx, a man", "b.txt"),
    ]
    assert (facts.images, facts.reg_images) == (2, 0)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp"])
@pytest.mark.parametrize("upper", [False, True])
def test_every_format_is_measured_in_any_case_of_its_ending(tmp_path: Path, kind: str, upper: bool) -> None:
    from PIL import Image

    name = f"x.{kind}".upper() if upper else f"x.{kind}"
    Image.new("RGB", (48, 32), "red").save(tmp_path / name, format=kind)
    (tmp_path / ("X.txt" if upper else "x.txt")).write_text("ohwx")
    facts, findings = scan(tmp_path)
    (image,) = facts.subsets[0].images
    assert findings == []
    assert (image.width, image.height, image.caption) == (48, 32, "ohwx")


def test_kohya_folders_give_repeats_and_class_tokens(tmp_path: Path) -> None:
    put(tmp_path / "10_jeff_person", "a.png", None)
    put(tmp_path / "3_ann woman", "b.png", None)
    put(tmp_path / "5_", "c.png")
    facts, findings = scan(tmp_path)
    assert findings == []
    assert [(one.repeats, one.class_tokens, len(one.images)) for one in facts.subsets] == [
        (10, "jeff_person", 1),
        (3, "ann woman", 1),
        (5, None, 1),
    ]


def test_a_folder_that_holds_images_and_kohya_folders_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    put(tmp_path / "10_jeff", "b.png")
    facts, findings = scan(tmp_path)
    assert codes(findings) == ["dataset-mixed"]
    assert facts.images == 1


def test_regularization_images_are_their_own_subsets(tmp_path: Path) -> None:
    put(tmp_path / "photos", "a.png")
    put(tmp_path / "reg" / "1_person", "r.png", None)
    put(tmp_path / "reg" / "1_person", "s.png", None)
    facts, findings = scan(tmp_path / "photos", tmp_path / "reg")
    assert findings == []
    assert (facts.images, facts.reg_images) == (1, 2)
    assert [subset.is_reg for subset in facts.subsets] == [False, True]


def test_a_regularization_folder_inside_the_dataset_is_not_taken_for_images(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    put(tmp_path / "1_person", "r.png")
    facts, findings = scan(tmp_path, tmp_path / "1_person")
    assert findings == []
    assert (facts.images, facts.reg_images) == (1, 1)


def test_the_dataset_cannot_be_its_own_regularization(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    assert codes(scan(tmp_path, tmp_path / ".")[1]) == ["reg-is-dataset"]


def test_missing_empty_and_wrong_folders_are_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "nested" / "deep").mkdir(parents=True)
    found = {name: codes(scan(tmp_path / name)[1]) for name in ("none", "file", "empty", "nested")}
    assert found == {
        "none": ["dataset-missing"],
        "file": ["dataset-missing"],
        "empty": ["dataset-empty"],
        "nested": ["folder-ignored", "dataset-empty"],
    }
    put(tmp_path / "photos", "a.png")
    assert codes(scan(tmp_path / "photos", tmp_path / "none")[1]) == ["reg-missing"]
    assert codes(scan(tmp_path / "photos", tmp_path / "empty")[1]) == ["reg-empty"]


def test_a_folder_that_may_not_be_read_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    _, (finding,) = scan(tmp_path)
    assert finding.code == "dataset-unreadable"
    assert "Permission denied" in finding.message


def test_kohya_folders_without_any_image_are_an_empty_dataset(tmp_path: Path) -> None:
    (tmp_path / "10_jeff").mkdir()
    assert codes(scan(tmp_path)[1]) == ["subset-empty", "dataset-empty"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image",
        png(64, 64)[:20],
        png(0, 64),
        b"\xff\xd8\xff\xe0\x00",
        b"\xff\xd8" + b"\xff" * 40,
        b"RIFF\x00\x00\x00\x00WEBPVP8 ",
        b"RIFF\x00\x00\x00\x00WEBPNONE" + b"\0" * 40,
        b"BM" + b"\xff" * 60,
        b"<svg width='1' height='1'/>",
        b"P6 " + b"9" * 100,
        png(40_000, 40_000),
    ],
)
def test_what_cannot_be_measured_is_an_error_with_its_path(tmp_path: Path, data: bytes) -> None:
    put(tmp_path, "good.png")
    (tmp_path / "bad.png").write_bytes(data)
    facts, findings = scan(tmp_path)
    (finding,) = [one for one in findings if one.severity.value == "error"]
    assert (finding.code, finding.where) == ("image-unreadable", str(tmp_path / "bad.png"))
    assert facts.images == 1


def test_broken_links_and_pipes_do_not_stop_the_scan(tmp_path: Path) -> None:
    put(tmp_path, "good.png")
    (tmp_path / "link.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "good2.txt")
    facts, findings = scan(tmp_path)
    assert codes(findings) == ["image-unreadable", "image-unreadable"]
    assert facts.images == 1


def test_a_link_that_leads_in_a_circle_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    put(tmp_path, "good.png")
    for name in ("loop.png", "folder", "notes.txt"):
        (tmp_path / name).symlink_to(name)
    facts, (finding,) = scan(tmp_path)
    assert (finding.code, finding.where) == ("image-unreadable", str(tmp_path / "loop.png"))
    assert facts.images == 1


@pytest.mark.parametrize("target", ["a.txt", "nowhere"])
def test_a_caption_that_leads_nowhere_is_named_and_the_rest_is_read(tmp_path: Path, target: str) -> None:
    put(tmp_path, "a.png", caption=None)
    put(tmp_path, "b.png")
    (tmp_path / "a.txt").symlink_to(target)
    facts, (finding,) = scan(tmp_path)
    assert (finding.code, finding.where) == ("caption-unreadable", str(tmp_path / "a.txt"))
    assert [image.caption for image in facts.subsets[0].images] == [None, "ohwx, a man"]


def test_links_to_images_are_images(tmp_path: Path) -> None:
    put(tmp_path / "real", "a.png")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "b.png").symlink_to(tmp_path / "real" / "a.png")
    (tmp_path / "links" / "b.txt").symlink_to(tmp_path / "real" / "a.txt")
    assert scan(tmp_path / "links")[0].subsets[0].images[0].caption == "ohwx, a man"


def test_an_ending_that_lies_is_a_warning_and_the_image_counts(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    facts, (finding,) = scan(tmp_path)
    assert (finding.code, finding.severity.value) == ("image-extension", "warning")
    assert facts.images == 1


def test_jpg_and_jpeg_are_one_kind(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a.jpg", "b.jpeg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
        (tmp_path / name).with_suffix(".txt").write_text("x")
    assert scan(tmp_path)[1] == []


def test_two_images_of_one_stem_share_a_caption_and_are_warned_of(tmp_path: Path) -> None:
    from PIL import Image

    put(tmp_path, "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    assert codes(scan(tmp_path)[1]) == ["duplicate-stem"]


def test_hidden_files_are_skipped_and_said_so(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    (tmp_path / "._a.png").write_bytes(b"resource fork")
    (tmp_path / ".DS_Store").write_bytes(b"")
    facts, (finding,) = scan(tmp_path)
    assert (finding.code, finding.severity.value) == ("hidden-files", "info")
    assert facts.images == 1


def test_other_folders_are_ignored_with_a_warning(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    put(tmp_path / "more", "b.png")
    facts, (finding,) = scan(tmp_path)
    assert (finding.code, finding.severity.value) == ("folder-ignored", "warning")
    assert facts.images == 1


def test_a_missing_caption_is_a_warning_that_lists_at_most_five(tmp_path: Path) -> None:
    for number in range(7):
        put(tmp_path, f"{number}.png", None)
    facts, (finding,) = scan(tmp_path)
    assert (finding.code, finding.severity.value) == ("caption-missing", "warning")
    assert finding.message == "Images without a caption (7): 0.png, 1.png, 2.png, 3.png, 4.png and 2 more."
    assert all(image.caption is None for image in facts.subsets[0].images)


def test_caption_files_of_another_ending_are_named(tmp_path: Path) -> None:
    put(tmp_path, "a.png", None)
    (tmp_path / "a.caption").write_text("ohwx")
    _, (finding,) = scan(tmp_path)
    assert finding.code == "caption-extension"
    facts, findings = scan(tmp_path, extension=".caption")
    assert findings == []
    assert facts.subsets[0].images[0].caption == "ohwx"


def test_a_caption_file_counts_in_any_case_of_its_ending(tmp_path: Path) -> None:
    put(tmp_path, "a.png", None)
    (tmp_path / "a.TXT").write_text("ohwx")
    facts, findings = scan(tmp_path)
    assert findings == []
    assert facts.subsets[0].images[0].caption_file == "a.TXT"


def test_a_cut_out_face_takes_the_caption_of_its_picture(tmp_path: Path) -> None:
    put(tmp_path, "ann_0001_10_20_30.png", None)
    (tmp_path / "ann.txt").write_text("ohwx")
    assert scan(tmp_path)[0].subsets[0].images[0].caption_file == "ann.txt"


@pytest.mark.parametrize(
    ("data", "code", "caption"),
    [
        (b"", "caption-unreadable", None),
        (b"caf\xe9", "caption-unreadable", None),
        ("ohwx".encode("utf-16"), "caption-unreadable", None),
        (b"oh\0wx", "caption-unreadable", None),
        (b"\xef\xbb\xbfohwx, a man", "caption-bom", "ohwx, a man"),
        (b"ohwx\nsecond", "caption-lines", "ohwx"),
        (b"ohwx\rsecond", "caption-lines", "ohwx"),
        (b"\nohwx", "caption-blank", ""),
        (b"   ", "caption-blank", ""),
    ],
)
def test_what_the_engine_would_trip_over_in_a_caption_is_told(
    tmp_path: Path, data: bytes, code: str, caption: str | None
) -> None:
    put(tmp_path, "a.png", data)
    facts, findings = scan(tmp_path)
    assert codes(findings) == [code]
    assert facts.subsets[0].images[0].caption == caption


@pytest.mark.parametrize("data", [b"ohwx\n", b"ohwx\r\n\r\n", b"ohwx\n \n", "naïve".encode()])
def test_blank_lines_at_the_end_and_accents_are_no_problem(tmp_path: Path, data: bytes) -> None:
    put(tmp_path, "a.png", data)
    assert scan(tmp_path)[1] == []


def test_a_huge_caption_is_read_to_its_first_line(tmp_path: Path) -> None:
    put(tmp_path, "a.png", b"ohwx\n" + "ä".encode() * 200_000)
    facts, findings = scan(tmp_path)
    assert facts.subsets[0].images[0].caption == "ohwx"
    assert [finding.severity.value for finding in findings] in ([], ["warning"])


def test_a_name_that_is_not_utf8_is_an_error_that_can_be_printed(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as file:
        file.write(png(8, 8))
    facts, (finding,) = scan(tmp_path)
    assert finding.code == "name-not-utf8"
    assert "caf\\xe9.png" in finding.message
    assert json.dumps(finding.as_json())
    assert facts.images == 1


def test_a_thousand_broken_files_are_told_in_bounded_space(tmp_path: Path) -> None:
    for number in range(SHOWN_EACH + 5):
        (tmp_path / f"{number:04}.png").write_bytes(b"x")
    _, findings = scan(tmp_path)
    unreadable = [finding for finding in findings if finding.code == "image-unreadable"]
    assert len(unreadable) == SHOWN_EACH + 1
    assert unreadable[-1].message == "5 more files have the same problem."


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    put(tmp_path, "a.png", b"")
    put(tmp_path, "b.png", None)
    put(tmp_path, "c.png", b"x\ny")
    (tmp_path / "d.png").write_bytes(b"")
    (tmp_path / "sub").mkdir()
    _, findings = scan(tmp_path, tmp_path / "none")
    assert sorted(codes(findings)) == [
        "caption-lines",
        "caption-missing",
        "caption-unreadable",
        "folder-ignored",
        "image-unreadable",
        "reg-missing",
    ]


def test_strange_but_legal_names_are_read(tmp_path: Path) -> None:
    names = ["a b.png", "[x].png", "a'\".png", "ä.png", "a.b.png", "-x.png", "{y}.png"]
    for name in names:
        put(tmp_path, name)
    facts, findings = scan(tmp_path)
    assert findings == []
    assert sorted(image.name for image in facts.subsets[0].images) == sorted(names)


def test_braces_in_names_survive_the_message(tmp_path: Path) -> None:
    put(tmp_path, "{y}.png", None)
    assert "{y}.png" in scan(tmp_path)[1][0].message


def test_one_folder_and_several_are_each_said_in_plain_english(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    for number, words in enumerate(("1 folder inside is not read: f0.", "2 folders inside are not read: f0, f1.")):
        (tmp_path / f"f{number}").mkdir()
        _, findings = scan_dataset(tmp_path, caption_extension=".txt")
        assert words in [finding.message for finding in findings]


def test_a_caption_of_another_ending_without_an_image_is_an_orphan_too(tmp_path: Path) -> None:
    for name in ("a.txt", "gone.caption", "lost.tags", "package.json", "README.txt"):
        (tmp_path / name).write_text("ohwx, a man")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    _, findings = scan_dataset(tmp_path, caption_extension=".txt", per_file=True)
    assert [Path(finding.where).name for finding in findings] == ["gone.caption", "lost.tags"]
    assert {finding.code for finding in findings} == {"caption-orphan"}


@pytest.mark.parametrize("ending", [".json", ".tags", ".cap", ".caption"])
def test_a_caption_that_another_tool_left_is_told_as_one_that_is_not_read(ending: str, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / f"a{ending}").write_text("ohwx, a man")
    _, findings = scan_dataset(tmp_path, caption_extension=".txt")
    assert [finding.code for finding in findings] == ["caption-extension"]
