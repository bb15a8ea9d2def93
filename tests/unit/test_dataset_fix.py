"""A prepared copy: what is mended, what is left out, and that the originals stay as they were."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from lora_forge.datasets import fixing
from lora_forge.datasets.fixing import Copy, fix_dataset
from lora_forge.datasets.fixing_captions import clean_caption
from lora_forge.datasets.fixing_manifest import JOURNAL, MANIFEST, Entry
from lora_forge.datasets.fixing_pixels import Unusable, Wishes, prepare_image
from lora_forge.datasets.scan import scan_dataset
from lora_forge.errors import DatasetError

RED, BLUE = (220, 30, 20), (20, 40, 220)


def two_halves(width: int = 64, height: int = 48) -> Image.Image:
    """Red on the left, blue on the right, so that a turn shows."""
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(BLUE, (width // 2, 0, width, height))
    return picture


def near(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return all(abs(a - b) <= 6 for a, b in zip(one, other, strict=True))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def fixed(root: Path, out: str = "fixed", **wishes: object) -> tuple[Copy, Path]:
    target = root.parent / out
    return fix_dataset(root, target, Wishes(**wishes)), target  # type: ignore[arg-type]


def entry(copy: Copy, source: str) -> Entry:
    return next(each for each in copy.entries if each.source == source)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_orientation_is_in_the_pixels_afterwards_and_in_no_tag(root: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    two_halves().save(root / "a.jpg", exif=exif, quality=95)
    with Image.open(root / "a.jpg") as before:
        from PIL import ImageOps

        upright = ImageOps.exif_transpose(before).convert("RGB")
    copy, out = fixed(root)
    with Image.open(out / "a.jpg") as after:
        assert after.size == upright.size
        assert after.getexif().get(0x0112) is None
        corner = (2, 2)
        assert near(after.getpixel(corner), upright.getpixel(corner))
    assert entry(copy, "a.jpg").is_lossy
    assert f"EXIF orientation {orientation} applied" in entry(copy, "a.jpg").changes


def test_lossless_writes_a_turned_jpeg_as_png_of_the_same_pixels(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    two_halves().save(root / "a.jpg", exif=exif)
    copy, out = fixed(root, lossless=True)
    assert entry(copy, "a.jpg").result == "a.png"
    assert not entry(copy, "a.jpg").is_lossy
    with Image.open(root / "a.jpg") as before, Image.open(out / "a.png") as after:
        assert after.tobytes() == before.transpose(Image.Transpose.ROTATE_270).tobytes()


def test_transparency_is_put_on_the_chosen_colour(root: Path) -> None:
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(root / "a.png")
    _, out = fixed(root, background=(10, 20, 30))
    with Image.open(out / "a.png") as after:
        assert (after.mode, after.getpixel((5, 5))) == ("RGB", (10, 20, 30))


def test_sixteen_bits_are_scaled_where_the_engine_would_cut_to_white(root: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(ramp).save(root / "a.png")
    with Image.open(root / "a.png") as raw:
        cut = np.asarray(raw.convert("RGB")).mean()
    copy, out = fixed(root)
    with Image.open(out / "a.png") as after:
        assert after.mode == "RGB"
        assert abs(np.asarray(after).mean() - 127.5) < 1
        assert cut > 250
    assert "16 bits scaled to 8" in entry(copy, "a.png").changes


def test_colours_of_sixteen_bits_are_noticed_though_pillow_hides_them(root: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + b"\x80\x00\x40\x00\x20\x00" * 8
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    (root / "a.png").write_bytes(png + chunk(b"IDAT", zlib.compress(row * 8)) + chunk(b"IEND", b""))
    copy, out = fixed(root)
    assert entry(copy, "a.png").changes == ("16 bits written as 8",)
    with Image.open(out / "a.png") as after:
        assert after.getpixel((0, 0)) == (0x80, 0x40, 0x20)


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "1", "LA"])
def test_every_other_mode_becomes_rgb(root: Path, mode: str) -> None:
    name = "a.jpg" if mode == "CMYK" else "a.png"
    two_halves().convert(mode).save(root / name)
    copy, out = fixed(root)
    with Image.open(out / str(entry(copy, name).result)) as after:
        assert after.mode == "RGB"


def test_only_the_first_frame_of_an_animation_is_kept(root: Path) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in (RED, BLUE)]
    frames[0].save(root / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    frames[0].save(root / "b.gif", save_all=True, append_images=frames[1:])
    copy, out = fixed(root)
    for name in ("a", "b"):
        with Image.open(out / f"{name}.png") as after:
            assert getattr(after, "n_frames", 1) == 1
            assert near(after.getpixel((3, 3)), RED)
    assert "the first of 2 frames kept" in entry(copy, "a.webp").changes


def wide_gamut() -> bytes:
    """sRGB with its red and blue exchanged, and another name."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    places = {bytes(data[at : at + 4]): at + 4 for at in range(132, 132 + 12 * count, 12)}
    red, blue = places[b"rXYZ"], places[b"bXYZ"]
    data[red : red + 8], data[blue : blue + 8] = data[blue : blue + 8], data[red : red + 8]
    return bytes(data).replace("sRGB".encode("utf-16-be"), "wide".encode("utf-16-be"))


def test_a_picture_in_another_colour_space_is_converted_and_srgb_is_left_alone(root: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    two_halves().save(root / "own.png", icc_profile=srgb)
    two_halves().save(root / "wide.png", icc_profile=wide_gamut())
    two_halves().save(root / "damaged.png", icc_profile=b"nothing")
    copy, out = fixed(root)
    assert entry(copy, "own.png").how == entry(copy, "damaged.png").how == "linked"
    assert any("to sRGB" in change for change in entry(copy, "wide.png").changes)
    with Image.open(out / "wide.png") as after:
        red, _, blue = after.getpixel((3, 3))
        assert blue > red  # red and blue were exchanged in the profile
        assert "icc_profile" not in after.info


def test_an_unchanged_image_is_a_hard_link_and_its_caption_a_file_of_its_own(root: Path) -> None:
    two_halves().save(root / "a.png")
    (root / "a.txt").write_bytes(b"ohwx, a man\n")
    copy, out = fixed(root)
    assert (out / "a.png").samefile(root / "a.png")
    assert not (out / "a.txt").samefile(root / "a.txt")
    assert (out / "a.txt").read_bytes() == b"ohwx, a man\n"
    assert [each.how for each in copy.entries] == ["linked", "copied"]


def test_where_no_link_can_be_made_a_copy_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_args: object, **_more: object) -> None:
        raise OSError("no links here")

    two_halves().save(root / "a.png")
    monkeypatch.setattr(os, "link", no_links)
    copy, out = fixed(root)
    assert entry(copy, "a.png").how == "copied"
    assert (out / "a.png").read_bytes() == (root / "a.png").read_bytes()


def test_endings_are_lower_case_and_true_and_stems_unique(root: Path) -> None:
    two_halves().save(root / "A.JPG", "JPEG")
    two_halves().save(root / "b.png", "JPEG")
    two_halves().save(root / "c.JPEG", "JPEG")
    two_halves().save(root / "d.jpg")
    two_halves(32, 32).save(root / "d.png")
    (root / "d.txt").write_text("both\n")
    copy, out = fixed(root)
    names = sorted(path.name for path in out.iterdir() if path.name != MANIFEST)
    assert names == ["A.jpg", "b.jpg", "c.jpeg", "d-2.png", "d-2.txt", "d.jpg", "d.txt"]
    assert "another image is called d" in entry(copy, "d.png").changes[-1]


def test_what_cannot_be_used_is_left_out_with_its_reason(root: Path) -> None:
    two_halves().save(root / "a.png")
    (root / "cut.png").write_bytes((root / "a.png").read_bytes()[:90])
    (root / "empty.jpg").touch()
    (root / "._a.png").write_bytes(b"junk")
    (root / "notes.pdf").write_bytes(b"%PDF")
    (root / "lost.txt").write_text("no image\n")
    (root / "deep").mkdir()
    (root / "gone.png").symlink_to("nowhere.png")
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + header
        + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    (root / "bomb.png").write_bytes(bomb)
    copy, out = fixed(root)
    reasons = {each.source: each.reason for each in copy.entries if each.how == "left-out"}
    assert set(reasons) == {"cut.png", "empty.jpg", "._a.png", "notes.pdf", "lost.txt", "deep", "gone.png", "bomb.png"}
    assert all(reasons.values())
    assert sorted(path.name for path in out.iterdir()) == ["a.png", MANIFEST]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xef\xbb\xbfohwx, a man\r\nnotes\r\n", "ohwx, a man"),
        ("ohwx, café\n".encode("utf-16"), "ohwx, café"),
        ("ohwx, cafe".encode("utf-16-be"), "ohwx, cafe"),
        (b"\n\n  ohwx,\t a  man \n", "ohwx, a man"),
        ("ohwx, 東京".encode(), "ohwx, 東京"),
        ("ohwx, café".encode("cp1252"), None),
        (b"", None),
        (b" \r\n\t", None),
        (b"a\0b", None),
    ],
)
def test_captions_become_one_clean_line_where_their_encoding_is_certain(data: bytes, text: str | None) -> None:
    cleaned = clean_caption(data)
    assert cleaned.text == text
    if text is None:
        assert cleaned.reason
    else:
        assert clean_caption(cleaned.data) == (text, (), "")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_damage_anywhere_ends_in_a_reason_or_in_a_picture_never_in_a_crash(root: Path, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
    two_halves().save(root / "whole", kind, **options)
    whole = (root / "whole").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole[: random.integers(1, len(whole) + 1)] if random.random() < 0.3 else whole)
        for place in random.integers(0, len(data), random.integers(1, 8)):
            data[place] ^= 1 << int(random.integers(0, 8))
        (root / "damaged.png").write_bytes(data)
        try:
            prepared = prepare_image(root / "damaged.png", Wishes())
        except Unusable as wrong:
            assert str(wrong)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, which hurts nobody
            Image.open(BytesIO(prepared.data or bytes(data))).load()


def test_kohya_folders_keep_their_names_and_what_lies_beside_them_is_left_out(root: Path) -> None:
    (root / "10_ohwx man").mkdir()
    two_halves().save(root / "10_ohwx man" / "a.png")
    two_halves().save(root / "beside.png")
    copy, out = fixed(root)
    assert (out / "10_ohwx man" / "a.png").is_file()
    assert "sub-folders" in entry(copy, "beside.png").reason
    _, findings = scan_dataset(out, caption_extension=".txt")
    assert not [finding for finding in findings if finding.severity == "error"]


def test_originals_are_never_written(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    two_halves().save(root / "A.JPG", "JPEG", exif=exif)
    two_halves().save(root / "b.png")
    (root / "b.txt").write_bytes(b"\xef\xbb\xbfa\r\n")
    for path in root.iterdir():
        path.chmod(0o444)
    before, times = digests(root), {path: path.stat().st_mtime_ns for path in root.iterdir()}
    fixed(root)
    fixed(root)
    assert digests(root) == before
    assert {path: path.stat().st_mtime_ns for path in root.iterdir()} == times


@pytest.mark.parametrize("out", [".", "inside", "../photos", "link", "..", "inside/deep"])
def test_a_copy_into_the_dataset_is_refused_by_whatever_name(root: Path, out: str) -> None:
    two_halves().save(root / "a.png")
    (root / "link").symlink_to(root)
    before = digests(root)
    with pytest.raises(DatasetError):
        fix_dataset(root, root / out, Wishes())
    assert digests(root) == before
    assert not (root / "inside").exists()


def test_a_folder_with_somebody_elses_files_is_refused(root: Path, tmp_path: Path) -> None:
    two_halves().save(root / "a.png")
    (tmp_path / "fixed").mkdir()
    (tmp_path / "fixed" / "thesis.doc").touch()
    with pytest.raises(DatasetError, match=r"thesis\.doc"):
        fixed(root)


def many(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for index in range(6):
        two_halves(64 + index).save(root / f"{index}.JPG", "JPEG", exif=exif if index % 2 else Image.Exif())
        (root / f"{index}.txt").write_bytes(b"\xef\xbb\xbfohwx, %d\r\n" % index)


Interruption = Callable[..., object]


@pytest.mark.parametrize("after", range(12))
def test_an_interrupted_copy_goes_on_and_ends_with_the_same_bytes(
    root: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(root)
    whole = digests(fixed(root, "whole")[1])
    calls, true_put = iter(range(100)), fixing._Copying._put

    def put(self: fixing._Copying, *args: object) -> str:
        done = true_put(self, *args)  # type: ignore[arg-type]
        if next(calls) == after:
            raise KeyboardInterrupt  # the file is in place, the journal does not know of it
        return done

    with monkeypatch.context() as patch:
        patch.setattr(fixing._Copying, "_put", put)
        with pytest.raises(KeyboardInterrupt):
            fixed(root)
    out = root.parent / "fixed"
    (out / ".forge-fix-1.tmp").write_bytes(b"half")
    with (out / JOURNAL).open("a") as journal:
        journal.write('{"entry": {"sour')
    fixed(root)
    assert digests(out) == whole


def test_a_second_call_decodes_nothing_and_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(root)
    first, out = fixed(root)
    before = digests(out)

    def refuse(*_args: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(fixing, "prepare_image", refuse)
    second, _ = fixed(root)
    assert second.entries == first.entries
    assert digests(out) == before


def test_a_changed_original_is_made_anew_and_a_removed_one_goes(root: Path) -> None:
    many(root)
    _, out = fixed(root)
    two_halves(200, 100).save(root / "0.JPG", "JPEG")
    (root / "1.JPG").unlink()
    copy, _ = fixed(root)
    assert copy.removed == ("1.jpg", "1.txt")
    with Image.open(out / "0.jpg") as after:
        assert after.size == (200, 100)
    assert not (out / "1.jpg").exists()


def test_what_a_person_edited_in_the_copy_stays(root: Path) -> None:
    many(root)
    _, out = fixed(root)
    (out / "0.txt").write_text("ohwx, written by hand\n")
    (out / "own.txt").write_text("not forge's\n")
    for _ in range(2):
        copy, _ = fixed(root)
        assert entry(copy, "0.txt").how == "edited"
        assert (out / "0.txt").read_text() == "ohwx, written by hand\n"
        assert (out / "own.txt").exists()


def test_another_background_makes_the_picture_anew(root: Path) -> None:
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(root / "a.png")
    fixed(root)
    _, out = fixed(root, background=(0, 0, 0))
    with Image.open(out / "a.png") as after:
        assert after.getpixel((0, 0)) == (0, 0, 0)


def test_a_dry_run_writes_nothing_and_says_the_same(root: Path) -> None:
    many(root)
    told = fix_dataset(root, root.parent / "fixed", Wishes(), dry_run=True)
    assert not (root.parent / "fixed").exists()
    copy, _ = fixed(root)
    assert told.entries == copy.entries


def test_the_manifest_tells_source_and_result_of_every_file(root: Path) -> None:
    many(root)
    _, out = fixed(root)
    manifest = json.loads((out / MANIFEST).read_text())
    assert manifest["schema_version"] == 1
    for file in manifest["files"]:
        assert hashlib.sha256((root / file["source"]).read_bytes()).hexdigest() == file["source_sha256"]
        assert hashlib.sha256((out / file["result"]).read_bytes()).hexdigest() == file["result_sha256"]
        assert file["changes"]


def test_the_copy_of_one_dataset_is_never_made_into_that_of_another(root: Path, tmp_path: Path) -> None:
    two_halves().save(root / "a.png")
    _, out = fixed(root)
    before = digests(out)
    other = tmp_path / "others"
    other.mkdir()
    two_halves(32, 32).save(other / "a.png")
    for dry_run in (True, False):
        with pytest.raises(DatasetError, match=r"holds the prepared copy of .*photos"):
            fix_dataset(other, out, Wishes(), dry_run=dry_run)
    assert digests(out) == before


def test_an_interrupted_copy_of_one_dataset_is_not_gone_on_with_by_another(root: Path, tmp_path: Path) -> None:
    two_halves().save(root / "a.png")
    _, out = fixed(root)
    other = tmp_path / "others"
    other.mkdir()
    fixing.begin(out, fixing.Ledger(out, {}, root))
    (out / MANIFEST).unlink()
    with pytest.raises(DatasetError, match=r"holds the prepared copy of .*photos"):
        fix_dataset(other, out, Wishes())


def test_a_dataset_by_another_name_is_the_same_dataset(root: Path, tmp_path: Path) -> None:
    two_halves().save(root / "a.png")
    first, out = fixed(root)
    (tmp_path / "alias").symlink_to(root)
    assert fix_dataset(tmp_path / "alias", out, Wishes()).entries == first.entries


def test_a_copy_that_was_asked_for_shares_no_file_with_its_original(root: Path) -> None:
    two_halves().save(root / "a.png")
    before = digests(root)
    copy, out = fixed(root, copy=True)
    assert entry(copy, "a.png").how == "copied"
    with (out / "a.png").open("r+b") as file:
        file.write(b"edited in place")
    assert digests(root) == before


def test_links_of_an_earlier_call_are_parted_where_copies_are_asked_for(root: Path) -> None:
    two_halves().save(root / "a.png")
    _, out = fixed(root)
    copy, _ = fixed(root, copy=True)
    assert entry(copy, "a.png").how == "copied"
    assert not (out / "a.png").samefile(root / "a.png")
    assert digests(out)["a.png"] == digests(root)["a.png"]
    again, _ = fixed(root)
    assert entry(again, "a.png").how == "copied", "a file of its own stays one"
