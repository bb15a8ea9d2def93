"""Trouble with the disk has one name, wherever it is met."""

from __future__ import annotations

import errno
import os

import pytest

from lora_forge.runs.disk import unwritable


@pytest.mark.parametrize(
    ("number", "code", "exit_code"),
    [
        (errno.ENOSPC, "disk-full", 1),
        (errno.EDQUOT, "disk-full", 1),
        (errno.EIO, "failed", 1),
        (errno.EROFS, "invalid-input", 3),
        (errno.EACCES, "invalid-input", 3),
    ],
)
def test_a_full_disk_is_nobodys_mistake_and_a_read_only_one_is(number: int, code: str, exit_code: int) -> None:
    error = unwritable("the run", OSError(number, os.strerror(number)), "--run-dir DIR")
    assert (error.code, error.exit_code) == (code, exit_code)
    assert error.message == f"the run cannot be written: {os.strerror(number)}"
    assert error.hint.endswith("--run-dir DIR")
