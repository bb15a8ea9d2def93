"""Whatever bytes an image file holds, a check ends in findings."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path

import pytest
from planted import draw_picture, png_of

from lora_forge.datasets.pixels import measure_image
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
