"""Writing a person's YAML: the whole file or nothing, and never over one that they wrote."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lora_forge.whole_file import sync_directory

_MODE = 0o644


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet.

    Raises:
        FileExistsError: something of this name is there, even if it came while the text was written.
        OSError: the folder cannot be made or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _written_beside(path, text) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a filesystem without hard links: exclusive, though not atomic
            _write_exclusively(path, text)
    with _gone_if_it_fails(path):
        sync_directory(path.parent)


def write_over(path: Path, text: str) -> None:
    """Put the new content in the place of the old in one step; a link's target is replaced, not the link.

    Raises:
        OSError: the folder cannot be made or written.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o7777 if path.exists() else _MODE
    with _written_beside(path, text, mode) as temporary:
        temporary.replace(path)
    sync_directory(path.parent)


def yaml_text(value: str) -> str:
    r"""A text as YAML reads it back: bare where nothing can be misread, else in double quotes.

    >>> yaml_text("photos/jeff"), yaml_text("no: 1"), yaml_text("16"), yaml_text("C:\\x")
    ('photos/jeff', '"no: 1"', '"16"', '"C:\\\\x"')
    """
    import json
    import re

    from lora_forge.presets.yaml_scalars import NumberTooLarge, resolve_plain

    with contextlib.suppress(NumberTooLarge):
        if re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./+-]*", value) and resolve_plain(value) == value:
            return value
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\x7f")


@contextlib.contextmanager
def _written_beside(path: Path, text: str, mode: int = _MODE) -> Iterator[Path]:
    """A finished file in the same folder, gone afterwards if nobody took it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".new")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _write_exclusively(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8", newline="\n") as file, _gone_if_it_fails(path):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _gone_if_it_fails(path: Path) -> Iterator[None]:
    """A new file that could not be brought to disk whole would stand in the way of the next try."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
