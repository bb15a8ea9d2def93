"""Base models that are links, which the engine follows one step only."""

from __future__ import annotations

import os
from pathlib import Path

from lora_forge.runs.directory import RunDir
from lora_forge.runs.model_links import engine_path, link_models


def run_in(folder: Path) -> RunDir:
    (folder / "run").mkdir()
    return RunDir(folder / "run")


def as_the_engine_reads(path: Path) -> Path:
    """train_util.py: one readlink, then a file with a known suffix or nothing."""
    found = Path(os.readlink(path)) if path.is_symlink() else path
    assert found.is_file(), f"{found} is no file from where the engine stands"
    assert found.suffix == ".safetensors"
    return found


def test_a_plain_file_stays_as_it_is(tmp_path: Path) -> None:
    model = tmp_path / "a.safetensors"
    model.write_bytes(b"x")
    assert engine_path(run_in(tmp_path), model) == model


def test_a_relative_link_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "real.safetensors").write_bytes(b"x")
    link = tmp_path / "link.safetensors"
    link.symlink_to("real.safetensors")
    assert as_the_engine_reads(engine_path(run_in(tmp_path), link)) == tmp_path.resolve() / "real.safetensors"


def test_a_link_to_a_nameless_blob_is_led_to_by_a_link_of_the_runs_own(tmp_path: Path) -> None:
    blob, snapshot = tmp_path / "blobs" / "0f3a", tmp_path / "snapshots" / "model.safetensors"
    blob.parent.mkdir()
    snapshot.parent.mkdir()
    blob.write_bytes(b"x")
    snapshot.symlink_to("../blobs/0f3a")
    run = run_in(tmp_path)
    link_models(run, [snapshot])
    handed = engine_path(run, snapshot)
    assert handed == run.models / "model.safetensors"
    assert as_the_engine_reads(handed).read_bytes() == b"x"


def test_a_link_that_leads_in_a_circle_is_left_for_the_reader_to_refuse(tmp_path: Path) -> None:
    loop = tmp_path / "x.safetensors"
    loop.symlink_to("x.safetensors")
    assert engine_path(run_in(tmp_path), loop) == loop
