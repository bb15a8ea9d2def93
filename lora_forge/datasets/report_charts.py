"""The charts of a report as inline SVG: buckets, shapes, caption lengths, words, the trigger's place."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from lora_forge.datasets.notes import counted
from lora_forge.datasets.report_captions import Bin, TriggerPlaces, WordShare
from lora_forge.datasets.report_data import BatchChoice, BucketRow, Point
from lora_forge.datasets.report_markup import Attribute, Html, el, join, number

MOST_SEGMENTS = 60
BAR_WIDTH = 1000.0
HALF = 0.5

_CHART = (1080.0, 330.0)
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 16.0, 14.0, 48.0
_OCTAVES = 2.0
"""The chart of shapes spans 1:4 to 4:1 and ×1/4 to ×4; what lies beyond is drawn at the edge."""


def bucket_table(rows: Sequence[BucketRow], batch_size: int) -> Html:
    """A row a bucket: its shape, its images, and its batches with the places that stay empty."""
    most = max((row.batches * batch_size for row in rows), default=1)
    heads = [el("th", text, scope="col") for text in ("shape", "bucket", "images", "an epoch", "batches")]
    body = [_bucket_row(row, batch_size, most) for row in rows]
    return el(
        "table",
        el("caption", "Images in each bucket", class_="unseen"),
        el("thead", el("tr", *heads)),
        el("tbody", *body),
        class_="buckets",
    )


def _bucket_row(row: BucketRow, batch_size: int, most: int) -> Html:
    width, height = row.size
    empty = row.batches * batch_size - row.samples
    return el(
        "tr",
        el("td", _shape(row.size)),
        el("th", f"{width}×{height}", scope="row"),
        el("td", f"{row.files:,}", class_="figure"),
        el("td", f"{row.samples:,}", class_="figure"),
        el(
            "td",
            _bar(row, batch_size, most),
            el("span", _batch_words(row.batches, batch_size, empty), class_="bar-words"),
        ),
    )


def _batch_words(batches: int, batch_size: int, empty: int) -> str:
    """
    >>> _batch_words(28, 1, 0), _batch_words(7, 4, 2)
    ('28 batches', '7 batches of 4, the last one 2 places short')
    """
    of = f" of {batch_size}" if batch_size > 1 else ""
    return counted(batches, "batch") + of + (f", the last one {counted(empty, 'place')} short" if empty else "")


def _shape(size: tuple[int, int]) -> Html:
    side = 30.0
    width, height = side * size[0] / max(*size, 1), side * size[1] / max(*size, 1)
    box = el("rect", x=(34 - width) / 2, y=(34 - height) / 2, width=width, height=height, rx=2, class_="shape")
    return el("svg", box, viewBox="0 0 34 34", width=34, height=34, aria_hidden="true")


def _bar(row: BucketRow, batch_size: int, most: int) -> Html:
    """One block a batch, where there is room to tell them apart."""
    unit = BAR_WIDTH / most
    full, rest = divmod(row.samples, batch_size)
    sizes = [batch_size] * full + ([rest] if rest else [])
    parts = [_segment(0, row.samples * unit, 0, "bar")]
    if len(sizes) <= MOST_SEGMENTS:
        parts = [_segment(place * batch_size * unit, size * unit, 4, "bar") for place, size in enumerate(sizes)]
    if rest:
        parts.append(_segment(row.samples * unit, (batch_size - rest) * unit, 4, "bar-empty"))
    return _plain_bar(*parts)


def _segment(x: float, width: float, gap: float, kind: str) -> Html:
    return el("rect", x=x, width=max(width - gap, 1.0), height=10, class_=kind)


def _plain_bar(*parts: Html) -> Html:
    return el(
        "svg",
        *parts,
        viewBox=f"0 0 {number(BAR_WIDTH)} 10",
        preserveAspectRatio="none",
        class_="bars",
        aria_hidden="true",
    )


def batch_table(choices: Sequence[BatchChoice], used: int) -> Html:
    """The waste of short batches at other batch sizes, to choose by."""
    rows = [
        el(
            "tr",
            el("th", f"{choice.batch_size}" + (" (now)" if choice.batch_size == used else ""), scope="row"),
            el("td", f"{choice.batches:,}", class_="figure"),
            el("td", f"{choice.empty:,}", class_="figure"),
            el("td", f"{_waste(choice):.0%}".replace("%", "\u00a0%"), class_="figure"),
            class_="now" if choice.batch_size == used else None,
        )
        for choice in choices
    ]
    heads = [el("th", text, scope="col") for text in ("batch size", "batches", "empty places", "waste")]
    return el(
        "table",
        el("caption", "An epoch at other batch sizes"),
        el("thead", el("tr", *heads)),
        el("tbody", *rows),
        class_="batches",
    )


def _waste(choice: BatchChoice) -> float:
    places = choice.batches * choice.batch_size
    return choice.empty / places if places else 0.0


def shape_chart(points: Sequence[Point], buckets: Sequence[BucketRow]) -> Html:
    """Every image by its shape and by how much it is scaled; above the line it is enlarged."""
    counts = Counter((round(_octaves(*point.size), 3), round(math.log2(max(point.scale, 1e-9)), 3)) for point in points)
    names: dict[tuple[float, float], str] = {}
    for point in points:
        place = (round(_octaves(*point.size), 3), round(math.log2(max(point.scale, 1e-9)), 3))
        names.setdefault(place, f"{point.name}: {point.size[0]}×{point.size[1]}, scaled ×{point.scale:.2f}")
    dots = [_dot(place, count, names[place]) for place, count in sorted(counts.items())]
    label = f"{counted(len(points), 'image')} by shape and by scaling"
    body = (*_zones(), *_scale_axis(), *_bucket_ticks(buckets), *dots, *_axis_words())
    box = f"0 0 {number(_CHART[0])} {number(_CHART[1])}"
    return el("div", el("svg", *body, viewBox=box, role="img", aria_label=label, class_="chart"), class_="scroll")


def _octaves(width: int, height: int) -> float:
    return math.log2(max(width, 1) / max(height, 1))


def _x(octaves: float) -> float:
    share = (min(max(octaves, -_OCTAVES), _OCTAVES) + _OCTAVES) / (2 * _OCTAVES)
    return _LEFT + share * (_CHART[0] - _LEFT - _RIGHT)


def _y(octaves: float) -> float:
    share = (_OCTAVES - min(max(octaves, -_OCTAVES), _OCTAVES)) / (2 * _OCTAVES)
    return _TOP + share * (_CHART[1] - _TOP - _BOTTOM)


def _zones() -> tuple[Html, ...]:
    width = _CHART[0] - _LEFT - _RIGHT
    middle, bottom = _y(0), _y(-_OCTAVES)
    return (
        el("rect", x=_LEFT, y=_TOP, width=width, height=middle - _TOP, class_="zone-up"),
        el("rect", x=_LEFT, y=middle, width=width, height=bottom - middle, class_="zone-down"),
        _text("enlarged: softer than it looks in a viewer", _CHART[0] - _RIGHT - 8, _TOP + 20, "zone-word up", "end"),
        _text("shrunk", _CHART[0] - _RIGHT - 8, bottom - 10, "zone-word", "end"),
    )


def _scale_axis() -> tuple[Html, ...]:
    marks = []
    for octaves, text in ((2, "×4"), (1, "×2"), (0, "×1"), (-1, "×½"), (-2, "×¼")):
        y = _y(octaves)
        kind = "rule strong" if octaves == 0 else "rule"
        marks.append(el("line", x1=_LEFT, x2=_CHART[0] - _RIGHT, y1=y, y2=y, class_=kind))
        marks.append(_text(text, _LEFT - 8, y + 4, "tick", "end"))
    return tuple(marks)


def _bucket_ticks(buckets: Sequence[BucketRow]) -> tuple[Html, ...]:
    """A line at each bucket's shape; its name where the last one leaves room for it."""
    marks, last = [], -math.inf
    for row in sorted(buckets, key=lambda row: _octaves(*row.size)):
        x = _x(_octaves(*row.size))
        marks.append(el("line", x1=x, x2=x, y1=_TOP, y2=_y(-_OCTAVES) + 5, class_="bucket-line"))
        if x - last >= 70:
            marks.append(_text(f"{row.size[0]}×{row.size[1]}", x, _y(-_OCTAVES) + 18, "tick", "middle"))
            last = x
    return tuple(marks)


def _dot(place: tuple[float, float], count: int, name: str) -> Html:
    others = f" and {count - 1:,} more" if count > 1 else ""
    radius = min(4.0 + 2.2 * math.sqrt(count - 1), 22.0)
    kind = "dot up" if place[1] > 0 else "dot"
    x, y = _x(place[0]), _y(place[1])
    marks = [el("circle", el("title", name + others), cx=x, cy=y, r=radius, class_=kind)]
    if count > 2:
        marks.append(_text(f"{count:,}", x, y + 4, "dot-count", "middle"))
    return join(marks)


def _axis_words() -> tuple[Html, ...]:
    bottom = _CHART[1] - 8
    return (
        _text("← taller", _LEFT, bottom, "axis"),
        _text("buckets by shape", (_LEFT + _CHART[0] - _RIGHT) / 2, bottom, "axis", "middle"),
        _text("wider →", _CHART[0] - _RIGHT, bottom, "axis", "end"),
    )


def length_chart(bins: Sequence[Bin]) -> Html:
    """How many captions have how many words."""
    width, height, base = 360.0, 170.0, 132.0
    most = max((each.captions for each in bins), default=1)
    step = (width - 16) / max(len(bins), 1)
    marks: list[Html] = [el("line", x1=8, x2=width - 8, y1=base, y2=base, class_="rule strong")]
    for place, each in enumerate(bins):
        x, tall = 8 + place * step, (base - 24) * each.captions / most
        marks.append(el("rect", x=x + 2, y=base - tall, width=step - 4, height=tall, rx=2, class_="bar"))
        if each.captions:
            marks.append(_text(f"{each.captions:,}", x + step / 2, base - tall - 6, "bar-count", "middle"))
        label = f"{each.low}" if each.low == each.high else f"{each.low}–{each.high}"
        label = f"{each.low}+" if each.is_open else label
        marks.append(_text(label, x + step / 2, base + 16, "tick", "middle"))
    marks.append(_text("words in a caption", width / 2, height - 4, "axis", "middle"))
    label = "Captions by length: " + ", ".join(f"{each.low} to {each.high} words {each.captions}" for each in bins)
    box = f"0 0 {number(width)} {number(height)}"
    return el("svg", *marks, viewBox=box, role="img", aria_label=label, class_="chart small")


def word_table(words: Sequence[WordShare]) -> Html:
    rows = [
        el(
            "tr",
            el("th", el("bdi", each.word), scope="row", class_="most" if each.share > HALF else None),
            el("td", _plain_bar(el("rect", width=BAR_WIDTH * each.share, height=10, class_="bar"))),
            el("td", f"{each.captions:,}", class_="figure"),
            el("td", f"{each.share:.0%}".replace("%", "\u00a0%"), class_="figure"),
        )
        for each in words
    ]
    heads = [el("th", text, scope="col") for text in ("word", "share", "captions", "")]
    caption = el("caption", "Words that captions share")
    return el("table", caption, el("thead", el("tr", *heads)), el("tbody", *rows), class_="words")


def trigger_chart(places: TriggerPlaces) -> Html:
    """One bar, a part for each place where captions hold the trigger."""
    parts = (
        ("leads", places.leads, "first in the caption"),
        ("later", places.later, "in the middle"),
        ("trails", places.trails, "last"),
        ("absent", places.absent, "absent"),
    )
    total = max(sum(count for _, count, _ in parts), 1)
    x, bars, words = 0.0, [], []
    for kind, count, text in parts:
        if not count:
            continue
        width = BAR_WIDTH * count / total
        bars.append(_segment(x, width, 3, f"part-{kind}"))
        words.append(el("li", el("span", class_=f"key part-{kind}", aria_hidden="true"), f"{text}: {count:,}"))
        x += width
    if places.repeated:
        words.append(el("li", f"more than once: {places.repeated:,}"))
    return join([_plain_bar(*bars), el("ul", *words, class_="legend")])


def _text(text: str, x: float, y: float, kind: str, anchor: Attribute = None) -> Html:
    return el("text", text, x=x, y=y, class_=kind, text_anchor=anchor)
