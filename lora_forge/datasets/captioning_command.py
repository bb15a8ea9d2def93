"""Captions by a command of the person's own: one call an image, no shell, the first line is the caption.

A command that hangs is ended with all that it started, and one that floods its
output costs no memory.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lora_forge.datasets.fixing_captions import one_line
from lora_forge.errors import DatasetError

PLACE = "{image}"
TIMEOUT_S = 120.0
_KEPT_BYTES = 64 * 1024
_CHUNK = 1 << 16


class Said(NamedTuple):
    """``caption`` is None where the command gave none; ``problem`` then says why."""

    caption: str | None
    problem: str = ""


def parse_command(text: str) -> tuple[str, ...]:
    """The command's words as a shell would split them; none of them is ever given to one.

    Raises:
        DatasetError: it cannot be split, or does not say where the image goes.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as wrong:
        raise DatasetError(f"--command {text!r} cannot be split: {wrong}", "close the quotes") from wrong
    if not any(PLACE in word for word in words):
        raise DatasetError(f"--command {text!r} does not say where the image goes", "--command 'prog {image}'")
    return words


def caption_by_command(
    command: Sequence[str], image: Path, *, env: Mapping[str, str], timeout_s: float = TIMEOUT_S
) -> Said:
    """Run the command on one image; whatever goes wrong is told, not raised.

    >>> import os, sys
    >>> caption_by_command([sys.executable, "-c", "print('a man')"], Path("a.png"), env=os.environ)
    Said(caption='a man', problem='')
    """
    argv = [word.replace(PLACE, str(image.absolute())) for word in command]
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=dict(env),
        )
    except (OSError, ValueError) as wrong:
        return Said(None, f"{argv[0]} cannot be started: {getattr(wrong, 'strerror', None) or wrong}")
    with child:
        try:
            out, errors = _listen(child, time.monotonic() + timeout_s)
        finally:
            _end(child)
    return _judge(out, errors, child.returncode, timeout_s)


def _judge(out: bytes | None, errors: bytes, returncode: int, timeout_s: float) -> Said:
    if out is None:
        return Said(None, f"it took longer than {timeout_s:g} s and was ended")
    if returncode != 0:
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:]
        return Said(
            None, f"it ended with exit code {returncode}" + "".join(f": {one_line(line)[:200]}" for line in last)
        )
    try:
        lines = out.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return Said(None, "what it printed is not UTF-8")
    caption = one_line(lines[0]).replace("\0", "")
    return Said(caption) if caption else Said(None, "its first line is empty")


def _listen(child: subprocess.Popen[bytes], deadline: float) -> tuple[bytes | None, bytes]:
    """Its output and errors, the first 64 KB of each, to its end; None where it did not end in time."""
    kept: dict[str, bytes] = {"out": b"", "errors": b""}
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ, "out")  # type: ignore[arg-type]  # a pipe, as asked for
        selector.register(child.stderr, selectors.EVENT_READ, "errors")  # type: ignore[arg-type]
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready and time.monotonic() >= deadline:
                return None, kept["errors"]
            for key, _ in ready:
                data = os.read(key.fd, _CHUNK)
                if not data:
                    selector.unregister(key.fileobj)
                elif len(kept[key.data]) < _KEPT_BYTES:
                    kept[key.data] = (kept[key.data] + data)[:_KEPT_BYTES]
    try:
        child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None, kept["errors"]
    return kept["out"], kept["errors"]


def _end(child: subprocess.Popen[bytes]) -> None:
    """Whatever is left of its session goes with it, also what outlived the command itself."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
