"""What was measured once is known again, unless the file has changed, and damage costs speed only."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from planted import draw_clean, draw_picture

from lora_forge.datasets import look as looking
from lora_forge.datasets import pixel_cache, pixels
from lora_forge.datasets.cache_place import default_cache_file
from lora_forge.datasets.look import Progress, look, recall
from lora_forge.datasets.pixel_cache import PixelCache
from lora_forge.datasets.pixel_checks import judge_pixels
from lora_forge.datasets.pixels import Permit, PixelFacts, measure_image

LONG_AGO_NS = 1_000_000_000 * 10**9


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return draw_clean(tmp_path / "photos", 4)


@pytest.fixture
def cache_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache whose clock has gone on, so that files made just now are known by their times."""
    monkeypatch.setattr(pixel_cache, "_GRAIN_NS", 0)
    return tmp_path / "cache" / "pixels.sqlite"


def images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix != ".txt")


def look_at(folder: Path, cache_file: Path) -> tuple[dict[Path, PixelFacts], int]:
    with PixelCache(cache_file) as cache:
        looked = look(images(folder), cache)
    return looked.pixels, looked.measured


def test_a_second_look_decodes_nothing_and_says_the_same(photos: Path, cache_file: Path) -> None:
    first, measured = look_at(photos, cache_file)
    assert (len(first), measured) == (4, 4)
    assert look_at(photos, cache_file) == (first, 0)
    with PixelCache(cache_file) as cache:
        assert recall(images(photos), cache) == first


def test_an_edited_image_is_measured_anew_even_if_its_times_are_set_back(photos: Path, cache_file: Path) -> None:
    """Same path, size and modification time: the change time tells, and then the content."""
    path = photos / "000.png"
    before, _ = look_at(photos, cache_file)
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    after, measured = look_at(photos, cache_file)
    assert measured == 1
    assert after[path].digest != before[path].digest


def test_a_file_changed_within_the_clocks_grain_is_not_known_by_its_times(
    photos: Path, cache_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_cache, "_GRAIN_NS", 10**18)
    look_at(photos, cache_file)
    with PixelCache(cache_file) as cache:
        assert recall(images(photos), cache) == {}
    assert look_at(photos, cache_file)[1] == 0  # but its content is


def test_a_moved_dataset_is_known_by_its_content(photos: Path, cache_file: Path, tmp_path: Path) -> None:
    look_at(photos, cache_file)
    shutil.copytree(photos, tmp_path / "elsewhere")
    assert look_at(tmp_path / "elsewhere", cache_file)[1] == 0


@pytest.mark.parametrize("damage", [b"", b"no database at all", "cut", "scribbled"])
def test_a_damaged_cache_is_ignored_and_made_anew(photos: Path, cache_file: Path, damage: bytes | str) -> None:
    first, _ = look_at(photos, cache_file)
    whole = cache_file.read_bytes()
    spoilt = whole[:5000] if damage == "cut" else whole[:100] + b"\xff" * (len(whole) - 100)
    cache_file.write_bytes(damage if isinstance(damage, bytes) else spoilt)
    again, _ = look_at(photos, cache_file)
    assert again == first
    assert look_at(photos, cache_file)[0] == first
    assert look_at(photos, cache_file)[1] == 0


def test_an_entry_that_says_nonsense_is_measured_anew(photos: Path, cache_file: Path) -> None:
    first, _ = look_at(photos, cache_file)
    with sqlite3.connect(cache_file) as base:
        base.execute('UPDATE facts SET facts = \'{"digest": 7, "colour": 1}\'')
    base.close()
    assert look_at(photos, cache_file) == (first, 4)


def test_a_cache_that_cannot_be_written_is_done_without(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    first, measured = look_at(photos, tmp_path / "file" / "pixels.sqlite")
    assert (len(first), measured) == (4, 4)


def test_a_cache_held_by_another_process_is_done_without(
    photos: Path, cache_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_cache, "_BUSY_S", 0.01)
    look_at(photos, cache_file)
    other = sqlite3.connect(cache_file)
    other.execute("BEGIN EXCLUSIVE")
    assert len(look_at(photos, cache_file)[0]) == 4
    other.close()


def test_the_cache_is_bounded_and_the_oldest_go(
    photos: Path, cache_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_cache, "MOST_ENTRIES", 3)
    look_at(photos, cache_file)
    base = sqlite3.connect(cache_file)
    (facts,) = base.execute("SELECT count(*) FROM facts").fetchone()
    (files,) = base.execute("SELECT count(*) FROM files").fetchone()
    base.close()
    assert (facts, files) == (3, 3)


def test_an_interrupt_leaves_a_cache_that_can_be_used(
    photos: Path, cache_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), PixelCache(cache_file) as cache:
        look(images(photos), cache, watch=interrupt, workers=1)
    assert look_at(photos, cache_file)[1] <= 2


def test_progress_comes_with_the_time_left(photos: Path, cache_file: Path) -> None:
    seen: list[Progress] = []
    with PixelCache(cache_file) as cache:
        look(images(photos), cache, watch=seen.append)
    assert [progress.done for progress in seen] == [1, 2, 3, 4]
    assert {progress.total for progress in seen} == {4}
    assert seen[-1].left_s == 0
    assert (seen[0].left_s or 0) > 0


def test_each_image_is_decoded_once(photos: Path, cache_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def measure(path: str, digest: str, permit: Permit) -> PixelFacts:
        decoded.append(path)
        return measure_image(path, digest, permit)

    monkeypatch.setattr(looking, "measure_image", measure)
    look_at(photos, cache_file)
    assert sorted(decoded) == [str(path) for path in images(photos)]


def test_a_file_that_vanishes_is_a_fact_not_a_crash(photos: Path, cache_file: Path) -> None:
    with PixelCache(cache_file) as cache:
        looked = look([*images(photos), photos / "gone.png"], cache)
    assert looked.pixels[photos / "gone.png"].problem == "No such file or directory"


def test_a_name_that_is_no_utf8_is_remembered_too(tmp_path: Path, cache_file: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    draw_picture(1, (100, 100)).save(tmp_path / "plain.png")
    path = Path(os.fsdecode(os.fsencode(str(folder)) + b"/caf\xe9.png"))
    shutil.copy(tmp_path / "plain.png", path)
    for expected in (1, 0):
        with PixelCache(cache_file) as cache:
            assert look([path], cache).measured == expected


def test_the_cache_lies_in_the_users_cache_folder(tmp_path: Path) -> None:
    assert "lora_forge" in str(default_cache_file({}))
    assert default_cache_file({"FORGE_CACHE": str(tmp_path)}).parent == tmp_path


@pytest.mark.parametrize("wrong", [MemoryError(), OSError("out of memory error when reading image file")])
def test_what_ran_out_of_memory_is_looked_at_anew(
    wrong: Exception, photos: Path, cache_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starved(*_: object) -> PixelFacts:
        raise wrong

    with monkeypatch.context() as short:
        short.setattr(pixels, "_measure", starved)
        first, _ = look_at(photos, cache_file)
        assert all(facts.problem == pixels.OUT_OF_MEMORY for facts in first.values())
        assert {code for facts in first.values() for code, _ in judge_pixels(facts)} == {"image-no-memory"}
    second, measured = look_at(photos, cache_file)
    assert measured == 4 and all(facts.decoded for facts in second.values())
