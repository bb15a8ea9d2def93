"""Which commit of forge runs, where it runs from a checkout of its own."""

from __future__ import annotations

import re
from pathlib import Path

import lora_forge

COMMIT = re.compile(r"[0-9a-f]{40,64}")


def source_commit(root: Path = Path(lora_forge.__file__).parents[1]) -> str | None:
    """Read ``.git`` without git; None for an installed forge, which has no checkout around it.

    What was edited since the commit is not noticed: that would cost a look at every file.
    """
    if not (root / "pyproject.toml").is_file():
        return None
    folder = _git_folder(root / ".git")
    head = _first_line(folder / "HEAD") if folder else ""
    if folder is None or not head.startswith("ref: "):
        return _commit(head)
    common = folder / (_first_line(folder / "commondir") or ".")  # a worktree shares its references
    name = head.removeprefix("ref: ")
    return _commit(_first_line(common / name)) or _packed(common / "packed-refs", name)


def _git_folder(place: Path) -> Path | None:
    """``.git``, or the folder that a worktree's ``.git`` file names."""
    if place.is_dir():
        return place
    line = _first_line(place)
    return place.parent / line.removeprefix("gitdir: ") if line.startswith("gitdir: ") else None


def _packed(file: Path, name: str) -> str | None:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((_commit(line.split()[0]) for line in lines if line.split()[1:] == [name]), None)


def _commit(text: str) -> str | None:
    return text if COMMIT.fullmatch(text) else None


def _first_line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""
