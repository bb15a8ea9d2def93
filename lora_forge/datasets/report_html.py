"""A report as one HTML page: no request goes out, no script is needed, and equal data give equal bytes.

The page's policy (CSP) admits its own style and its own script by their hashes
and pictures from ``data:`` addresses; were a caption ever to slip through the
escaping, a browser would still not run it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from itertools import groupby

from lora_forge.datasets import report_charts as charts
from lora_forge.datasets.notes import counted
from lora_forge.datasets.report_captions import CaptionFigures
from lora_forge.datasets.report_data import ReportData, place_of
from lora_forge.datasets.report_markup import Html, el, escape, join
from lora_forge.datasets.report_sheet import sheet
from lora_forge.datasets.size_checks import MOST_CROPPED
from lora_forge.findings import Finding, Severity

GENERATOR = "lora_forge dataset report"
MARK = f'<meta name="generator" content="{GENERATOR}">'
"""Stands near the beginning of every report; a file without it is somebody else's."""

SHOWN_IN_GROUP = 6
_TITLES = {Severity.ERROR: "Errors", Severity.WARNING: "Warnings", Severity.INFO: "Notes"}


def render_report(data: ReportData, *, style: str, script: str) -> str:
    """The whole page. ``style`` and ``script`` go in as they are, so they must be forge's own."""
    body = el(
        "body",
        _hatch(),
        el("a", "Skip to the images", href="#images", class_="skip"),
        _header(data),
        el("main", _findings(data), _buckets(data), _captions(data), _images(data)),
        el("script", Html(script)),
    )
    return f"<!doctype html>\n{el('html', _head(data, style, script), body, lang='en')}\n"


def _head(data: ReportData, style: str, script: str) -> Html:
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return el(
        "head",
        el("meta", charset="utf-8"),
        Html(MARK),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", f"{data.name}: dataset report"),
        el("style", Html(style)),
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _hatch() -> Html:
    """One pattern for every crop margin of the page."""
    lines = el("path", d="M-2 2L2 -2M0 8L8 0M6 10L10 6", class_="hatch")
    pattern = el("pattern", lines, id="hatch", width=8, height=8, patternUnits="userSpaceOnUse")
    return el("svg", el("defs", pattern), width=0, height=0, class_="definitions", aria_hidden="true")


def _header(data: ReportData) -> Html:
    gravest = next((severity for severity in Severity if data.count(severity)), None)
    kind = gravest.value if gravest and gravest is not Severity.INFO else "fit"
    return el(
        "header",
        el("p", "Dataset report" + (f" · {data.stamp}" if data.stamp else ""), class_="kicker"),
        el("h1", el("bdi", data.name)),
        el("p", data.verdict, class_=f"verdict {kind}"),
        _basis(data),
        el("dl", *_tiles(data), class_="tiles"),
        el(
            "nav",
            *(el("a", text, href=f"#{text.lower()}") for text in ("Findings", "Buckets", "Captions", "Images")),
            aria_label="Sections",
        ),
    )


def _basis(data: ReportData) -> Html:
    basis = data.basis
    guess = " (none was named)" if basis.is_fallback else ""
    trigger = join(["trigger ", el("b", el("bdi", basis.trigger))]) if basis.trigger else Html("no trigger")
    parts = [
        join(["preset ", el("b", basis.preset), guess]),
        escape(basis.family),
        escape(f"{basis.resolution} px"),
        escape(f"batch size {basis.batch_size}"),
        escape(f"{basis.repeats} repeats" if basis.repeats != "1" else "no repeats"),
        escape(f"{basis.steps:,} steps, each image seen {basis.exposures:.0f} times"),
        trigger,
    ]
    if basis.held_out:
        parts.append(escape(f"{counted(basis.held_out, 'image')} held out for validation, not shown"))
    return el("p", *_between(parts, Html(" · ")), class_="basis")


def _between(parts: Sequence[Html], separator: Html) -> list[Html]:
    return [piece for part in parts for piece in (separator, part)][1:]


def _tiles(data: ReportData) -> list[Html]:
    captions = data.captions.captions
    tiles = [
        (f"{data.images:,}", "images", ""),
        (f"{captions:,}", "with a caption", "warning" if captions < data.images else ""),
        (f"{len(data.buckets):,}", "buckets", ""),
        (
            f"{data.much_cropped:,}",
            f"cropped by over {MOST_CROPPED:.0%}".replace("%", "\u00a0%"),
            "warning" if data.much_cropped else "",
        ),
        (f"{data.upscaled:,}", "enlarged", "warning" if data.upscaled else ""),
        (f"{data.count(Severity.ERROR):,}", "errors", "error" if data.count(Severity.ERROR) else ""),
        (f"{data.count(Severity.WARNING):,}", "warnings", "warning" if data.count(Severity.WARNING) else ""),
    ]
    if data.reg_images:
        tiles.insert(1, (f"{data.reg_images:,}", "regularization images", ""))
    return [el("div", el("dt", label), el("dd", value), class_=f"tile {kind}".strip()) for value, label, kind in tiles]


def _section(title: str, *parts: str) -> Html:
    name = title.lower()
    return el("section", el("h2", title, id=f"{name}-title"), *parts, id=name, aria_labelledby=f"{name}-title")


def _findings(data: ReportData) -> Html:
    if not data.findings:
        return _section("Findings", el("p", "Nothing was found that would hurt a training.", class_="remark"))
    places = _places(data)
    parts = []
    for severity in Severity:
        found = [finding for finding in data.findings if finding.severity is severity]
        if found:
            groups = [list(group) for _, group in groupby(found, key=lambda each: (each.code, each.hint))]
            items = [_group(group, places, data.root) for group in groups]
            parts.append(el("h3", f"{_TITLES[severity]} ({len(found):,})", class_=f"severity {severity.value}"))
            parts.append(el("ul", *items, class_="findings"))
    return _section("Findings", *parts)


def _places(data: ReportData) -> dict[str, str]:
    """The place of a finding → the card it is about."""
    return {
        place_of(finding.where): f"#i{index}" for index, card in enumerate(data.cards, 1) for finding in card.findings
    }


def _group(group: Sequence[Finding], places: dict[str, str], root: str) -> Html:
    """Findings of one kind with one remedy; the first few at once, the others behind a click."""
    lines = [_line(finding, places, root) for finding in group]
    more = lines[SHOWN_IN_GROUP:]
    rest = el("details", el("summary", f"{len(more):,} more"), el("ul", *more)) if more else Html()
    first = group[0]
    return el(
        "li",
        el("code", first.code),
        el("ul", *lines[:SHOWN_IN_GROUP], class_="lines"),
        rest,
        el("p", el("b", "Try: "), first.hint, class_="try") if first.hint else Html(),
        class_=f"finding {first.severity.value}",
    )


def _line(finding: Finding, places: dict[str, str], root: str) -> Html:
    """The message with its file as a link to the card; a name that opens the message is not said twice."""
    shown = finding.where.removeprefix(root).lstrip("/") if finding.where.startswith(root) else finding.where
    if not shown:
        return el("li", finding.message)
    card = places.get(place_of(finding.where))
    opening = place_of(shown).rpartition("/")[2]
    if (card or opening == shown) and finding.message.startswith(opening):
        return el("li", _place(opening, card), finding.message.removeprefix(opening))
    return el("li", finding.message, " ", _place(shown, card))


def _place(text: str, card: str | None) -> Html:
    return el("a", text, href=card, class_="where") if card else el("span", text, class_="where")


def _buckets(data: ReportData) -> Html:
    if not data.buckets:
        return _section("Buckets", el("p", "There is no image to sort.", class_="remark"))
    about = (
        "The engine trains every image at the size of the bucket whose shape is nearest. A batch never mixes buckets: "
        "where the last batch of a bucket is short, a step has fewer images."
    )
    if not data.basis.upscale:
        about = "Without upscaling every image makes its own bucket: it is only ever shrunk, and cut to whole steps."
    return _section(
        "Buckets",
        el("p", about, class_="remark"),
        charts.shape_chart(data.points, data.buckets),
        el(
            "div",
            el("div", charts.bucket_table(data.buckets, data.basis.batch_size), class_="scroll"),
            charts.batch_table(data.batch_choices, data.basis.batch_size),
            class_="columns wide-first",
        ),
    )


def _captions(data: ReportData) -> Html:
    figures = data.captions
    if not figures.captions:
        return _section("Captions", el("p", "No image has a caption.", class_="remark"))
    lengths = f"{figures.shortest} to {figures.longest} words, median {figures.median}"
    said = f"{counted(figures.captions, 'caption')} of {lengths}."
    lacking = [f"{figures.missing:,} missing"] if figures.missing else []
    lacking += [f"{figures.blank:,} blank"] if figures.blank else []
    first = [el("h3", "Length"), charts.length_chart(figures.bins), *_trigger(figures, data)]
    second = [charts.word_table(figures.words)] if figures.words else [el("p", "No two captions share a word.")]
    return _section(
        "Captions",
        el("p", " ".join([said, *([", ".join(lacking) + "."] if lacking else [])]), class_="remark"),
        el("div", el("div", *first), el("div", *second), class_="columns"),
        _identical(figures),
    )


def _trigger(figures: CaptionFigures, data: ReportData) -> list[Html]:
    if figures.trigger is None:
        return [el("h3", "Trigger"), el("p", "There is none.", class_="remark")]
    title = el("h3", "Where ", el("bdi", data.basis.trigger), " stands")
    why = el("p", f"Known from: {data.basis.trigger_why}.", class_="remark") if data.basis.trigger_why else Html()
    return [title, charts.trigger_chart(figures.trigger), why]


def _identical(figures: CaptionFigures) -> Html:
    if not figures.identical:
        return Html()
    items = [
        el(
            "li",
            el("q", text[:200]),
            f" {len(names):,} times: ",
            el("bdi", ", ".join(names[:12])),
            "…" * (len(names) > 12),
        )
        for text, names in figures.identical
    ]
    hidden = figures.identical_groups - len(figures.identical)
    items += [el("li", f"and {hidden:,} more")] if hidden else []
    return join([el("h3", "The same caption more than once"), el("ul", *items, class_="identical")])


def _images(data: ReportData) -> Html:
    if not data.cards:
        return _section("Images", el("p", "There is none that could be read.", class_="remark"))
    total = data.images + data.reg_images
    note = "Pictures are shown as the engine reads them: EXIF orientation is ignored and transparency is dropped."
    return _section(
        "Images", el("p", note, class_="remark"), sheet(data.cards, total=total, random_crop=data.basis.random_crop)
    )
