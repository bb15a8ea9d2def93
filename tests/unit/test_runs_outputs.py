"""Sample pictures and base models in the ledger."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

import lora_forge.runs.samples as samples_module
from lora_forge.runs.directory import RunDir
from lora_forge.runs.events import StepTaken
from lora_forge.runs.ledger import Ledger, new_ledger, open_ledger
from lora_forge.runs.model_files import weight_files
from lora_forge.runs.model_hashes import hash_model, hashing_models, is_same_model
from lora_forge.runs.record import read_run
from lora_forge.runs.samples import PNG_END, commit_samples

STEP = StepTaken(0.0, 0.0, step=1, total=12, epoch=1, loss=0.5)
PICTURE = "jeff_000500_00_20261126104900_42.png"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "jeff-001")
    run.attempt(1).engine_samples.mkdir(parents=True)
    new_ledger(run.path).append("run", uuid="0b5c", name="jeff", steps=12)
    return run


@pytest.fixture
def ledger(run: RunDir) -> Ledger:
    return open_ledger(run.path)


def test_sample_pictures_are_outputs_of_the_run(run: RunDir, ledger: Ledger) -> None:
    for content in (b"first", b"sampled again after a resume"):
        (run.attempt(1).engine_samples / PICTURE).write_bytes(content + PNG_END)
        assert commit_samples(run, ledger, 1, ["a cat"]) == ()
    (kept,) = read_run(run.path).samples
    assert kept.path == "samples/prompt1-a_cat-step000500-seed42.png"
    assert kept.sha256 == hashlib.sha256((run.path / kept.path).read_bytes()).hexdigest()


@pytest.mark.parametrize("cut", [b"", b"IEND", b"half of a picture" + PNG_END[:-1]])
def test_a_picture_that_a_kill_cut_short_is_no_sample(run: RunDir, ledger: Ledger, cut: bytes) -> None:
    (run.attempt(1).engine_samples / PICTURE).write_bytes(cut)
    assert commit_samples(run, ledger, 1, ["a cat"]) == ()
    assert read_run(run.path).samples == ()
    assert not run.samples.exists()


def test_a_picture_that_cannot_be_placed_fails_no_training(
    run: RunDir, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run.attempt(1).engine_samples / PICTURE).write_bytes(b"first" + PNG_END)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(samples_module, "sync_file", full)
    (told,) = commit_samples(run, ledger, 1, ["a cat"])
    assert (told.code, told.severity.value) == ("samples-not-recorded", "warning")


def test_every_base_model_is_hashed_once_the_training_steps(run: RunDir, ledger: Ledger, tmp_path: Path) -> None:
    models = {name: tmp_path / f"{name}.safetensors" for name in ("model", "clip_l", "ae")}
    for name, path in models.items():
        path.write_bytes(name.encode() * 1000)
    with hashing_models(ledger, {**models, "folder": tmp_path}) as hasher:
        assert not read_run(run.path).models
        hasher.take(STEP)
        hasher.take(STEP)
        assert hasher.close(wait=True) == ()
    found = read_run(run.path).models
    assert {name: known.sha256 for name, known in found.items()} == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in models.items()
    }
    seq = open_ledger(run.path).records[-1].seq
    with hashing_models(open_ledger(run.path), models) as hasher:
        hasher.take(STEP)
        hasher.close(wait=True)
    assert open_ledger(run.path).records[-1].seq == seq, "what is known is not read again"


def test_a_base_model_that_cannot_be_read_is_said_and_the_others_are_hashed(
    run: RunDir, ledger: Ledger, tmp_path: Path
) -> None:
    gone, there = tmp_path / "gone.safetensors", tmp_path / "there.safetensors"
    for path in (gone, there):
        path.write_bytes(b"x")
    with hashing_models(ledger, {"ae": gone, "model": there}) as hasher:
        gone.unlink()
        hasher.take(STEP)
        (told,) = hasher.close(wait=True)
    assert (told.code, "gone.safetensors" in told.message) == ("model-not-hashed", True)
    assert set(read_run(run.path).models) == {"model"}


def test_a_folder_counts_by_the_weights_that_the_engine_reads(tmp_path: Path) -> None:
    folder, alone = tmp_path / "sdxl", tmp_path / "vae.safetensors"
    read = ("text_encoder_2/model.bin", "unet/diffusion_pytorch_model.safetensors")
    for place in (*read, "unet/config.json", "safety_checker/model.safetensors", "whole.safetensors"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(b"x")
    found = weight_files({"model": folder, "vae": alone})
    assert found == {**{f"model/{place}": folder / place for place in read}, "vae": alone}


def test_a_model_is_read_again_only_where_it_was_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"sound")
    known = hash_model(path)
    assert known
    os.utime(path, ns=(1, 1))
    assert is_same_model(path, known), "its time says nothing"
    path.write_bytes(b"drown")
    os.utime(path, ns=(known.mtime_ns, known.mtime_ns))
    assert not is_same_model(path, known), "a restored time hides nothing"
    path.write_bytes(b"sound")
    untouched = hash_model(path)
    assert untouched
    monkeypatch.setattr("lora_forge.runs.model_hashes.hash_model", lambda _: pytest.fail("it was read"))
    assert is_same_model(path, untouched)
