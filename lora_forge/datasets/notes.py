"""Findings gathered while looking at files, bounded where they must be: ten thousand broken files fill no screen."""

from __future__ import annotations

import os

from lora_forge.datasets.remarks import REMARKS
from lora_forge.findings import Finding, error

SHOWN_EACH = 20
SHOWN_TOGETHER = 5


class Notes:
    """Two ways to note: a finding as it stands, or one more file under a remark of the table.

    ``per_file`` says each file with its place; without it many files make one
    sentence a folder, which is what a plan has room for.
    """

    def __init__(self, *, per_file: bool = False) -> None:
        self.per_file = per_file
        self._findings: list[Finding] = []
        self._counts: dict[str, int] = {}
        self._groups: dict[tuple[str, str], dict[str, str]] = {}

    def add(self, finding: Finding) -> None:
        """A finding about the whole."""
        self._findings.append(finding)

    def each(self, code: str, message: str, hint: str, where: str) -> None:
        """An error about one file; in a plan, after the first twenty of a kind they are only counted."""
        self._counts[code] = self._counts.get(code, 0) + 1
        if self.per_file or self._counts[code] <= SHOWN_EACH:
            self._findings.append(error(code, message, hint, where))

    def together(self, code: str, folder: str, name: str, detail: str = "") -> None:
        """One more file of a kind; ``close`` will speak of it."""
        self._groups.setdefault((code, folder), {})[name] = detail

    def close(self, caption_extension: str) -> None:
        """Turn what was noted together into findings, in the order of the table."""
        order = {code: place for place, code in enumerate(REMARKS)}
        for (code, folder), names in sorted(self._groups.items(), key=lambda group: order[group[0][0]]):
            if self.per_file:
                self._findings += [_one(code, folder, name, names[name], caption_extension) for name in names]
            elif REMARKS[code].many:
                self._findings.append(_many(code, folder, list(names), caption_extension))
        self._groups.clear()

    def findings(self) -> list[Finding]:
        """All that was noted, with one line for what was only counted."""
        if self.per_file:
            return self._findings
        beyond = [
            error(code, f"{count - SHOWN_EACH:,} more files have the same problem.")
            for code, count in self._counts.items()
            if count > SHOWN_EACH
        ]
        return self._findings + beyond


def _one(code: str, folder: str, name: str, detail: str, extension: str) -> Finding:
    remark = REMARKS[code]
    words = {"name": printable(name), "detail": printable(detail), "extension": extension}
    where = f"{folder}/{words['name']}" + (":1" if remark.lined else "")
    return Finding(code, remark.severity, remark.one.format(**words), remark.hint.format(**words), where)


def _many(code: str, folder: str, names: list[str], extension: str) -> Finding:
    remark = REMARKS[code]
    words = {"count": f"{len(names):,}", "names": listed(names), "extension": extension}
    hint = remark.hint.format(**words, detail="lower case")
    return Finding(code, remark.severity, remark.many.format(**words), hint, folder)


def listed(names: list[str]) -> str:
    """The first few names.

    >>> listed(["a", "b"]), listed(list("abcdefg"))
    ('a, b', 'a, b, c, d, e and 2 more')
    """
    shown = ", ".join(printable(name) for name in names[:SHOWN_TOGETHER])
    more = len(names) - SHOWN_TOGETHER
    return f"{shown} and {more:,} more" if more > 0 else shown


def counted(count: int, noun: str) -> str:
    """
    >>> counted(1, "image"), counted(2300, "image"), counted(2, "batch")
    ('1 image', '2,300 images', '2 batches')
    """
    plural = noun if count == 1 else f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{count:,} {plural}"


def printable(name: str) -> str:
    r"""A file name as text that can be printed, whatever its bytes are.

    >>> printable("caf\udce9.png")
    'caf\\xe9.png'
    """
    return name if name.isascii() else os.fsencode(name).decode("utf-8", errors="backslashreplace")
