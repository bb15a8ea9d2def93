"""Markup that escapes by default: only what was built here passes into a page as it is.

Captions and file names are foreign text. A child that is no ``Html`` is escaped
wherever it lands, so that forgetting something shows as ``&lt;`` and never runs.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable
from typing import Union

Attribute = Union[str, int, float, bool, None]

_VOID = frozenset({"img", "meta", "br", "input"})
_TURNS_TEXT = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def el(name: str, /, *children: str, **attributes: Attribute) -> Html:
    """One element; an attribute's ``_`` stands for ``-``, a trailing one is dropped, None leaves it out.

    >>> el("p", "1 < 2", el("b", "x"), class_="note", hidden=True)
    '<p class="note" hidden>1 &lt; 2<b>x</b></p>'
    """
    opening = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{opening}>")
    return Html(f"<{name}{opening}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Parts one after another, each escaped unless it is markup."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def escape(text: str) -> Html:
    return Html(html.escape(visible(text)))


def visible(text: str) -> str:
    r"""What cannot be seen but acts, as an escape: control characters, and those that turn text around.

    Joiners and marks that scripts and emoji need stay as they are.

    >>> visible("a\x1b[1m\u202eb\udce9"), visible("line\nnext")
    ('a\\x1b[1m\\u202eb\\udce9', 'line\nnext')
    """
    return "".join(_seen(character) for character in text)


def number(value: float) -> str:
    """At most two digits after the point, and none that say nothing.

    >>> number(3.0), number(12.345), number(-0.001)
    ('3', '12.35', '0')
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _seen(character: str) -> str:
    if character in "\n\t":
        return character
    if character in _TURNS_TEXT or unicodedata.category(character) in ("Cc", "Cs"):
        return character.encode("unicode_escape").decode("ascii")
    return character


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = number(value) if isinstance(value, float) else str(value)
    return f' {name}="{escape(text)}"'
