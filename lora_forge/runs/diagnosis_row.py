"""One row of the table of causes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lora_forge.errors import ForgeError


@dataclass(frozen=True)
class Cause:
    """One row: how a log betrays it, what happened in one sentence, what to try.

    ``{name}`` in ``what`` and ``hint`` is a named group of the pattern that
    matched. ``seen`` says how sure the wording is: R reproduced, S read in the
    source of the engine or a library, I known from reports. ``remark`` rows are
    warnings that speak only where nothing else explains the end.
    """

    code: str
    error: type[ForgeError]
    what: str
    hint: str
    signs: tuple[re.Pattern[str], ...]
    seen: str
    source: str
    remark: bool = False


def cause(
    code: str, error: type[ForgeError], what: str, hint: str, *signs: str, seen: str, source: str, remark: bool = False
) -> Cause:
    return Cause(code, error, what, hint, tuple(re.compile(sign) for sign in signs), seen, source, remark)
