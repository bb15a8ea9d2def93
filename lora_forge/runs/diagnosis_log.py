"""Reading a log of any size: a bounded piece of its head and of its tail, as lines that a person would see."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from lora_forge.errors import InvalidInput
from lora_forge.neutral import ESCAPES

HEAD_BYTES = 256 * 1024
TAIL_BYTES = 1024 * 1024
LONGEST_LINE = 2000
"""Longer lines are cut: no message is, and patterns stay quick."""

ENDED_WELL = re.compile(r"\bmodel saved\.\s*$")
"""The engine's last word after a training that ran to its end (train_network.py)."""

RICH_START = re.compile(r"^(?:[\d:/ \[\]-]{19,23}|\s{19,22}) ?(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+(?P<said>.*)$")
RICH_PLACE = re.compile(r"\s+[\w-]+\.py:\d+\s*$")
RICH_INDENT = " " * 20
RICH_WIDTH = 51
"""The engine's rich handler wraps at 80 columns, of which time and level take 29: a path is cut in the middle."""


def read_log(path: Path) -> list[str]:
    """Read the lines that matter, in order; memory does not grow with the file.

    Raises:
        InvalidInput: it is not there or cannot be read.
    """
    if path.exists() and not path.is_file():  # a device never ends, and a pipe may never begin
        raise InvalidInput(f"{str(path)!r} is no file", "name a log file or a run")
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            if size <= HEAD_BYTES + TAIL_BYTES:
                return seen_lines(file.read())
            head = file.read(HEAD_BYTES)
            file.seek(size - TAIL_BYTES)
            return seen_lines(head) + seen_lines(file.read())
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise InvalidInput(f"the log {str(path)!r} cannot be read: {reason}", "name a log file or a run") from problem


def seen_lines(raw: bytes) -> list[str]:
    """Split as a terminal would show it; a progress bar that overwrote itself counts once.

    >>> seen_lines(b"steps: 1/9 a\\rsteps: 2/9 b\\nboom\\x1b[0m\\n")
    ['steps: 2/9 b', 'boom']
    """
    text = ESCAPES.sub("", raw.decode("utf-8", errors="replace"))
    return list(_unwrapped(_last_states(re.split(r"[\r\n]+", text))))


def ended_well(lines: Sequence[str]) -> bool:
    """Whether the engine said that it saved the model and nothing failed after that."""
    for line in reversed(lines):
        if ENDED_WELL.search(line):
            return True
        if re.match(r"Traceback|\s*(?:[\w.]+\.)?\w*(?:Error|Exception)\b", line):
            return False
    return False


def _last_states(lines: Sequence[str]) -> Iterator[str]:
    """Of the states of one progress bar in a row only the last."""
    kept: str | None = None
    for line in (line[:LONGEST_LINE].rstrip() for line in lines):
        if not line:
            continue
        if kept is not None and not (_bar(kept) and _bar(kept) == _bar(line)):
            yield kept
        kept = line
    if kept is not None:
        yield kept


def _bar(line: str) -> str | None:
    match = re.match(r"\s*([\w ]{1,30}):\s*\d+(?:%|/)", line)
    return match[1] if match else None


def _unwrapped(lines: Iterator[str]) -> Iterator[str]:
    """Join what the rich handler wrapped; other lines pass as they are."""
    block: list[str] = []
    for line in lines:
        start = RICH_START.match(line)
        goes_on = block and line.startswith(RICH_INDENT) and not start
        if not goes_on and block:
            yield _joined(block)
            block = []
        if start:
            block = [RICH_PLACE.sub("", start["said"]).rstrip()]
        elif goes_on:
            block.append(line.strip())
        else:
            yield line
    if block:
        yield _joined(block)


def _joined(block: Sequence[str]) -> str:
    """Put a wrapped message together: a piece that fills its column and has no blank was cut within a word."""
    width = max(map(len, block))
    text = block[0]
    for before, piece in pairwise(block):
        cut = len(before) == width and " " not in before
        text += piece if cut else f" {piece}"
    return text
