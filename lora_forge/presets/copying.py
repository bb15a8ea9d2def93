"""A person's own copy of a preset: the text as it is, with its comments, and a schema for their editor."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lora_forge.errors import PresetError
from lora_forge.findings import Finding, Severity, info
from lora_forge.presets.files import write_new, write_over, yaml_text
from lora_forge.presets.keys import cut
from lora_forge.presets.loader import (
    find_preset,
    is_name,
    is_path,
    load_preset_layers,
    preset_folders,
    shown_path,
)
from lora_forge.presets.merge import MISSING_KEY, merge_layers
from lora_forge.presets.yaml_nodes import Document, Entry, ScalarNode, TableNode, compose
from lora_forge.settings import Value, winners

SCHEMA_FILE = "preset.schema.json"
SCHEMA_LINE = f"# yaml-language-server: $schema=./{SCHEMA_FILE}"
_EDITOR_LINE = "# yaml-language-server:"
_SCHEMA_MARK = "written by forge"


@dataclass(frozen=True)
class CopiedPreset:
    """Where the copy and its schema lie, and what was noticed."""

    source: Path
    path: Path
    schema: Path
    findings: tuple[Finding, ...] = ()


def copy_preset(name_or_path: str, destination: str | None, cwd: Path) -> CopiedPreset:
    """Copy a preset to ``presets/<name>.yaml`` here, or to the name or file given.

    What it extends is not copied: the copy goes on extending it, so a path in
    ``extends`` is rewritten where the copy lies in another folder.

    Raises:
        PresetError: no such preset, one with mistakes, or a file is there already.
    """
    source = find_preset(name_or_path, folders=preset_folders(cwd), cwd=cwd)
    target = _target(source, destination, cwd)
    _refuse_existing(target, cwd)
    before = _values(str(source), cwd)
    schema, findings = _write_both(target, _with_schema_line(_with_extends_from(source, target)), cwd)
    _check_same(before, target, cwd)
    return CopiedPreset(source, target, schema, findings)


def write_schema(folder: Path, cwd: Path) -> tuple[Path, tuple[Finding, ...]]:
    """Lay the schema beside the presets; an earlier one of forge's own is renewed, any other file stays.

    Raises:
        OSError: the folder cannot be written.
    """
    from lora_forge import __version__
    from lora_forge.presets.schema import preset_schema

    path = folder / SCHEMA_FILE
    marked = {"$comment": f"{_SCHEMA_MARK} {__version__}", **preset_schema()}
    text = json.dumps(marked, indent=2) + "\n"
    with suppress(FileExistsError):  # also where another copy is quicker
        if not os.path.lexists(path):
            write_new(path, text)
    if not _is_ours(path):
        message = f"{shown_path(path, cwd)} was not written by forge and is left as it is."
        return path, (info("schema-kept", message, "forge preset schema prints the current one", str(path)),)
    if path.read_text(encoding="utf-8") != text:
        write_over(path, text)
    return path, ()


def _write_both(target: Path, text: str, cwd: Path) -> tuple[Path, tuple[Finding, ...]]:
    """The copy and the schema beside it; of a copy that fails nothing is left, so that it can be tried again.

    Raises:
        PresetError: which of the two could not be written.
    """
    missing = [folder for folder in target.parents if not folder.exists()]
    try:
        with _told_if_unwritable(target, cwd):
            write_new(target, text)
        try:
            with _told_if_unwritable(target.parent / SCHEMA_FILE, cwd):
                return write_schema(target.parent, cwd)
        except BaseException:
            target.unlink()
            raise
    except BaseException:
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()
        raise


@contextmanager
def _told_if_unwritable(path: Path, cwd: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as exists:
        raise _exists(path, cwd) from exists
    except OSError as problem:
        full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some space, then try again" if full else "give another place: forge preset cp NAME FILE.yaml"
        message = f"{shown_path(path, cwd)} cannot be written: {problem.strerror or problem}"
        raise PresetError(message, hint) from problem


def _target(source: Path, destination: str | None, cwd: Path) -> Path:
    name = source.stem if destination is None else destination
    if is_path(name):
        return _file_target(source, name, cwd)
    if not is_name(name):
        hint = "use small letters, digits, - and _, or give a file that ends in .yaml"
        raise PresetError(f"{cut(name)!r} cannot be a preset's name.", hint)
    return cwd / "presets" / f"{name}.yaml"


def _file_target(source: Path, text: str, cwd: Path) -> Path:
    try:
        path = cwd / Path(text).expanduser()
        path = path / f"{source.stem}.yaml" if path.is_dir() else path
    except (OSError, ValueError, RuntimeError) as wrong:
        raise PresetError(f"{cut(text)!r} is not a usable path.", "give a name or a file that ends in .yaml") from wrong
    if path.suffix not in (".yaml", ".yml"):
        raise PresetError(f"{shown_path(path, cwd)} does not end in .yaml.", f"try {cut(path.name)}.yaml")
    return path


def _refuse_existing(target: Path, cwd: Path) -> None:
    """Also its twin with the other ending, of which a name would only ever reach one."""
    for path in (target, target.with_suffix(".yml"), target.with_suffix(".yaml")):
        if os.path.lexists(path):
            raise _exists(path, cwd)


def _exists(path: Path, cwd: Path) -> PresetError:
    hint = "give another name: forge preset cp NAME NEWNAME"
    return PresetError(f"{shown_path(path, cwd)} is already there, and a copy never overwrites.", hint)


def _values(preset: str, cwd: Path) -> Mapping[str, Value]:
    """Every value that the preset comes to but its name, which a copy may change.

    Raises:
        PresetError: the preset has mistakes, which a copy would only spread.
    """
    layers, problems = load_preset_layers(preset, folders=preset_folders(cwd), cwd=cwd)
    mistakes = [each for each in merge_layers(layers)[2] if each.code != MISSING_KEY]  # another may extend it
    wrong = [problem for problem in (*problems, *mistakes) if problem.severity is Severity.ERROR]
    if wrong:
        raise PresetError(f"{cut(preset)} has mistakes; nothing was copied.", "mend them first", findings=wrong)
    return {key: origin.written.value for key, origin in winners(layers).items() if key != "name"}


def _check_same(before: Mapping[str, Value], target: Path, cwd: Path) -> None:
    try:
        same = _values(str(target), cwd) == before
    except PresetError:
        same = False
    if not same:
        target.unlink()
        message = f"a copy at {shown_path(target, cwd)} would not say the same as the original; it was removed"
        raise PresetError(message, "copy it by hand, and mind what it extends")


def _with_schema_line(text: str) -> str:
    first, newline, rest = text.removeprefix("\ufeff").partition("\n")
    if first.startswith(_EDITOR_LINE):
        return SCHEMA_LINE + newline + rest
    return f"{SCHEMA_LINE}\n{first}{newline}{rest}"


def _with_extends_from(source: Path, target: Path) -> str:
    """The source's text; a relative path after ``extends:`` is made to lead to the same file from ``target``."""
    document = Document(source.read_text(encoding="utf-8"), source.name)
    entry = _extends(document)
    if entry is None or not isinstance(entry.node, ScalarNode) or not isinstance(entry.node.value, str):
        return document.text
    base = Path(entry.node.value)
    if not is_path(entry.node.value) or base.is_absolute() or entry.node.value.startswith("~"):
        return document.text
    relative = os.path.relpath(source.parent.resolve() / base, target.parent.absolute())
    start, end = entry.node.span
    return document.text[:start] + yaml_text(Path(relative).as_posix()) + document.text[end:]


def _extends(document: Document) -> Entry | None:
    root = compose(document)
    entries = root.entries if isinstance(root, TableNode) else ()
    return next((entry for entry in entries if entry.key == "extends"), None)


def _is_ours(path: Path) -> bool:
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(schema, dict) and str(schema.get("$comment", "")).startswith(_SCHEMA_MARK)
