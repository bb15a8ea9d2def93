"""What the report draws: marks stand where the engine cuts, figures add up, and size is bounded."""

from __future__ import annotations

import base64
import random
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from report_pages import SCRIPT, STYLE, Page, card, drawn, report

from lora_forge.datasets.report_captions import Captioned, caption_figures, length_bins, trigger_places
from lora_forge.datasets.report_charts import bucket_table, shape_chart, trigger_chart
from lora_forge.datasets.report_data import BucketRow, Fit, Point, choose_cards
from lora_forge.datasets.report_html import render_report
from lora_forge.datasets.report_pictures import MOST_CHARACTERS, draw_thumbnails, limits_for
from lora_forge.datasets.report_sheet import badge_texts, overlay
from lora_forge.findings import Severity
from lora_forge.plan.buckets import BucketSettings, assign_bucket


def engine_window(size: tuple[int, int], bucket: tuple[int, int]) -> tuple[int, int, int, int]:
    """The slices of ``trim_and_resize_if_required``: left, top, and what is left over right and below."""
    (width, height), left, top = size, 0, 0
    if width > bucket[0]:
        left = (width - bucket[0]) // 2
    if height > bucket[1]:
        top = (height - bucket[1]) // 2
    return left, top, width - left - bucket[0], height - top - bucket[1]


@given(st.integers(64, 4000), st.integers(64, 4000), st.booleans())
def test_the_shaded_margins_are_what_the_engine_cuts(width: int, height: int, upscale: bool) -> None:
    placed = assign_bucket((width, height), BucketSettings((768, 768), 384, 1024, upscale=upscale))
    fit = Fit(placed.bucket, placed.resized, placed.scale)
    if not fit.is_possible:
        return
    left, top, right, bottom = fit.margins
    sides = (fit.resized[0], fit.resized[1], fit.resized[0], fit.resized[1])
    pixels = tuple(round(share * side) for share, side in zip((left, top, right, bottom), sides, strict=True))
    assert pixels == engine_window(placed.resized, placed.bucket)
    assert fit.lost == pytest.approx(1 - (1 - left - right) * (1 - top - bottom))


def test_the_marks_are_drawn_in_the_shape_of_the_file() -> None:
    fit = Fit((640, 896), (672, 896), 0.875)
    (line,) = [each for each in Page(overlay(fit, (768, 1024))).all("rect") if each["class"] == "kept"]
    assert (line["x"], line["y"], line["width"], line["height"]) == ("7.14", "0", "285.71", "400")


def test_the_dashed_line_holds_as_many_pixels_as_the_file() -> None:
    fit = Fit((768, 768), (768, 768), 4.0)
    (box,) = [each for each in Page(overlay(fit, (192, 192))).all("rect") if each["class"] == "pixels"]
    assert (box["x"], box["width"], box["height"]) == ("150", "100", "100")


def test_an_image_that_fits_has_no_marks_and_one_plain_badge() -> None:
    assert overlay(Fit((768, 768), (768, 768), 1.0), (768, 768)) == ""
    assert badge_texts(card()) == [("768×768 → 768×768", "plain")]


def test_badges_say_what_the_engine_will_do() -> None:
    thumbnail = drawn()._replace(turned="mirrored", has_alpha=True)
    badges = badge_texts(card(size=(96, 128), fit=Fit((640, 896), (672, 896), 7.0), thumbnail=thumbnail, is_reg=True))
    texts = dict(badges)
    assert texts["cropped 4.8\u00a0%"] == "info"
    assert texts["upscaled ×7.00"] == "warning"
    assert texts["transparency dropped"] == "warning"
    assert texts["viewers show it mirrored"] == "warning"
    assert "regularization" in texts
    narrow = badge_texts(card(size=(8, 9000), fit=Fit((0, 8960), (8, 9000), 1.0)))
    assert ("too narrow for any bucket", "error") in narrow


def test_short_batches_are_drawn_and_named() -> None:
    rows = (BucketRow((768, 768), 5, 10, 3), BucketRow((896, 640), 1, 2, 1))
    text = Page(bucket_table(rows, 4)).text
    assert "3 batches of 4, the last one 2 places short" in text
    assert "1 batch of 4, the last one 2 places short" in text
    assert len([each for each in Page(bucket_table(rows, 4)).all("rect") if each["class"] == "bar-empty"]) == 2


def test_very_many_batches_are_one_bar() -> None:
    bars = Page(bucket_table((BucketRow((768, 768), 900, 900, 900),), 1)).all("rect")
    assert len([each for each in bars if each["class"] == "bar"]) == 1


def test_equal_shapes_share_a_dot_that_counts_them() -> None:
    points = [Point(f"{index}.png", (1024, 768), 0.8) for index in range(5)] + [Point("x.png", (10, 9000), 76.8)]
    chart = Page(shape_chart(points, (BucketRow((896, 640), 5, 5, 5),)))
    assert len(chart.all("circle")) == 2
    assert "and 4 more" in chart.text
    for circle in chart.all("circle"):
        assert 0 <= float(circle["cx"] or -1) <= 1080
        assert 0 <= float(circle["cy"] or -1) <= 330


def test_where_not_all_can_be_shown_the_gravest_are() -> None:
    severities: list[Severity | None] = [None] * 5000
    severities[4321], severities[17] = Severity.ERROR, Severity.INFO
    shown = choose_cards(severities, 1000)
    assert (len(shown), len(set(shown))) == (1000, 1000)
    assert {17, 4321} <= set(shown)
    assert shown == sorted(shown)
    assert max(after - before for before, after in pairwise(shown)) <= 8
    assert 4321 in choose_cards([Severity.INFO] * 4000 + severities[4000:], 10)


def test_the_trigger_counts_as_a_word_in_its_own_spelling() -> None:
    texts = ['"ohwx", a man', "(ohwx) ohwx", "a man ohwx.", "Ohwx, a man", "my-ohwx-coat here"]
    assert trigger_places(texts, "ohwx") == (2, 1, 1, 1, 1)
    assert "first in the caption: 2" in Page(trigger_chart(trigger_places(texts, "ohwx"))).text


def test_shared_words_leave_out_trigger_and_fillers_and_count_once_a_caption() -> None:
    texts = ["ohwx, a man with a man", "OHWX, the Man in town", "ohwx, a dog"]
    figures = caption_figures([Captioned(str(index), text) for index, text in enumerate(texts)], "ohwx")
    assert [(each.word, each.captions) for each in figures.words] == [("man", 2)]


def test_identical_captions_are_grouped_whatever_their_case_and_spaces() -> None:
    captioned = [Captioned("a", "One  two"), Captioned("b", "one two "), Captioned("c", None), Captioned("d", "")]
    figures = caption_figures(captioned, "")
    assert figures.identical == (("One  two", ("a", "b")),)
    assert (figures.captions, figures.missing, figures.blank, figures.trigger) == (2, 1, 1, None)


@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=60))
def test_every_caption_is_in_exactly_one_bin(lengths: list[int]) -> None:
    bins = length_bins(sorted(lengths))
    assert sum(each.captions for each in bins) == len(lengths)
    assert len(bins) <= 9
    assert all(after.low == before.high + 1 for before, after in pairwise(bins))


def noise(folder: Path, count: int) -> list[Path]:
    """The worst case for a codec: nothing in it repeats."""
    rng, paths = random.Random(1), []
    for index in range(count):
        paths.append(folder / f"{index}.jpg")
        Image.frombytes("RGB", (500, 400), rng.randbytes(600_000)).save(paths[-1], quality=90)
    return paths


def test_a_thumbnail_is_bounded_in_bytes_however_busy_the_picture(tmp_path: Path) -> None:
    for thumbnail in draw_thumbnails(noise(tmp_path, 3)):
        assert 0 < len(thumbnail.uri) <= MOST_CHARACTERS
        with Image.open(BytesIO(base64.b64decode(thumbnail.uri.split(",")[1]))) as image:
            assert image.size == (thumbnail.width, thumbnail.height)


def test_a_page_of_a_hundred_or_a_thousand_images_stays_below_ten_megabytes() -> None:
    for count in (100, 1000):
        assert count * limits_for(count).characters <= 7_000_000
        full = drawn()._replace(uri="data:image/webp;base64," + "A" * (limits_for(count).characters - 23))
        page = render_report(
            report(*(card(f"{index}.png", "ohwx, " + "words " * 40, thumbnail=full) for index in range(count))),
            style=STYLE,
            script=SCRIPT,
        )
        assert len(page.encode()) <= 10_000_000


def test_thumbnails_show_what_the_engine_sees(tmp_path: Path) -> None:
    """The colour beneath full transparency appears, and nothing is turned."""
    Image.new("RGBA", (60, 40), (200, 30, 30, 0)).save(tmp_path / "clear.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40), (10, 90, 200)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("I;16", (60, 40), 40_000).save(tmp_path / "deep.png")
    Image.new("CMYK", (60, 40)).save(tmp_path / "print.jpg")
    clear, turned, deep, press = draw_thumbnails(
        [tmp_path / name for name in ("clear.png", "turned.jpg", "deep.png", "print.jpg")]
    )
    assert clear.has_alpha
    with Image.open(BytesIO(base64.b64decode(clear.uri.split(",")[1]))) as image:
        red, green, blue = image.convert("RGB").getpixel((30, 20))  # type: ignore[misc]
    assert red > 180
    assert max(green, blue) < 60
    assert (turned.width, turned.height) == (60, 40)
    assert turned.turned == "turned by 90° to the right"
    assert deep.uri
    assert press.uri


def test_damaged_files_say_why_and_end_nothing(tmp_path: Path) -> None:
    rng = random.Random(7)
    whole = BytesIO()
    Image.frombytes("RGB", (64, 64), rng.randbytes(12_288)).save(whole, "png")
    paths = []
    for index in range(60):
        data = bytearray(whole.getvalue())
        for _ in range(rng.randint(1, 9)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        paths.append(tmp_path / f"{index}.png")
        paths[-1].write_bytes(data[: rng.randint(0, len(data))])
    drawn_ones = draw_thumbnails([*paths, tmp_path / "none.png", tmp_path])
    assert len(drawn_ones) == 62
    assert all(bool(each.uri) != bool(each.problem) for each in drawn_ones)


def test_an_extreme_strip_still_has_a_thumbnail(tmp_path: Path) -> None:
    Image.new("RGB", (4000, 2), "teal").save(tmp_path / "strip.png")
    (thumbnail,) = draw_thumbnails([tmp_path / "strip.png"])
    assert (thumbnail.width, thumbnail.height) == (384, 1)


def test_progress_is_told_once_an_image(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    draw_thumbnails(noise(tmp_path, 2), lambda progress: told.append((progress.done, progress.total)))
    assert told == [(1, 2), (2, 2)]
