"""Whatever forge writes is on the disk before it takes its name: a power cut leaves the old file or the new one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from disk import folders_fail
from PIL import Image

from lora_forge.datasets.captioning import write_caption
from lora_forge.datasets.captioning_sheet import Row, write_sheet
from lora_forge.datasets.fixing import fix_dataset
from lora_forge.datasets.fixing_pixels import Wishes
from lora_forge.datasets.splitting import Holdout, write_holdout
from lora_forge.errors import DatasetError
from lora_forge.whole_file import NO_FOLDER_SYNC, write_whole


def fix_one(out: Path) -> None:
    photos = out.parent.parent / "photos"
    photos.mkdir()
    Image.new("RGBA", (64, 64)).save(photos / "a.png")
    fix_dataset(photos, out.parent, Wishes())


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.txt": lambda file: write_caption(file, "ohwx, a man"),
    "s.csv": lambda file: write_sheet(file, [Row("a.png", "ohwx")]),
    "s.md": lambda file: write_sheet(file, [Row("a.png", "ohwx")]),
    "photos.holdout.json": lambda file: write_holdout(file, Holdout(42), Path("photos")),
    "forge-fix.json": fix_one,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_fails_leaves_the_old_file_and_nothing_beside_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "out" / name
    file.parent.mkdir()
    if name != "forge-fix.json":
        file.write_text("old")

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", broken)
        with pytest.raises(DatasetError, match="Input/output error"):
            WRITERS[name](file)
    assert [path.name for path in file.parent.iterdir()] == ([] if name == "forge-fix.json" else [name])
    assert name == "forge-fix.json" or file.read_text() == "old"


@pytest.mark.parametrize("number", NO_FOLDER_SYNC)
def test_a_filesystem_that_cannot_sync_a_folder_still_takes_files(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", folders_fail(number))
    write_whole(tmp_path / "a.txt", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]


def test_a_folder_that_fails_to_sync_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", folders_fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        write_whole(tmp_path / "a.txt", b"new")


def test_a_caption_keeps_its_permissions(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    file.chmod(0o600)
    write_caption(file, "new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new\n", 0o600)


def test_a_name_as_long_as_a_folder_allows_is_written(tmp_path: Path) -> None:
    file = tmp_path / ("é" * 125 + ".txt")
    write_whole(file, b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]


def test_what_a_killed_copy_left_half_written_is_swept_and_no_reason_to_refuse(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "..forge-fix.journal.pending").write_bytes(b"half")
    fix_one(out / "forge-fix.json")
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "forge-fix.json"]
