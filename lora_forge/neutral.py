"""Foreign text made harmless: nothing in it can steer a terminal or a CI runner."""

from __future__ import annotations

import re
from typing import TextIO

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]")
COMMAND_AT_START = re.compile(r"^(\s*):(?=:)", re.MULTILINE)
COMMAND_ANYWHERE = re.compile(r"#(?=#(?:\[|vso\[|teamcity\[))", re.IGNORECASE)


def neutral(text: str) -> str:
    """Show foreign text as text: no colours, no control characters, no CI commands; lines stay lines.

    >>> neutral("a\\x1b[31mred\\x1b[0m\\u202e b"), neutral("::error::no"), neutral("x ##[error]no")
    ('ared\\\\u202e b', ': :error::no', 'x # #[error]no')
    """
    shown = "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in ESCAPES.sub("", text))
    return without_commands(shown)


def without_commands(text: str) -> str:
    """Break the marks by which CI runners take a line of output for a command.

    GitHub reads ``::`` at the start of a line, blanks ignored, and ``##[`` anywhere
    in it; Azure ``##vso[``, TeamCity ``##teamcity[``.
    """
    return COMMAND_ANYWHERE.sub("# ", COMMAND_AT_START.sub(r"\1: ", text))


def json_without_commands(text: str) -> str:
    """Do the same inside JSON by an escape, so that every value stays what it was.

    >>> import json
    >>> json.loads(json_without_commands('"##[error]"'))
    '##[error]'
    """
    return COMMAND_ANYWHERE.sub(r"\\u0023", text)


def one_line(text: str, most: int = 400) -> str:
    """Neutral text in one line, cut where it is long."""
    line = " ".join(neutral(text).split())
    return line if len(line) <= most else line[: most - 2].rstrip() + " …"


def _escaped(char: str) -> str:
    return " " if char == "\t" else repr(char)[1:-1]


class CommandFilter:
    """A text stream on which no line is a CI command; in all else it is the stream that it wraps."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(without_commands(text))

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
