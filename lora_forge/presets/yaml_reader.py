"""YAML text → written settings by dotted key, each with its place and its comment.

The comment beside a value is kept as its *why*: what a preset's author noted is
what ``forge plan --explain`` shows. Nothing here raises for what a file holds;
every problem is a finding with ``file:line:column``.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lora_forge.findings import Finding, error
from lora_forge.presets.yaml_nodes import (
    MAX_BYTES,
    Document,
    Entry,
    ListNode,
    Node,
    ScalarNode,
    TableNode,
    compose,
)
from lora_forge.settings import Scalar, Source, Value, Written

_AFTER_VALUE = re.compile(r"[ \t]*,?[ \t]+#[ \t]*([^\n]*)")
_AFTER_KEY = re.compile(r"[\"']?[ \t]*:[^#\n]*[ \t]#[ \t]*([^\n]*)")
_ALONE = re.compile(r"[ \t]*#[ \t]*([^\n]*)\Z")
_EDITOR_LINE = "yaml-language-server:"
_MOST_LINES = 4
_HARMLESS = frozenset({"yaml-duplicate-key", "yaml-nesting"})
"""Mistakes that leave every key of the file in place."""

_ROOTS = {
    "project": ("`preset: identity`", "Write each key on a line of its own; `forge init` begins such a file anew."),
    "preset": ("`network:` with `rank: 16` below it", "See `forge preset show identity`."),
}
"""What a file that is no table should have looked like, and what to try."""


class _Leaf(NamedTuple):
    """One setting before its value is converted; ``why`` is inherited from a one-line table."""

    key: str
    entry: Entry
    why: str


def read_settings(
    text: str, *, source: Source, label: str, leaves: Collection[str], listed: Collection[str] = ()
) -> tuple[dict[str, Written], list[Finding]]:
    """Flatten YAML text to dotted keys; a table stays one value only where its key is in ``leaves``.

    A list whose key is in ``listed`` may hold tables; each becomes the text of a JSON object.

    Unknown tables are flattened too, so that ``netwrok: {rnak: 3}`` reaches the
    did-you-mean as ``netwrok.rnak``.

    >>> settings, _ = read_settings("network: {rank: 16}  # small", source=Source.PRESET, label="a.yaml",
    ...                             leaves={"network.rank"})
    >>> settings["network.rank"].value, settings["network.rank"].where, settings["network.rank"].why
    (16, 'a.yaml:1:11', 'small')
    """
    document = Document(text, label)
    root = compose(document)
    if isinstance(root, TableNode):
        return _write_all(document, root, source, leaves, listed), document.findings
    if root is not None and not (isinstance(root, ScalarNode) and root.value is None):
        example, hint = _ROOTS["project" if source is Source.PROJECT else "preset"]
        message = f"The file must be a table of keys, such as {example}."
        document.refuse("yaml-root", root.span.start, message, hint)
    return {}, document.findings


def read_settings_file(
    path: Path, *, source: Source, label: str, leaves: Collection[str], listed: Collection[str] = ()
) -> tuple[dict[str, Written], list[Finding]]:
    """``read_settings`` on a file; what cannot be opened or decoded is a finding."""
    try:
        data = _read_bounded(path)
    except (OSError, ValueError) as wrong:
        reason = wrong.strerror if isinstance(wrong, OSError) and wrong.strerror else str(wrong)
        return {}, [error("file-unreadable", f"{label} cannot be read: {reason}.", f"Check {label}.", label)]
    if len(data) > MAX_BYTES:
        message = f"{label} is larger than {MAX_BYTES:,} bytes."
        return {}, [error("yaml-too-large", message, "Check that it is the file you meant.", label)]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return {}, [_not_utf8(data, wrong.start, label)]
    return read_settings(text, source=source, label=label, leaves=leaves, listed=listed)


def read_value(text: str, *, label: str) -> tuple[Value, list[Finding]]:
    """One value in YAML flow syntax: ``[a, b]``, ``{a: 1}`` or a quoted text."""
    document = Document(text, label)
    root = compose(document)
    value = None if root is None else _convert(document, root)
    return value, document.findings


def hides_keys(problem: Finding) -> bool:
    """Whether keys that were written may be lost with this mistake, so that a missing one is no second mistake."""
    lost = problem.code.startswith("yaml-") and problem.code not in _HARMLESS
    return lost or problem.code == "file-unreadable"


def sections_of(leaves: Iterable[str]) -> set[str]:
    """Every table that some leaf lies in.

    >>> sorted(sections_of(["a.b.c", "d"]))
    ['a', 'a.b']
    """
    parents: set[str] = set()
    for leaf in leaves:
        parts = leaf.split(".")
        parents.update(".".join(parts[:end]) for end in range(1, len(parts)))
    return parents


def _read_bounded(path: Path) -> bytes:
    """At most one byte more than allowed; a pipe or a device would never end, so it is refused."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _not_utf8(data: bytes, offset: int, label: str) -> Finding:
    before = data[:offset].decode("utf-8")
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    message = f"{label} is not UTF-8: byte 0x{data[offset]:02x} is not text."
    return error("yaml-encoding", message, "Save the file as UTF-8.", f"{label}:{line}:{column}")


def _write_all(
    document: Document, root: TableNode, source: Source, leaves: Collection[str], listed: Collection[str]
) -> dict[str, Written]:
    sections = sections_of(leaves)
    settings: dict[str, Written] = {}
    first: dict[str, int] = {}
    for leaf in _leaves(document, root, "", "", frozenset(leaves)):
        offset = leaf.entry.span.start
        if leaf.key in sections and _is_empty(leaf.entry.node):
            continue
        if leaf.key in settings:
            message = f"{leaf.key} is written twice; the first time on line {document.line(first[leaf.key])}."
            document.refuse("yaml-duplicate-key", offset, message, "Keep one of the two.")
            continue
        node = leaf.entry.node
        is_listed = leaf.key in listed and isinstance(node, ListNode)
        value = _with_tables(document, node) if is_listed else _convert(document, node)
        why = _comment(document, leaf.entry) or leaf.why
        settings[leaf.key] = Written(value, source, document.place(offset), why, _places(document, node))
        first[leaf.key] = offset
    return settings


def _places(document: Document, node: Node) -> dict[str, str]:
    """Where each part of a list or table stands, by its index or key."""
    if isinstance(node, TableNode):
        return {entry.key: document.place(entry.span.start) for entry in node.entries}
    items = node.items if isinstance(node, ListNode) else ()
    return {str(index): document.place(item.span.start) for index, item in enumerate(items)}


def _leaves(document: Document, table: TableNode, prefix: str, why: str, leaves: frozenset[str]) -> Iterator[_Leaf]:
    for entry in table.entries:
        key = prefix + entry.key
        if isinstance(entry.node, TableNode) and entry.node.entries and key not in leaves:
            inherited = "" if entry.node.block else _comment(document, entry) or why
            yield from _leaves(document, entry.node, f"{key}.", inherited, leaves)
        else:
            yield _Leaf(key, entry, why)


def _is_empty(node: Node) -> bool:
    return isinstance(node, TableNode) or (isinstance(node, ScalarNode) and node.value is None)


def _convert(document: Document, node: Node) -> Value:
    if isinstance(node, ScalarNode):
        return node.value
    if isinstance(node, ListNode):
        return _scalars(document, node.items)
    values = ((entry.key, _scalars(document, [entry.node])) for entry in node.entries)
    return {key: scalars[0] for key, scalars in values if scalars}


def _with_tables(document: Document, node: Node) -> Value:
    """A list of plain values and tables, the tables as JSON text."""
    items = node.items if isinstance(node, ListNode) else ()
    found: list[Scalar] = []
    for item in items:
        if isinstance(item, TableNode):
            found.append(json.dumps(_convert(document, item), ensure_ascii=False))
        else:
            found += _scalars(document, [item])
    return found


def _scalars(document: Document, nodes: Iterable[Node]) -> list[Scalar]:
    """The plain values; a list or table among them is refused."""
    found: list[Scalar] = []
    for node in nodes:
        if isinstance(node, ScalarNode):
            found.append(node.value)
        else:
            message = "A list or table lies inside another here; only plain values may."
            document.refuse("yaml-nesting", node.span.start, message, "Write text, a number, true or false.")
    return found


def _comment(document: Document, entry: Entry) -> str:
    """The comment that belongs to a value: behind it, behind its key, or alone on the lines above."""
    found = None
    if entry.node.block:
        found = _AFTER_KEY.match(document.text, entry.span.end)
    else:
        found = _AFTER_VALUE.match(document.text, entry.node.span.end)
    return found.group(1).strip() if found else _comment_above(document, entry.span.start)


def _comment_above(document: Document, offset: int) -> str:
    """The comment lines directly above; a long block is a header or a licence, not a reason."""
    start = document.line_start(offset)
    if document.text[start:offset].strip():  # not the first key on its line
        return ""
    lines: list[str] = []
    while start > 0 and len(lines) <= _MOST_LINES:
        end, start = start - 1, document.line_start(start - 1)
        found = _ALONE.match(document.text[start:end])
        if not found or found.group(1).startswith(_EDITOR_LINE):
            break
        lines.append(found.group(1).strip())
    return "" if len(lines) > _MOST_LINES else " ".join(line for line in reversed(lines) if line)
