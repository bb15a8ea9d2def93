r"""Captions as a sheet that a person edits: CSV for spreadsheets, a Markdown table for text editors.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a
formula, which may run commands; such cells get an apostrophe in front, which
reading takes away again. CSV is written with a byte order mark, without which
Excel reads UTF-8 as something else; all it may make of it is read back: other
separators, UTF-16, line ends within a cell.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lora_forge.datasets.fixing_captions import one_line
from lora_forge.errors import DatasetError
from lora_forge.findings import Finding, error, info, warning
from lora_forge.whole_file import write_whole

HEADER = ("image", "caption")
MAX_BYTES = 64 * 1024 * 1024
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_SEPARATORS = (",", ";", "\t")


class Row(NamedTuple):
    """``surplus`` cells stand behind the last column: the caption was torn apart, and what is left is not it."""

    image: str
    caption: str
    line: int = 0
    surplus: int = 0


def write_sheet(file: Path, rows: Iterable[Row]) -> None:
    """Write a sheet, whole or not at all; the ending of its name decides the form.

    Raises:
        DatasetError: the name ends in neither, or the file cannot be written.
    """
    data = _markdown(rows).encode() if _is_markdown(file) else codecs.BOM_UTF8 + _csv(rows).encode()
    try:
        write_whole(file, data)
    except OSError as wrong:
        raise DatasetError(f"the sheet {file} cannot be written: {wrong.strerror or wrong}", "another place") from wrong


def read_sheet(file: Path) -> tuple[list[Row], list[Finding]]:
    """The rows of a sheet that a person has edited; what is wrong is told by line.

    Raises:
        DatasetError: it cannot be read as a sheet at all.
    """
    text = _decoded(file)
    rows = _read_markdown(text) if _is_markdown(file) else _read_csv(text, file)
    findings: list[Finding] = []
    kept: dict[str, Row] = {}
    for row in rows:
        if row.surplus:
            findings.append(_torn(row, file))
            continue
        if row.image in kept:
            message = f"{row.image} stands in the sheet twice; the first time on line {kept[row.image].line}."
            findings.append(error("sheet-twice", message, "Keep one of the two.", f"{file}:{row.line}"))
            continue
        caption = one_line(row.caption)
        if len([line for line in row.caption.splitlines() if line.strip()]) > 1:
            message = f"The caption of {row.image} has several lines, which are put on one."
            findings.append(info("sheet-lines", message, "", f"{file}:{row.line}"))
        kept[row.image] = Row(row.image, caption, row.line)
    if not rows:
        findings.append(warning("sheet-empty", f"{file} holds no rows.", "", str(file)))
    return list(kept.values()), findings


def _torn(row: Row, file: Path) -> Finding:
    cells = "1 cell" if row.surplus == 1 else f"{row.surplus} cells"
    message = f"The row of {row.image} has {cells} too many, so a separator parts its caption. It is not read."
    bar, comma = r"Write a bar in a caption as \|.", 'Put the caption in quotes: "a man, smiling".'
    return error("sheet-torn", message, bar if _is_markdown(file) else comma, f"{file}:{row.line}")


def guarded(text: str) -> str:
    """Text that no spreadsheet takes for a formula.

    >>> guarded("=1+1"), guarded("a=b"), guarded("'=1"), unguarded(guarded("'=1"))
    ("'=1+1", 'a=b', "''=1", "'=1")
    """
    return f"'{text}" if _needs_guard(text) else text


def unguarded(text: str) -> str:
    """What ``guarded`` was given."""
    return text[1:] if text.startswith("'") and _needs_guard(text[1:]) else text


def _needs_guard(text: str) -> bool:
    """Also text that already looks guarded, so that the way back is certain."""
    return text.startswith(_FORMULA) or (text.startswith("'") and text.lstrip("'").startswith(_FORMULA))


def _is_markdown(file: Path) -> bool:
    ending = file.suffix.lower()
    if ending not in (".csv", ".md"):
        raise DatasetError(f"the sheet {file} ends in neither .csv nor .md", "name it captions.csv or captions.md")
    return ending == ".md"


def _csv(rows: Iterable[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(HEADER)
    writer.writerows([guarded(row.image), guarded(row.caption)] for row in rows)
    return out.getvalue()


def _markdown(rows: Iterable[Row]) -> str:
    lines = ["| image | caption |", "| --- | --- |"]
    lines += [f"| {_escaped(row.image)} | {_escaped(row.caption)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("\r", " ")


def _decoded(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as wrong:
        raise DatasetError(f"the sheet {file} cannot be read: {wrong.strerror or wrong}", "--from FILE") from wrong
    if len(data) > MAX_BYTES:
        raise DatasetError(f"the sheet {file} is larger than {MAX_BYTES:,} bytes", "check that it is the right file")
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = data[: wrong.start].count(b"\n") + 1
        message = f"the sheet {file} is not UTF-8 (line {line})"
        raise DatasetError(message, "save it as “CSV UTF-8”") from wrong


def _read_csv(text: str, file: Path) -> list[Row]:
    first = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows: list[Row] = []
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        image, caption = _columns(header, file)
        for cells in reader:
            if len(cells) > image and cells[image].strip():
                said = cells[caption] if len(cells) > caption else ""
                surplus = _surplus(cells, len(header))
                rows.append(Row(unguarded(cells[image]), unguarded(said), reader.line_num, surplus))
    except csv.Error as wrong:
        raise DatasetError(f"{file}:{reader.line_num} is no CSV: {wrong}", "save it as “CSV UTF-8” again") from wrong
    return rows


def _columns(header: Sequence[str], file: Path) -> tuple[int, int]:
    """Where the two columns are; others may stand beside them."""
    if not set(HEADER) <= set(header):
        shown = ", ".join(header) or "nothing"
        raise DatasetError(f"{file} has the columns {shown}; image and caption are needed", "keep the first line")
    return header.index("image"), header.index("caption")


def _read_markdown(text: str) -> list[Row]:
    """Every line that begins with a bar is a row; the first two are the header."""
    table = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    cells = [(number, _cells(line)) for number, line in table if line.startswith("|")]
    body = [(number, row) for number, row in cells[2:] if row and row[0]]
    columns = len(cells[0][1]) if cells else 0
    return [Row(row[0], row[1] if len(row) > 1 else "", number, _surplus(row, columns)) for number, row in body]


def _surplus(cells: Sequence[str], columns: int) -> int:
    """How many cells stand behind the last column; empty ones are a spreadsheet's padding."""
    behind = [place for place, cell in enumerate(cells) if place >= columns and cell.strip()]
    return behind[-1] - columns + 1 if behind else 0


def _cells(line: str) -> list[str]:
    """The cells between bars; a bar or a backslash after a backslash stands for itself."""
    cells, cell, escaped = [], "", False
    for char in line[1:]:
        if escaped:
            cell += char if char in "\\|" else f"\\{char}"
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == "|":
            cells.append(cell.strip())
            cell = ""
        else:
            cell += char
    return cells if not cell.strip() else [*cells, cell.strip()]
