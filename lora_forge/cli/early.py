"""What is done before the parser is loaded: of many starts on one run directory all but one end at once.

The parser alone takes longer to import than everything else that a refusal needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from lora_forge.errors import Locked
from lora_forge.runs.lock import LOCK, holding_early

LEAVE_IT = ("--help", "-h", "--retry-smaller", "--dry-run")
"""Calls that start nothing in this folder, or not only in this one."""


def main_early(argv: Sequence[str]) -> NoReturn:
    """Run forge, holding the run directory that ``forge train`` is given, where the words leave no doubt."""
    with told_if_locked(as_json="--json" in argv), holding_early(named_run_dir(argv)):
        from lora_forge.cli.app import run

        run()


@contextmanager
def told_if_locked(*, as_json: bool) -> Iterator[None]:
    try:
        yield
    except Locked as problem:
        from lora_forge.cli.output import fail

        raise SystemExit(fail(problem, as_json=as_json)) from problem


def named_run_dir(argv: Sequence[str]) -> Path | None:
    """The value of ``--run-dir``; a run that goes on must lie there already.

    >>> named_run_dir(["train", "--run-dir", "runs/a"]), named_run_dir(["-q", "train", "--run-dir=b"])
    (PosixPath('runs/a'), PosixPath('b'))
    >>> named_run_dir(["train", "--run-dir"]), named_run_dir(["plan", "--run-dir", "c"])
    (None, None)
    """
    command = next((word for word in argv if not word.startswith("-")), None)
    if command != "train" or any(word in LEAVE_IT for word in argv):
        return None
    joined = [word.partition("=")[2] for word in argv if word.startswith("--run-dir=")]
    apart = [value for word, value in pairwise(argv) if word == "--run-dir"]
    if len(joined) + len(apart) != 1 or not (value := (joined or apart)[0]) or value.startswith("-"):
        return None
    return Path(value) if "--resume" not in argv or (Path(value) / LOCK).exists() else None
