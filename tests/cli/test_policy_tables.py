"""The policy tables, as ``forge plan --json`` prints them for 1 to 200 images."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from math import floor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lora_forge.cli.app import app

MOST_IMAGES = 200
Row = tuple[int, float, int, int]


def half_up(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))


def clamp(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def identity(n: int) -> Row:
    return 16, 8.0, 2, clamp(100 * half_up(Fraction(87 * n, 100)), 1500, 3000)


def ramp(n: int) -> Row:
    """2,000 at 15 to 3,000 at 30: 1,000 more over 15 images."""
    return 64, 64.0, 1, clamp(100 * half_up((2000 + Fraction(1000 * (n - 15), 15)) / 100), 2000, 3000)


def tiers(n: int) -> Row:
    if n < 10:
        return 8, 8.0, half_up(5 + Fraction(3 * (n - 1), 8)), 800
    if n < 15:
        return 12, 12.0, half_up(6 + Fraction(3 * (n - 10), 4)), 900
    return (16, 16.0, 8, 1000) if n < 25 else (24, 24.0, 10, 1000)


def style(n: int) -> Row:
    return 16, 16.0, 1, clamp(40 * n, 500, 3500)


def checkpoint_every(steps: int) -> int:
    return 500 if steps >= 2000 else 250 if steps >= 1000 else 100


def png(side: int) -> bytes:
    """A sound picture header; plans never decode."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize(
    ("preset", "row"), [("identity", identity), ("high-fidelity", ramp), ("adaptive", tiers), ("style", style)]
)
def test_the_table_holds_for_every_count_of_images(preset: str, row: Callable[[int], Row], in_folder: Path) -> None:
    photos = in_folder / "dataset"
    photos.mkdir()
    for count in range(1, MOST_IMAGES + 1):
        (photos / f"{count:03d}.png").write_bytes(png(768))
        (photos / f"{count:03d}.txt").write_text("ohwx, a scene\n")
        result = CliRunner().invoke(app, ["plan", "--preset", preset, "--trigger", "ohwx", "--json"])
        plan = json.loads(result.stdout)["data"]["plan"]
        network, schedule = plan["network"], plan["schedule"]
        steps = schedule["steps"]["value"]
        printed = (network["rank"]["value"], network["alpha"]["value"], schedule["repeats"]["value"], steps)
        assert printed == row(count), count
        assert schedule["checkpoint_every"]["value"] == checkpoint_every(steps)
        assert schedule["steps_per_image"]["value"] == steps / count
