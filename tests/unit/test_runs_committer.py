"""The committer: one event that goes wrong, in whatever way, takes no other with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from lora_forge.findings import Finding
from lora_forge.runs.committer import Committer
from lora_forge.runs.directory import RunDir
from lora_forge.runs.events import Saved
from lora_forge.runs.ledger import new_ledger, open_ledger
from lora_forge.runs.record import read_run

HEADER = b'{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}'
SAFETENSORS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(8)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path)
    run.attempt(1).make()
    new_ledger(tmp_path).append("run", uuid="0b5c", name="jeff", steps=12)
    return run


def saved(run: RunDir, step: int) -> Saved:
    path = run.attempt(1).output / f"jeff-step{step:08d}.safetensors"
    path.write_bytes(SAFETENSORS)
    return Saved(0.0, 0.0, str(path), step, path.stat().st_size)


def test_an_error_that_nobody_foresaw_is_told_and_what_follows_is_committed(run: RunDir) -> None:
    def check(_path: Path, event: Saved) -> Sequence[Finding]:
        if event.step == 3:
            raise RuntimeError("nobody foresaw this")
        return ()

    committer = Committer(run, 1, open_ledger(run.path), check, "jeff.safetensors")
    for step in (3, 6, 9):
        committer.take(saved(run, step))
    (told,) = committer.close()
    assert (told.code, "RuntimeError: nobody foresaw this" in told.message) == ("not-committed", True)
    assert [kept.step for kept in read_run(run.path).checkpoints] == [6, 9]
