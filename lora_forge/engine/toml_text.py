"""TOML through the ``toml`` package, guarded: what is written reads back equal, by two readers.

The package is also the engine's own reader, at the same version, so its view of
the text is the one that counts; ``tomllib`` is the second opinion. Its default
dumper corrupts backslashes before ``x`` and control characters, so strings are
written with JSON's escapes, which are a subset of TOML's.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import Union

from lora_forge.errors import PlanError

Plain = Union[str, int, float, bool, list[str], list[float], list[int], "list[dict[str, Plain]]", "dict[str, Plain]"]


def dump_toml(document: Mapping[str, object]) -> str:
    """Render ``document``, or refuse it.

    Raises:
        PlanError: a value is no plain TOML value, or does not survive the round trip.
    """
    import toml

    _check_plain(document, "")
    encoder = toml.TomlEncoder()
    encoder.dump_funcs[str] = _quoted
    encoder.dump_funcs[float] = repr
    encoder.dump_funcs[list] = _list
    text = toml.dumps(dict(document), encoder=encoder)
    for name, read in (("toml", toml.loads), ("tomllib", _second_reader)):
        parsed = _read(read, text)
        if parsed != document:
            raise PlanError(
                f"the rendered TOML reads back differently through {name}: {_difference(document, parsed)}",
                "please report this with the preset and the path names that led to it",
            )
    return text


def _check_plain(value: object, where: str) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_plain(inner, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list):
        if len({type(item) for item in value}) > 1:
            raise PlanError(f"{where}: TOML lists hold one type, got {value!r}", "use one type throughout")
        for item in value:
            _check_plain(item, where)
    elif isinstance(value, str):
        _check_encodable(value, where)
    elif not isinstance(value, (bool, int, float)) or (isinstance(value, float) and not math.isfinite(value)):
        raise PlanError(f"{where}: {value!r} cannot be written as TOML", "use a string, a number, true or false")


def _check_encodable(value: str, where: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise PlanError(f"{where}: {value!r} is not valid UTF-8", "rename the file or folder") from error


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


_LIST_MARKS = ",[]{}#'\""
"""What the ``toml`` reader takes for structure inside a list, even between quotes."""


def _list(items: list[object]) -> str:
    """A list; the marks in its strings are written as escapes, which both readers leave alone."""
    return f"[{', '.join(_item(item) for item in items)}]"


def _item(item: object) -> str:
    if not isinstance(item, str):
        return {True: "true", False: "false"}[item] if isinstance(item, bool) else repr(item)
    return '"' + "".join("\\\\" if c == "\\" else _in_list(c) for c in item) + '"'


def _in_list(char: str) -> str:
    control = ord(char) < 0x20 or ord(char) == 0x7F
    return f"\\u{ord(char):04x}" if control or char in _LIST_MARKS else char


def _read(reader: Callable[[str], object], text: str) -> object:
    """What a reader makes of the text; a reader that breaks on it has read nothing."""
    try:
        return reader(text)
    except (ValueError, IndexError, KeyError, TypeError) as problem:
        return f"it fails with {type(problem).__name__}: {problem}"


def _second_reader(text: str) -> object:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def _difference(document: Mapping[str, object], parsed: object) -> str:
    if not isinstance(parsed, Mapping):
        return repr(parsed)
    return ", ".join(f"{key}: {value!r}" for key, value in document.items() if parsed.get(key) != value)
