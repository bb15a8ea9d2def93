"""One line of the user's own settings file, changed in place: all else in it stays as it was written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lora_forge.errors import ProjectError
from lora_forge.presets.files import write_over, yaml_text
from lora_forge.presets.yaml_nodes import Document, Entry, ScalarNode, TableNode, compose
from lora_forge.presets.yaml_reader import read_settings
from lora_forge.settings import Source, Value

_TABLE = "models"


def set_in_file(file: Path, key: str, value: str) -> None:
    """Write ``models.<key>`` into a settings file, which is made if there is none.

    The changed text is read back before it is written: everything else must say
    what it said before, or nothing is changed.

    Raises:
        ProjectError: the file cannot be read or written, or its shape allows no safe change.
    """
    try:
        before = file.read_text(encoding="utf-8") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as wrong:
        raise ProjectError(f"{file} cannot be read: {wrong}", "mend it, or move it away") from wrong
    text = with_setting(before, key, value, label=str(file))
    try:
        write_over(file, text)
    except OSError as wrong:
        raise ProjectError(f"{file} cannot be written: {wrong.strerror or wrong}", "check its permissions") from wrong


def with_setting(text: str, key: str, value: str, *, label: str) -> str:
    """The text with ``models.<key>`` set, and nothing else different.

    >>> print(with_setting("models:\\n  ae: /ae  # mine\\n", "model", "/flux", label="f"), end="")
    models:
      ae: /ae  # mine
      model: /flux
    """
    document = Document(text, label)
    root = compose(document)
    if document.findings or (root is not None and not isinstance(root, TableNode | ScalarNode)):
        raise ProjectError(f"{label} has mistakes and was not changed.", "mend them first", findings=document.findings)
    entries = root.entries if isinstance(root, TableNode) else ()
    models = next((entry for entry in entries if entry.key == _TABLE), None)
    changed = _changed(document, models, key, value) if _is_block(root) else None
    expected = {**_said(document.text, label), f"{_TABLE}.{key}": value}
    if changed is None or _said(changed, label) != expected:
        hint = f"write it there yourself, under {_TABLE}:   {key}: {yaml_text(value)}"
        raise ProjectError(f"{label} is written in a way that cannot be changed safely; it was left as it is.", hint)
    return changed


def _changed(document: Document, models: Entry | None, key: str, value: str) -> str | None:
    line = f"{key}: {yaml_text(value)}\n"
    text = document.text if document.text.endswith("\n") or not document.text else document.text + "\n"
    if models is None:
        return f"{text}{_TABLE}:\n  {line}"
    if isinstance(models.node, ScalarNode) and models.node.value is None:
        return _insert_after(text, models.span.end, f"  {line}")
    if not isinstance(models.node, TableNode) or not models.node.block:
        return None
    present = next((entry for entry in models.node.entries if entry.key == key), None)
    if present is None:
        return _inserted(document, models.node, text, line)
    if not isinstance(present.node, ScalarNode) or present.node.block:
        return None
    start, end = present.node.span
    gap = " " if start == end else ""  # `model:` with nothing behind it
    return text[:start] + gap + yaml_text(value) + text[end:]


def _inserted(document: Document, models: TableNode, text: str, line: str) -> str | None:
    """Behind the last plain entry, indented as it is."""
    last = models.entries[-1]
    if not isinstance(last.node, ScalarNode) or last.node.block:
        return None
    indent = " " * (last.span.start - document.line_start(last.span.start))
    return _insert_after(text, max(last.node.span.end, last.span.end), indent + line)


def _insert_after(text: str, offset: int, line: str) -> str:
    end = text.index("\n", offset) + 1
    return text[:end] + line + text[end:]


def _is_block(root: object) -> bool:
    """``{a: b}`` on one line takes no further line; an empty file does."""
    return root is None or (isinstance(root, ScalarNode) and root.value is None) or getattr(root, "block", False)


def _said(text: str, label: str) -> Mapping[str, Value]:
    settings, findings = read_settings(text, source=Source.PROJECT, label=label, leaves=())
    said = {key: written.value for key, written in settings.items() if key != _TABLE or written.value is not None}
    return {} if findings else said
