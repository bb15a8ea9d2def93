"""The contact sheet: every image with what the engine will do to it drawn over the picture."""

from __future__ import annotations

from lora_forge.datasets.notes import counted
from lora_forge.datasets.report_data import Card, Fit
from lora_forge.datasets.report_markup import Html, el, join, number
from lora_forge.datasets.size_checks import MOST_ENLARGED
from lora_forge.findings import Finding, Severity

CAPTION_SHOWN = 260
CAPTION_KEPT = 2000
ALT_KEPT = 240
FINDINGS_SHOWN = 5
LONGER_SIDE = 400.0
UPSCALE_SHOWN = 1.005


def sheet(cards: tuple[Card, ...], *, total: int, random_crop: bool) -> Html:
    """All cards, with a legend of the marks and the means to filter them."""
    left_out = total - len(cards)
    note = el(
        "p",
        f"{counted(len(cards), 'image')} of {total:,} are shown: those with findings first, the others evenly chosen.",
        class_="remark",
    )
    return join(
        [
            _legend(random_crop),
            note if left_out else Html(),
            _filters(),
            el("ol", *(card_item(index, card, random_crop) for index, card in enumerate(cards, 1)), class_="sheet"),
        ]
    )


def card_item(index: int, card: Card, random_crop: bool) -> Html:
    severity = card.severity.value if card.severity else "clean"
    return el(
        "li",
        el(
            "figure",
            _frame(card),
            el("figcaption", *_words(index, card), _badges(card, random_crop), _remarks(card)),
        ),
        class_=f"card {severity}",
        id=f"i{index}",
        data_severity=severity,
    )


def _words(index: int, card: Card) -> tuple[Html, ...]:
    place = el("span", f"{card.folder}/", class_="folder") if card.folder else Html()
    name = el("h3", el("span", f"{index}", class_="index", aria_hidden="true"), el("bdi", place, card.name))
    if card.caption:
        return name, _caption(card.caption)
    if card.trained_caption:
        return name, el(
            "p", "no caption; trains as ", el("bdi", card.trained_caption), class_="caption none", dir="auto"
        )
    return name, el("p", "no caption", class_="caption none")


def _caption(text: str) -> Html:
    if len(text) <= CAPTION_SHOWN:
        return el("p", text, class_="caption", dir="auto")
    cut = text.rfind(" ", 0, CAPTION_SHOWN) + 1 or CAPTION_SHOWN
    more = text[cut:CAPTION_KEPT] + ("…" if len(text) > CAPTION_KEPT else "")
    summary = f"all {len(text):,} characters"
    return join(
        [
            el("p", text[:cut].rstrip() + "…", class_="caption", dir="auto"),
            el("details", el("summary", summary), el("p", "…" + more, class_="caption", dir="auto"), class_="more"),
        ]
    )


def _frame(card: Card) -> Html:
    """The picture in the shape that the engine scales it to, with the marks in the same coordinates."""
    thumbnail = card.thumbnail
    if not thumbnail.uri:
        return el("div", el("p", "cannot be drawn: " + thumbnail.problem), class_="frame empty")
    alt = card.caption or card.trained_caption or f"{card.name}, without a caption"
    image = el(
        "img",
        src=thumbnail.uri,
        width=thumbnail.width,
        height=thumbnail.height,
        alt=alt if len(alt) <= ALT_KEPT else alt[:ALT_KEPT] + "…",
        loading="lazy",
        decoding="async",
    )
    shape = "wide" if thumbnail.width >= thumbnail.height else "tall"
    return el(
        "div", el("div", image, overlay(card.fit, card.size), class_=f"mount {shape}"), _chip(card.fit), class_="frame"
    )


def overlay(fit: Fit, size: tuple[int, int]) -> Html:
    """Shaded is what is cut off; the dashed line holds as many pixels as the file really has."""
    longest = max(size)
    width, height = LONGER_SIDE * size[0] / longest, LONGER_SIDE * size[1] / longest
    marks = []
    if not fit.is_possible:
        marks.append(el("rect", width=width, height=height, class_="cut"))
    elif fit.is_cropped:
        marks += _crop_marks(fit, width, height)
    if fit.is_possible and fit.scale > UPSCALE_SHOWN:
        marks.append(_pixels_mark(fit, width, height))
    if not marks:
        return Html()
    box = f"0 0 {number(width)} {number(height)}"
    return el("svg", *marks, class_="overlay", viewBox=box, preserveAspectRatio="none", aria_hidden="true")


def _crop_marks(fit: Fit, width: float, height: float) -> tuple[Html, ...]:
    left, top, right, bottom = _kept(fit, width, height)
    outer = f"M0 0H{number(width)}V{number(height)}H0Z"
    inner = f"M{number(left)} {number(top)}V{number(bottom)}H{number(right)}V{number(top)}Z"
    line = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    return (
        el("path", d=outer + inner, fill_rule="evenodd", class_="cut"),
        el("path", d=outer + inner, fill_rule="evenodd", fill="url(#hatch)"),
        el("rect", **line, class_="halo"),
        el("rect", **line, class_="kept"),
    )


def _pixels_mark(fit: Fit, width: float, height: float) -> Html:
    left, top, right, bottom = _kept(fit, width, height)
    own_width, own_height = (right - left) / fit.scale, (bottom - top) / fit.scale
    box = {
        "x": (left + right - own_width) / 2,
        "y": (top + bottom - own_height) / 2,
        "width": own_width,
        "height": own_height,
    }
    return el("g", el("rect", **box, class_="halo"), el("rect", **box, class_="pixels"))


def _kept(fit: Fit, width: float, height: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = fit.margins
    return left * width, top * height, (1 - right) * width, (1 - bottom) * height


def _chip(fit: Fit) -> Html:
    """The same in words, over the picture's lower edge."""
    parts = []
    if fit.is_possible and fit.is_cropped:
        (wide, high), halves = fit.cropped, []
        halves += [f"{_split(wide)} left and right"] if wide else []
        halves += [f"{_split(high)} top and bottom"] if high else []
        parts.append(el("span", "✂ " + ", ".join(halves), class_="cropped"))
    if fit.is_possible and fit.scale > UPSCALE_SHOWN:
        parts.append(el("span", f"⤢ ×{fit.scale:.2f}", class_="upscaled"))
    return el("p", *parts, class_="chip") if parts else Html()


def _split(pixels: int) -> str:
    """
    >>> _split(64), _split(33)
    ('32 px', '16 + 17 px')
    """
    near, far = pixels // 2, pixels - pixels // 2
    return f"{near} px" if near == far else f"{near} + {far} px"


def _badges(card: Card, random_crop: bool) -> Html:
    badges = [_badge(text, kind) for text, kind in badge_texts(card, random_crop)]
    return el("ul", *badges, class_="badges")


def badge_texts(card: Card, random_crop: bool = False) -> list[tuple[str, str]]:
    """What is worth knowing at a glance, each with how grave it is."""
    fit, thumbnail = card.fit, card.thumbnail
    badges = [(f"{card.size[0]}×{card.size[1]} → {fit.bucket[0]}×{fit.bucket[1]}", "plain")]
    if not fit.is_possible:
        badges.append(("too narrow for any bucket", "error"))
    elif fit.is_cropped:
        where = " at random" if random_crop else ""
        badges.append((f"cropped {_percent(fit.lost)}{where}", "warning" if fit.is_much_cropped else "info"))
    if fit.is_possible and fit.scale > UPSCALE_SHOWN:
        badges.append((f"upscaled ×{fit.scale:.2f}", "warning" if fit.scale > MOST_ENLARGED else "info"))
    if thumbnail.turned:
        badges.append((f"viewers show it {thumbnail.turned}", "warning"))
    if thumbnail.has_alpha:
        badges.append(("transparency dropped", "warning"))
    if thumbnail.problem:
        badges.append(("cannot be decoded", "error"))
    if card.is_reg:
        badges.append(("regularization", "plain"))
    if card.has_own_repeats:
        badges.append((counted(card.repeats, "repeat"), "plain"))
    return badges


def _badge(text: str, kind: str) -> Html:
    return el("li", text, class_=f"badge {kind}")


def _percent(share: float) -> str:
    r"""With a space that does not break.

    >>> _percent(0.006), _percent(0.25), _percent(0.9991)
    ('0.6\xa0%', '25\xa0%', '99.9\xa0%')
    """
    return f"{share:.1%}".replace("%", "\u00a0%").replace(".0\u00a0", "\u00a0")


def _remarks(card: Card) -> Html:
    if not card.findings:
        return Html()
    shown = [_remark(finding, card) for finding in card.findings[:FINDINGS_SHOWN]]
    more = len(card.findings) - FINDINGS_SHOWN
    if more > 0:
        shown.append(el("li", f"and {counted(more, 'finding')} more"))
    return el("ul", *shown, class_="remarks")


def _remark(finding: Finding, card: Card) -> Html:
    return el("li", finding.message.removeprefix(f"{card.name}: "), class_=finding.severity.value)


def _legend(random_crop: bool) -> Html:
    how = (
        "at a place that changes every time (random_crop); drawn in the middle" if random_crop else "around the middle"
    )
    return el(
        "ul",
        el("li", el("span", class_="key cut-key", aria_hidden="true"), f"shaded: cut off {how}"),
        el("li", el("span", class_="key kept-key", aria_hidden="true"), "line: what is trained"),
        el(
            "li",
            el("span", class_="key pixels-key", aria_hidden="true"),
            "dashed: as many pixels as the file has; the rest is invented by enlarging",
        ),
        class_="legend",
    )


def _filters() -> Html:
    """The box hides the marks without a script; the two others appear only where a script runs."""
    severities = [("", "every image"), ("any", "with findings"), *((each.value, f"{each.value}s") for each in Severity)]
    options = [el("option", text, value=value) for value, text in severities]
    return el(
        "form",
        el("label", el("input", type="checkbox", id="marks", checked=True, autocomplete="off"), " crop marks"),
        el(
            "span",
            el("label", "show ", el("select", *options, id="severity", autocomplete="off")),
            el(
                "label",
                "find ",
                el("input", type="search", id="words", placeholder="name or caption", autocomplete="off"),
            ),
            el("output", id="shown", for_="severity words"),
            id="scripted",
            hidden=True,
        ),
        class_="filters",
        role="search",
    )
