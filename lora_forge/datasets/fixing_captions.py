"""One caption made fit to train on: UTF-8, one line, no byte order mark, single spaces."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

MAX_BYTES = 65_536
_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "byte order mark removed"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32 written as UTF-8"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32 written as UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16 written as UTF-8"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16 written as UTF-8"),
)
"""What a file says of itself; UTF-32 stands before UTF-16, whose mark is the beginning of its own."""
_LINE_ENDS = re.compile("\r\n|\r|\n")


class Cleaned(NamedTuple):
    """``text`` is None where nothing certain can be made of the bytes; ``reason`` then says why."""

    text: str | None
    changes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def data(self) -> bytes:
        return f"{self.text}\n".encode()


def clean_caption(data: bytes) -> Cleaned:
    r"""Clean the bytes of one caption file.

    >>> clean_caption(b"\xef\xbb\xbfohwx,  a man\r\n\r\nnotes\r\n")[:2]
    ('ohwx, a man', ('byte order mark removed', 'lines after the first left out', 'white space cleaned'))
    >>> clean_caption(b"caf\xe9").reason
    'it is not UTF-8, and which encoding it is in cannot be told for certain'
    """
    changes: list[str] = []
    text = _decode(data, changes)
    if text is None:
        return Cleaned(None, (), "it is not UTF-8, and which encoding it is in cannot be told for certain")
    if "\0" in text or len(data) > MAX_BYTES:
        return Cleaned(None, (), "it holds NUL bytes" if "\0" in text else f"it is larger than {MAX_BYTES:,} bytes")
    line = _first_line(text, changes)
    if not line:
        return Cleaned(None, (), "it is empty")
    return Cleaned(line, tuple(changes))


def one_line(text: str) -> str:
    r"""The caption that a line of text makes: single spaces, nothing at its ends.

    >>> one_line("  a\tman \u00a0 outdoors\n")
    'a man outdoors'
    """
    return " ".join(text.split())


def _decode(data: bytes, changes: list[str]) -> str | None:
    """Only what is certain: a mark, valid UTF-8, or the zero bytes that UTF-16 puts between Latin letters."""
    for mark, encoding, change in _MARKS:
        if data.startswith(mark):
            changes.append(change)
            return _try(data.removeprefix(mark) if encoding == "utf-8" else data, encoding)
    for encoding, zeros, letters in (("utf-16-le", data[1::2], data[::2]), ("utf-16-be", data[::2], data[1::2])):
        if len(data) >= 4 and len(data) % 2 == 0 and not any(zeros) and all(letters):
            changes.append("UTF-16 written as UTF-8")
            return _try(data, encoding)
    return _try(data, "utf-8")


def _try(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _first_line(text: str, changes: list[str]) -> str:
    """The first line that says something; the engine reads the first one, whatever it holds."""
    lines = _LINE_ENDS.split(text)
    filled = [line for line in lines if line.strip()]
    if not filled:
        return ""
    if not lines[0].strip():
        changes.append("empty lines before it left out")
    if len(filled) > 1:
        changes.append("lines after the first left out")
    line = one_line(filled[0])
    if line != filled[0]:
        changes.append("white space cleaned")
    elif not changes and text not in (line, f"{line}\n"):
        changes.append("line ends cleaned")
    return line
