"""Whatever bytes an image file holds, a check ends in findings."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import threading
import time
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from planted import draw_picture, png_of

from lora_forge.datasets.fixing_pixels import Unusable, Wishes, prepare_image
from lora_forge.datasets.jpeg_scans import MOST_SCANS, are_too_many, count_scans
from lora_forge.datasets.look import Permits
from lora_forge.datasets.pixel_checks import judge_pixels
from lora_forge.datasets.pixels import MOST_DECODED, measure_image
from lora_forge.datasets.report_pictures import draw_thumbnail, limits_for
from lora_forge.workflow.checking import usual_advice
from lora_forge.workflow.dataset_check import check_dataset

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".png", "BMP": ".bmp", "TIFF": ".jpg"}
EACH = 60


def encoded(kind: str) -> bytes:
    file = BytesIO()
    picture = draw_picture(1, (96, 80))
    if kind == "GIF":
        picture.save(file, kind, save_all=True, append_images=[draw_picture(2, (96, 80))])
    else:
        picture.save(file, kind, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    return file.getvalue()


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Cut short, or with a few bits, bytes or runs of it changed; the header is hit as often as the rest."""
    if rng.random() < 0.3:
        return data[: rng.randrange(len(data))]
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 40))):
        place = rng.randrange(min(len(spoilt), rng.choice((64, 512, len(spoilt)))))
        spoilt[place] ^= 1 << rng.randrange(8)
    if rng.random() < 0.2:
        start = rng.randrange(len(spoilt))
        spoilt[start : start + rng.randrange(200)] = rng.randbytes(rng.randrange(200))
    return bytes(spoilt)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_images_end_in_findings_never_in_a_traceback(kind: str, tmp_path: Path) -> None:
    rng, whole = random.Random(f"fuzz {kind}"), encoded(kind)
    for number in range(EACH):
        (tmp_path / f"{number:03}{ENDINGS[kind]}").write_bytes(damaged(whole, rng))
    result = check_dataset(tmp_path, advice=usual_advice("ohwx"), cache_file=tmp_path / "cache" / "p.sqlite")
    told = {one.where.removesuffix(":1") for one in result.findings}
    assert all(str(tmp_path / f"{number:03}{ENDINGS[kind]}") in told for number in range(EACH))
    assert {"image-unreadable", "image-truncated"} & {one.code for one in result.findings}


def test_a_bomb_is_never_decoded(tmp_path: Path) -> None:
    """Its few bytes would become 300 MB; the header alone is believed."""
    (tmp_path / "bomb.png").write_bytes(png_of(15_000, 8_000, b"\0" * 100))
    facts = measure_image(str(tmp_path / "bomb.png"), "x")
    assert (facts.is_huge, facts.decoded, facts.problem) == (True, False, "")


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (2, 2), (15, 17)])
def test_the_smallest_images_are_measured(size: tuple[int, int], tmp_path: Path) -> None:
    draw_picture(1).resize(size).save(tmp_path / "tiny.png")
    facts = measure_image(str(tmp_path / "tiny.png"), "x")
    assert facts.decoded
    assert (len(facts.looks), len(facts.thumb)) == (16, 192)


def jpeg(file: Path, size: tuple[int, int], **options: object) -> Path:
    Image.new("RGB", size, (90, 30, 60)).save(file, "JPEG", **options)
    return file


def with_scans(file: Path, scans: int) -> Path:
    """The last scan again and again, as nothing in the format forbids."""
    data = file.read_bytes()
    start = data.rindex(b"\xff\xda")
    file.write_bytes(data[:start] + data[start:-2] * scans + data[-2:])
    return file


def test_scans_are_told_from_the_file(tmp_path: Path) -> None:
    picture, exif = draw_picture(1, (96, 80)), Image.Exif()
    exif[0x010E] = "\xff\xda in a comment"
    picture.save(tmp_path / "plain.jpg", exif=exif, comment=b"\xff\xda" * 9)
    picture.save(tmp_path / "many.jpg", progressive=True)
    assert count_scans(str(tmp_path / "plain.jpg")) == 1
    assert 6 <= count_scans(str(tmp_path / "many.jpg")) <= 12
    assert not are_too_many(12, 64_000_000)


@pytest.mark.filterwarnings("ignore:Image size")  # Pillow warns of it; a look asks it not to
@pytest.mark.parametrize("progressive", [False, True])
def test_only_a_jpeg_that_is_kept_whole_is_bound_in_size(progressive: bool, tmp_path: Path) -> None:
    large = jpeg(tmp_path / "x.jpg", (10_100, 10_000), quality=20, progressive=progressive)
    facts = measure_image(str(large), "x")
    assert facts.is_huge == progressive and facts.problem == ""
    assert MOST_DECODED < 10_100 * 10_000


def test_a_jpeg_of_a_thousand_scans_is_never_decoded(tmp_path: Path) -> None:
    file = with_scans(jpeg(tmp_path / "x.jpg", (800, 800), progressive=True), 2 * MOST_SCANS)
    facts = measure_image(str(file), "x")
    assert (facts.is_huge, facts.decoded, facts.scans > MOST_SCANS) == (True, False, True)
    assert judge_pixels(facts) == [("image-huge", f"{facts.scans:,} scans")]
    assert draw_thumbnail(file, limits_for(1)).problem
    with pytest.raises(Unusable, match="scans"):
        prepare_image(file, Wishes())


def test_few_scans_of_a_huge_picture_are_too_many_as_well(tmp_path: Path) -> None:
    file = with_scans(jpeg(tmp_path / "x.jpg", (6000, 6000), quality=20, progressive=True), 60)
    assert measure_image(str(file), "x").scans > 60


def test_a_jpeg_that_stores_one_colour_after_the_other_is_kept_whole_too(tmp_path: Path) -> None:
    """Its first scan names one of three colours; the decoder then keeps coefficients, as for a progressive one."""
    data = bytearray(jpeg(tmp_path / "x.jpg", (64, 64)).read_bytes())
    start = data.index(b"\xff\xda")
    length = struct.unpack(">H", data[start + 2 : start + 4])[0]
    data[start : start + 2 + length] = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    (tmp_path / "x.jpg").write_bytes(data)
    assert count_scans(str(tmp_path / "x.jpg")) > 1


def test_permits_hold_large_images_apart_and_small_ones_not() -> None:
    permits, most = Permits(100), [0]
    held, lock = [0], threading.Lock()

    def decode(pixels: int) -> None:
        with permits(pixels):
            with lock:
                held[0] += pixels
                most[0] = max(most[0], held[0])
            time.sleep(0.005)
            with lock:
                held[0] -= pixels

    threads = [threading.Thread(target=decode, args=(pixels,)) for pixels in (60, 60, 60, 30, 30, 0, 0, 250)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert most[0] == 250 and held[0] == 0  # an image larger than all is decoded alone


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.processes
def test_progressive_bombs_side_by_side_stay_within_a_gigabyte(tmp_path: Path) -> None:
    for number in range(2):
        jpeg(tmp_path / f"{number}.jpg", (9900, 9900 + number), quality=20, progressive=True, subsampling=0)
    code = """
import sys
from pathlib import Path
from lora_forge.datasets.look import look
from lora_forge.datasets.pixel_cache import PixelCache
with PixelCache(Path(sys.argv[1]) / "cache" / "p.sqlite") as cache:
    looked = look(sorted(Path(sys.argv[1]).glob("*.jpg")), cache, workers=2)
status = Path("/proc/self/status").read_text()  # what getrusage says is never less than the parent's
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024, [facts.decoded for facts in looked.pixels.values()])
"""
    told = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout
    mebibytes, _, decoded = told.partition(" ")
    assert decoded.strip() == "[True, True]"
    assert int(mebibytes) < 1024
