"""What an unquoted word in YAML means: YAML 1.2 core, with nothing left to surprise.

PyYAML follows YAML 1.1, where ``no`` is false, ``10:30`` is 630, ``1_000`` is a
number and ``1e-4`` is text. Here only ``true`` and ``false`` are switches, only
plain decimal notation is a number, and everything else is text.
"""

from __future__ import annotations

import math
import re

from lora_forge.settings import Scalar

_INT = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INT_LIMIT = 2**63  # TOML's integers, which is where numbers end up
_INT_DIGITS = 20


class NumberTooLarge(ValueError):
    """A number that neither TOML nor a float can hold."""


def resolve_plain(text: str) -> Scalar:
    """The value of an unquoted scalar; quoted ones are always text.

    Raises:
        NumberTooLarge: for ``1e999`` and for integers beyond 64 bits.

    >>> [resolve_plain(word) for word in ("1e-4", ".5", "16", "true", "~", "no", "10:30", "1_000", "0o17")]
    [0.0001, 0.5, 16, True, None, 'no', '10:30', '1_000', '0o17']
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return _bounded_int(text)
    if _FLOAT.match(text):
        return _bounded_float(text)
    return text


def _bounded_int(text: str) -> int:
    digits = text.lstrip("+-").lstrip("0")
    if len(digits) > _INT_DIGITS or not -_INT_LIMIT <= (number := int(text)) < _INT_LIMIT:
        raise NumberTooLarge(text)
    return number


def _bounded_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NumberTooLarge(text)
    return number
