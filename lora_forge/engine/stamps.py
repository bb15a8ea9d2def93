"""Small JSON notes that say a piece of the engine is whole; without its note it counts as half.

A note is the last thing written: temp file, fsync, rename, directory fsync. So
an install killed at any point leaves either the old truth or the new one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from lora_forge.whole_file import write_whole

CHECKOUT_STAMP = "forge-checkout.json"  # inside .git, where the engine's tree stays clean
ENVIRONMENT_STAMP = "ready.json"


class CheckoutStamp(NamedTuple):
    """What was asked for when the checkout was made."""

    repository: str
    commit: str


class EnvironmentStamp(NamedTuple):
    """What the environment was built from; ``torch`` is its version."""

    lock_sha256: str
    python: str
    torch: str


def read_checkout_stamp(checkout: Path) -> CheckoutStamp | None:
    note = _read(checkout / ".git" / CHECKOUT_STAMP)
    if not note.keys() >= set(CheckoutStamp._fields):
        return None
    return CheckoutStamp(*(note[field] for field in CheckoutStamp._fields))


def read_environment_stamp(environment: Path) -> EnvironmentStamp | None:
    note = _read(environment / ENVIRONMENT_STAMP)
    if not note.keys() >= set(EnvironmentStamp._fields):
        return None
    return EnvironmentStamp(*(note[field] for field in EnvironmentStamp._fields))


def write_checkout_stamp(checkout: Path, stamp: CheckoutStamp) -> None:
    _write(checkout / ".git" / CHECKOUT_STAMP, stamp._asdict())


def write_environment_stamp(environment: Path, stamp: EnvironmentStamp) -> None:
    _write(environment / ENVIRONMENT_STAMP, stamp._asdict())


def read_head(checkout: Path) -> str | None:
    """The commit that a detached checkout stands at, read without git; None where there is none."""
    try:
        return (checkout / ".git" / "HEAD").read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _read(path: Path) -> dict[str, str]:
    """The note's text fields, or none at all where it is absent, torn or not ours."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(note, dict) or note.get("schema_version") != 1:
        return {}
    return {key: value for key, value in note.items() if isinstance(value, str)}


def _write(path: Path, fields: dict[str, str]) -> None:
    write_whole(path, json.dumps({"schema_version": 1, **fields}, indent=2).encode())
