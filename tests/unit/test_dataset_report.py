"""The report's page: hostile text stays text, nothing is asked for outside, everyone can read it."""

from __future__ import annotations

import base64
import hashlib
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_pages import SCRIPT, STYLE, Page, card, of_everything, page_of, report

from lora_forge.datasets.report_html import MARK, render_report
from lora_forge.datasets.report_markup import el, escape
from lora_forge.findings import error, info, warning

NASTY = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><style>body{display:none}",
    "<!-- &lt;b&gt; -->",
    "javascript:alert(1)",
    "]]><svg/onload=alert(1)>",
    "\u202egnp.exe",
    "a\x1b[31mred\x08",
    "</title></textarea></select>",
    "https://example.com/x.png",
)


@pytest.mark.parametrize("nasty", NASTY)
def test_foreign_text_never_becomes_markup(nasty: str) -> None:
    page = page_of(of_everything(nasty))
    allowed = {"script": 1, "style": 1, "img": 3}
    assert {tag: len(page.all(tag)) for tag in allowed} == allowed
    assert not [key for key, _ in page.attributes() if key.startswith("on") or key == "style"]
    for key, value in page.attributes():
        if key in ("src", "href"):
            assert value.startswith(("data:image/", "#")), value
    assert "\u202e" not in page.text
    assert "\x1b" not in page.text
    assert page.all("img")[0]["alt"] == nasty.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b").replace(
        "\x08", "\\x08"
    )


@given(st.text(min_size=1, max_size=30).filter(lambda text: bool(text.strip())))
def test_any_text_leaves_the_page_well_formed(text: str) -> None:
    page = page_of(of_everything(text))
    assert (len(page.all("script")), len(page.all("img"))) == (1, 3)


@given(st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"))))
def test_what_is_escaped_reads_back_as_it_was(text: str) -> None:
    assert Page(el("p", text, title=text)).all("p")[0]["title"] == text
    assert Page(el("p", text)).text == text


def test_a_lone_surrogate_can_be_written() -> None:
    assert escape("caf\udce9.png").encode() == b"caf\\udce9.png"


def test_the_policy_admits_the_pages_own_style_and_script_and_nothing_else() -> None:
    text = render_report(report(card()), style=STYLE, script=SCRIPT)
    page = Page(text)
    policy = next(each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert (rules["default-src"], rules["img-src"]) == ("'none'", "data:")
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        within = text.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(within.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert text.index(MARK) < 2048 - len(MARK)


def test_the_page_asks_for_nothing_outside_itself() -> None:
    text = render_report(report(card(), card("b.png")), style=STYLE, script=SCRIPT)
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text.replace("url(#hatch)", "")
    assert "@import" not in STYLE


def test_every_picture_is_described_and_headings_leave_out_no_level() -> None:
    page = page_of(report(card(caption="ohwx, reading"), card("b.png", "", trained_caption="ohwx"), card("c.png", "")))
    assert [each["alt"] for each in page.all("img")] == ["ohwx, reading", "ohwx", "c.png, without a caption"]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [value for key, value in page.attributes() if key == "id"]
    assert len(ids) == len(set(ids))
    links = [value.removeprefix("#") for key, value in page.attributes() if key == "href"]
    assert set(links) <= set(ids)


@pytest.mark.parametrize("block", [0, 1])
def test_every_text_colour_stands_out_from_its_ground(block: int) -> None:
    """4.5 to 1, which WCAG asks for text of this size."""
    schemes = re.findall(r":root \{\n(.*?)\n\s*\}", STYLE, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", schemes[block]))
    for kind in ("error", "warning", "info", "fit"):
        assert contrast(colours[kind], colours[f"{kind}-soft"]) >= 4.5, kind
    for ink in ("ink", "soft", "accent", "error", "warning", "info"):
        for ground in ("paper", "sheet"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for bar in ("bar", "leads", "later", "trails", "absent"):
        assert contrast(colours[bar], colours["paper"]) >= 2.5, bar


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_findings_come_by_severity_with_remedy_and_a_link_to_their_image() -> None:
    wrong = error("e", "a.txt is empty", "Write it.", "/data/photos/a.txt:1")
    page = page_of(report(card("b.png"), card("a.png", findings=(wrong,)), findings=(wrong, info("i", "hidden"))))
    assert page.text.index("Errors (1)") < page.text.index("Notes (1)")
    assert "Try: Write it." in page.text
    (link,) = [each for each in page.all("a") if each.get("class") == "where"]
    target = next(each for each in page.all("li") if "#" + (each.get("id") or "") == link["href"])
    assert target["class"] == "card error"


def test_a_thousand_findings_of_a_kind_stay_behind_one_click() -> None:
    page = page_of(report(card(), findings=tuple(warning("w", f"message {index}", "Look.") for index in range(1000))))
    assert page.text.count("Try: Look.") == 1
    assert "994 more" in page.text
    assert len(page.all("details")) == 1


def test_empty_sections_say_so() -> None:
    text = page_of(report(buckets=(), points=(), batch_choices=())).text
    for said in ("There is no image to sort.", "No image has a caption.", "There is none that could be read."):
        assert said in text


def test_a_caption_of_any_length_keeps_the_page_small() -> None:
    page = page_of(report(card(caption="ohwx, " + "word " * 13_000)))
    assert len(page.text) < 6_000
    assert "all 65,006 characters" in page.text
    assert len(page.all("img")[0]["alt"] or "") <= 241


def test_the_verdict_follows_the_gravest_finding() -> None:
    assert report(card()).verdict == "Fit to train on"
    assert report(findings=(info("i", ""),)).verdict == "Fit to train on"
    assert report(findings=(warning("w", ""), info("i", ""))).verdict == "Trainable, with 1 warning to look at"
    assert report(findings=(error("e", ""), error("e", ""))).verdict == "2 errors to mend before training"


def test_the_folder_of_the_dataset_is_not_told() -> None:
    wrong = warning("w", "look", where="/data/photos/sub/a.txt:3")
    text = render_report(report(card("a.png"), findings=(wrong,)), style=STYLE, script=SCRIPT)
    assert "/data/photos" not in text
    assert "sub/a.txt:3" in text


def test_no_shadow_of_a_card_is_printed_on_the_page_before() -> None:
    """It lies outside the card's own box, which alone ``break-inside`` keeps together."""
    from importlib.resources import files

    style = files("lora_forge.datasets").joinpath("report.css").read_text(encoding="utf-8")
    printed = style[style.index("@media print") :]
    assert ".card.error { box-shadow: none;" in printed
