"""A finding: one problem or remark, as a value, so that all of them come at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(str, Enum):
    """``error`` stops a run; ``warning`` and ``info`` only speak."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """What was noticed, why it matters, and one thing to try.

    ``code`` is stable, kebab-case and made for scripts; ``where`` is a file with
    line and column (``style.yaml:12:3``), a path, or a dotted preset key.
    """

    code: str
    severity: Severity
    message: str
    hint: str = ""
    where: str = ""

    def as_json(self) -> dict[str, str]:
        return {**vars(self), "severity": self.severity.value}


def error(code: str, message: str, hint: str = "", where: str = "") -> Finding:
    return Finding(code=code, severity=Severity.ERROR, message=message, hint=hint, where=where)


def warning(code: str, message: str, hint: str = "", where: str = "") -> Finding:
    return Finding(code=code, severity=Severity.WARNING, message=message, hint=hint, where=where)


def info(code: str, message: str, hint: str = "", where: str = "") -> Finding:
    return Finding(code=code, severity=Severity.INFO, message=message, hint=hint, where=where)
