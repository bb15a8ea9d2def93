"""The guest's law, which no import contract can hold: its files are no package, and run in the engine's Python."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "lora_forge"
GUEST = sorted((PACKAGE / "guest").glob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file names, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


@pytest.mark.parametrize("path", GUEST, ids=lambda path: path.name)
def test_the_guest_imports_nothing_of_forge(path: Path) -> None:
    assert not [name for name in imported(path) if name.startswith((".", "lora_forge"))]


def test_forge_imports_nothing_of_the_guest() -> None:
    own = {path.stem for path in GUEST}
    outside = [path for path in PACKAGE.rglob("*.py") if path not in GUEST]
    found = [(path.name, name) for path in outside for name in imported(path) if "guest" in name.split(".")]
    assert outside
    assert not found
    assert not [path.name for path in outside if own & {name for name in imported(path) if "." not in name}]
