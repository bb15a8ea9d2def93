"""A dataset report made of plain figures, and a page read back for tests."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from io import BytesIO

from PIL import Image

from lora_forge.datasets.report_captions import Captioned, caption_figures
from lora_forge.datasets.report_data import Basis, BatchChoice, BucketRow, Card, Fit, Point, ReportData, Thumbnail
from lora_forge.datasets.report_html import render_report
from lora_forge.findings import error, warning

PACKAGE = files("lora_forge.datasets")
STYLE = PACKAGE.joinpath("report.css").read_text(encoding="utf-8")
SCRIPT = PACKAGE.joinpath("report.js").read_text(encoding="utf-8")
VOID = {"img", "meta", "br", "input"}


class Page(HTMLParser):
    """Every element with its attributes, the visible text, and whether all that opened was closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def attributes(self) -> Iterator[tuple[str, str]]:
        return ((key, value or "") for _, attributes in self.elements for key, value in attributes.items())


def page_of(data: ReportData) -> Page:
    return Page(render_report(data, style=STYLE, script=SCRIPT))


def report(*cards: Card, **others: object) -> ReportData:
    basis = Basis("identity", "FLUX.1", 768, True, False, 2, "2", 2000, 87.0, "ohwx", "--trigger")
    figures = caption_figures([Captioned(card.name, card.caption or None) for card in cards], "ohwx")
    data = ReportData(
        name="photos",
        root="/data/photos",
        basis=basis,
        images=len(cards),
        reg_images=0,
        points=tuple(Point(card.name, card.size, card.fit.scale) for card in cards),
        cards=cards,
        buckets=(BucketRow((768, 768), len(cards), 2 * len(cards), len(cards)),),
        batch_choices=(BatchChoice(2, len(cards), 0),),
        captions=figures,
        findings=tuple(finding for card in cards for finding in card.findings),
    )
    return replace(data, **others)  # type: ignore[arg-type]


def card(name: str = "a.png", caption: str = "ohwx, a man", **others: object) -> Card:
    plain = Card(name, "", (768, 768), Fit((768, 768), (768, 768), 1.0), caption, thumbnail=drawn())
    return replace(plain, **others)  # type: ignore[arg-type]


def drawn() -> Thumbnail:
    data = BytesIO()
    Image.new("RGB", (8, 8), "teal").save(data, "webp")
    return Thumbnail("data:image/webp;base64," + base64.b64encode(data.getvalue()).decode(), 8, 8)


def of_everything(text: str) -> ReportData:
    """A report in which every foreign text is ``text``."""
    finding = warning("code-" + text, text, text, "/data/photos/" + text)
    thumbnail = drawn()._replace(turned=text, problem="")
    cards = (
        card(text, text, folder=text, findings=(finding,), thumbnail=thumbnail),
        card(text, text + " ohwx", trained_caption=text),
        card(text, "", trained_caption=text, thumbnail=Thumbnail(problem=text)),
        card(text, text * 200),
    )
    data = report(*cards, name=text, root="/data/" + text, stamp=text, findings=(finding, error("e", text, where=text)))
    basis = replace(data.basis, preset=text, family=text, trigger=text, trigger_why=text, repeats=text)
    return replace(data, basis=basis)
