"""Findings gathered while scanning, bounded: ten thousand broken files fill no screen."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from lora_forge.findings import Finding, error, info, warning

SHOWN_EACH = 20
SHOWN_TOGETHER = 5


class _Remark(NamedTuple):
    finding: Callable[[str, str, str, str], Finding]
    code: str
    message: str
    hint: str


_REMARKS = (
    _Remark(info, "hidden-files", "Hidden files are skipped ({count}): {names}.", ""),
    _Remark(
        warning,
        "duplicate-stem",
        "Images that share a caption file with another ({count}): {names}.",
        "Rename them, and give each its own caption.",
    ),
    _Remark(
        warning,
        "image-extension",
        "Images that are not what their ending says ({count}): {names}.",
        "Rename or convert them.",
    ),
    _Remark(
        warning,
        "caption-lines",
        "Captions of several lines, of which only the first is read ({count}): {names}.",
        "Put each caption on one line.",
    ),
    _Remark(
        warning,
        "caption-blank",
        "Captions whose first line is blank and which are read as empty ({count}): {names}.",
        "Move the caption to the first line.",
    ),
    _Remark(
        warning,
        "caption-bom",
        "Captions with a byte order mark, which spoils their first word ({count}): {names}.",
        "Save them as UTF-8 without BOM.",
    ),
    _Remark(
        warning,
        "caption-extension",
        "Images without a {extension} caption but with one of another ending ({count}): {names}.",
        "Captions are read from {extension} files; set captions.extension, or rename the files.",
    ),
    _Remark(
        warning,
        "caption-missing",
        "Images without a caption ({count}): {names}.",
        "Write a {extension} file of the same name beside each.",
    ),
)


class Notes:
    """Two ways to note: each file on its own, or many files under one remark."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._counts: dict[str, int] = {}
        self._groups: dict[tuple[str, str], list[str]] = {}

    def add(self, finding: Finding) -> None:
        """A finding about the whole."""
        self._findings.append(finding)

    def each(self, code: str, message: str, hint: str, where: str) -> None:
        """An error about one file; after the first twenty of a kind they are only counted."""
        self._counts[code] = self._counts.get(code, 0) + 1
        if self._counts[code] <= SHOWN_EACH:
            self._findings.append(error(code, message, hint, where))

    def together(self, code: str, folder: str, name: str) -> None:
        """One more file of a kind that ``close`` will report in one sentence."""
        self._groups.setdefault((code, folder), []).append(name)

    def close(self, caption_extension: str) -> None:
        """Turn what was noted together into one sentence a kind and folder, in the order of the table."""
        for remark in _REMARKS:
            for (code, folder), names in self._groups.items():
                if code == remark.code:
                    where = {
                        "extension": caption_extension,
                        "count": f"{len(names):,}",
                        "names": listed(names),
                    }
                    text, hint = remark.message.format(**where), remark.hint.format(**where)
                    self._findings.append(remark.finding(code, text, hint, folder))
        self._groups.clear()

    def findings(self) -> list[Finding]:
        """All that was noted, with one line for what was only counted."""
        beyond = [
            error(code, f"{count - SHOWN_EACH:,} more files have the same problem.")
            for code, count in self._counts.items()
            if count > SHOWN_EACH
        ]
        return self._findings + beyond


def listed(names: list[str]) -> str:
    """The first few names.

    >>> listed(["a", "b"]), listed(list("abcdefg"))
    ('a, b', 'a, b, c, d, e and 2 more')
    """
    shown = ", ".join(printable(name) for name in names[:SHOWN_TOGETHER])
    more = len(names) - SHOWN_TOGETHER
    return f"{shown} and {more:,} more" if more > 0 else shown


def printable(name: str) -> str:
    r"""A file name as text that can be printed, whatever its bytes are.

    >>> printable("caf\udce9.png")
    'caf\\xe9.png'
    """
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")
