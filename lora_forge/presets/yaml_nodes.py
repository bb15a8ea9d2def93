"""YAML text → a small tree of scalars, lists and tables, each with its place.

Built from the parser's events rather than its composed nodes: an alias is then
seen as an alias before anything is expanded, and recursion is bounded here.
What a preset never needs (anchors, tags, merge keys, several documents) is
refused by name, all of it at once.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple

from lora_forge.findings import Finding, error
from lora_forge.presets.yaml_scalars import NumberTooLarge, resolve_plain
from lora_forge.settings import Scalar

MAX_BYTES = 1_000_000
MAX_DEPTH = 16
MAX_FINDINGS = 100

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]|[\ud800-\udfff]|\ufeff|[\ufffe-\uffff]")
"""What YAML excludes; as alternatives, since one class of them takes 4 ms to compile."""
_UNSAFE_VALUE = re.compile("[\x00\ud800-\udfff]")
_SHOWN = 60


class Span(NamedTuple):
    """Offsets into the text, end excluded."""

    start: int
    end: int


class ScalarNode(NamedTuple):
    value: Scalar
    span: Span
    block: bool = False


class ListNode(NamedTuple):
    items: tuple[Node, ...]
    span: Span
    block: bool


class TableNode(NamedTuple):
    entries: tuple[Entry, ...]
    span: Span
    block: bool


class Entry(NamedTuple):
    key: str
    span: Span
    node: Node


Node = ScalarNode | ListNode | TableNode


class Document:
    """A text with its name: turns offsets into places, and keeps what was refused."""

    def __init__(self, text: str, label: str) -> None:
        self.text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        self.label = label
        self.findings: list[Finding] = []
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", self.text))]

    def line(self, offset: int) -> int:
        return bisect_right(self._line_starts, offset)

    def place(self, offset: int) -> str:
        line = self.line(offset)
        return f"{self.label}:{line}:{offset - self._line_starts[line - 1] + 1}"

    def line_start(self, offset: int) -> int:
        return self._line_starts[self.line(offset) - 1]

    def refuse(self, code: str, offset: int, message: str, hint: str) -> None:
        """Note an error, up to a bound, so that a hostile file cannot fill the screen."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(error(code, message, hint, self.place(offset)))


class _Stop(Exception):
    """Nothing sensible can be read after this point."""


def compose(document: Document) -> Node | None:
    """The document's root, or None where it is empty or cannot be read; problems go to the document."""
    if not _is_readable(document):
        return None
    try:
        return _Composer(document).root()
    except _Stop:
        return None


def _is_readable(document: Document) -> bool:
    if len(document.text) > MAX_BYTES:
        document.refuse("yaml-too-large", 0, f"The file is larger than {MAX_BYTES:,} bytes.", "Split it.")
    elif found := _UNPRINTABLE.search(document.text):
        character = f"U+{ord(found.group()):04X}"
        message = f"The character {character} is not allowed in YAML."
        document.refuse("yaml-character", found.start(), message, "Delete it and save the file as UTF-8 text.")
    return not document.findings


class _Composer:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._events = _parse(document)

    def root(self) -> Node | None:
        import yaml

        root: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse_documents(event)
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, 1)
        return root

    def _refuse_documents(self, event: Any) -> None:
        message = "A second YAML document starts here; one file holds one."
        self._refuse("yaml-documents", event, message, "Remove the `---` line, or move the rest to its own file.")
        raise _Stop

    def _refuse(self, code: str, event: Any, message: str, hint: str) -> None:
        self._document.refuse(code, event.start_mark.index, message, hint)
        if len(self._document.findings) >= MAX_FINDINGS:
            raise _Stop

    def _node(self, event: Any, depth: int) -> Node | None:
        """One value; None where it was refused, its events consumed all the same."""
        import yaml

        if isinstance(event, yaml.AliasEvent):
            message = f"*{event.anchor} is a YAML alias; aliases are not read."
            self._refuse("yaml-alias", event, message, "Write the value itself.")
            return None
        self._check_bare(event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if depth > MAX_DEPTH:
            message = f"Tables or lists are nested more than {MAX_DEPTH} deep."
            self._refuse("yaml-depth", event, message, "Flatten the file; a preset needs two levels.")
            raise _Stop
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(event, depth)
        return self._table(event, depth)

    def _check_bare(self, event: Any) -> None:
        if event.anchor is not None:
            message = f"&{event.anchor} is a YAML anchor; anchors are not read."
            self._refuse("yaml-anchor", event, message, "Remove it; `extends:` shares values between presets.")
        if event.tag is not None:
            message = f"{event.tag} is an explicit YAML tag; tags are not read."
            self._refuse("yaml-tag", event, message, "Remove it; quote the value if it must stay text.")

    def _scalar(self, event: Any) -> ScalarNode | None:
        span = Span(event.start_mark.index, event.end_mark.index)
        if _UNSAFE_VALUE.search(event.value):
            message = "The text holds an escaped NUL or half a surrogate pair."
            self._refuse("yaml-character", event, message, "Remove the escape.")
            return None
        if event.style:
            return ScalarNode(event.value, span, event.style in "|>")
        try:
            return ScalarNode(resolve_plain(event.value), span)
        except NumberTooLarge:
            message = f"{event.value[:_SHOWN]} is too large for a number."
            self._refuse("yaml-number", event, message, "Write a smaller number, or quote it to keep it text.")
            return None

    def _list(self, start: Any, depth: int) -> ListNode:
        import yaml

        items = []
        event = next(self._events)
        while not isinstance(event, yaml.SequenceEndEvent):
            item = self._node(event, depth + 1)
            items += [item] if item else []
            event = next(self._events)
        return ListNode(tuple(items), _span(start, event), not start.flow_style)

    def _table(self, start: Any, depth: int) -> TableNode:
        import yaml

        entries: dict[str, Entry] = {}
        event = next(self._events)
        while not isinstance(event, yaml.MappingEndEvent):
            key = self._key(event, depth)
            node = self._node(next(self._events), depth + 1)
            if key is not None and key in entries:
                self._refuse_duplicate(event, entries[key])
            elif key is not None and node is not None:
                entries[key] = Entry(key, Span(event.start_mark.index, event.end_mark.index), node)
            event = next(self._events)
        return TableNode(tuple(entries.values()), _span(start, event), not start.flow_style)

    def _refuse_duplicate(self, event: Any, first: Entry) -> None:
        line = self._document.line(first.span.start)
        message = f"The key {first.key!r} is written twice; the first time on line {line}."
        self._refuse("yaml-duplicate-key", event, message, "Keep one of the two.")

    def _key(self, event: Any, depth: int) -> str | None:
        import yaml

        if isinstance(event, yaml.ScalarEvent) and not event.style and event.value == "<<":
            message = "`<<` is a YAML merge key; merge keys are not read."
            self._refuse("yaml-merge-key", event, message, "Use `extends:` or write the keys out.")
            return None
        node = self._node(event, depth + 1)
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            return node.value
        if node is not None:
            self._refuse("yaml-key", event, "A key must be text.", "Quote the key, or write a name.")
        return None


def _span(start: Any, end: Any) -> Span:
    return Span(start.start_mark.index, end.end_mark.index)


def _parse(document: Document) -> Iterator[Any]:
    """The parser's events; a syntax error becomes a finding and ends the reading."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        yield from yaml.parse(document.text, Loader=loader)
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        _refuse_syntax(document, mark.index if mark else 0, wrong.problem or wrong.context or "unreadable")
        raise _Stop from wrong
    except (yaml.YAMLError, ValueError, OverflowError) as wrong:  # the pure-Python parser on odd escapes
        _refuse_syntax(document, 0, str(wrong).partition("\n")[0])
        raise _Stop from wrong


def _refuse_syntax(document: Document, offset: int, problem: str) -> None:
    offset = min(offset, len(document.text))
    start = document.line_start(offset)
    indent = document.text[start : max(offset, start) + 1]
    tabbed = "\t" in indent and not indent.strip()
    hint = "Indent with spaces, not tabs." if tabbed else "Check the indentation, quotes and brackets up to here."
    document.refuse("yaml-syntax", offset, f"This is not valid YAML: {problem}.", hint)
