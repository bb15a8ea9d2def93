"""Buckets, batches, steps and epochs of random datasets against the engine's own count."""

from __future__ import annotations

import json
import os
import random
import subprocess
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

from lora_forge.engine.home import locate_engine
from lora_forge.engine.pin import COMMIT
from lora_forge.plan.buckets import BucketSettings
from lora_forge.plan.steps import (
    DatasetSizes,
    SubsetSizes,
    count_epoch,
    epochs_for,
    fill_buckets,
    steps_for_epochs,
)

ROOT = Path(__file__).parents[2]
DUMP = ROOT / "scripts" / "dump_engine_answers"
FIXTURE = Path(__file__).parent / "fixtures" / "steps.json"


def _load(path):
    """The script that asked the engine: its recipes and its digest are the ones to compare with."""
    loader = SourceFileLoader("dump_engine_answers", str(path))
    loader.set_data = lambda *args, **kwargs: None  # leaves no bytecode beside the script
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


dump = _load(DUMP)
answers = json.loads(FIXTURE.read_text(encoding="utf-8"))


def dataset_of(entry):
    buckets = BucketSettings(
        tuple(entry["resolution"]),
        entry["minimum"],
        entry["maximum"],
        entry["step"],
        enabled=entry["enabled"],
        upscale=entry["upscale"],
    )
    subsets = [
        SubsetSizes([tuple(size) for size in subset["sizes"]], subset["repeats"], subset["is_reg"])
        for subset in entry["subsets"]
    ]
    return DatasetSizes(subsets, buckets, entry["batch_size"])


def forges_answer(case):
    datasets = [dataset_of(entry) for entry in case["datasets"]]
    sharing = {"grad_accum": case["grad_accum"], "gpus": case["gpus"]}
    epoch = count_epoch(datasets, **sharing)
    filled = [fill_buckets(each.subsets, each.buckets, batch_size=each.batch_size) for each in datasets]
    return {
        "buckets": [[[bucket.width, bucket.height, bucket.images] for bucket in buckets] for buckets in filled],
        "train_samples": epoch.train_samples,
        "batches": epoch.batches,
        "steps_per_epoch": epoch.steps,
        "epochs": epochs_for(case["steps"], epoch.steps),
        "steps_of_epochs": steps_for_epochs(case["epochs"], epoch.batches, **sharing),
    }


@pytest.mark.parametrize("number", range(len(answers["cases"])))
def test_the_plan_counts_as_the_engine_counts(number):
    case = answers["cases"][number]
    assert forges_answer(case) == case["answer"]


def test_the_random_datasets_reach_every_corner():
    cases = answers["cases"]
    datasets = [dataset for case in cases for dataset in case["datasets"]]
    subsets = [subset for dataset in datasets for subset in dataset["subsets"]]
    assert len(cases) == 200
    assert sum(len(case["datasets"]) > 1 for case in cases) > 20
    assert sum(case["gpus"] > 1 and case["grad_accum"] > 1 for case in cases) > 20
    assert sum(subset["is_reg"] for subset in subsets) > 100
    assert sum(not dataset["upscale"] for dataset in datasets) > 20
    assert sum(not dataset["enabled"] for dataset in datasets) > 10
    assert sum(case["answer"]["batches"] == 0 for case in cases) > 0


@pytest.mark.processes
def test_datasets_never_seen_before_are_counted_as_the_engine_counts_them(tmp_path):
    seed = random.SystemRandom().randrange(1 << 30)
    cases = ask_engine(tmp_path, "--seed", str(seed))["cases"]
    wrong = [number for number, case in enumerate(cases) if forges_answer(case) != case["answer"]]
    assert not wrong, f"seed {seed}: cases {wrong}"


def ask_engine(folder, *options):
    """Let the engine answer afresh, where it is installed."""
    home = locate_engine(os.environ)
    if not (home.python.exists() and (home.checkout / "train_network.py").exists()):
        pytest.skip("the engine is not installed: compared with its committed answers alone")
    command = [home.python, DUMP, home.checkout, folder, "--only", "steps", *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "steps.json").read_text(encoding="utf-8"))


def test_the_answers_are_those_of_the_pinned_engine():
    assert answers["engine_commit"] == COMMIT


@pytest.mark.processes
def test_the_installed_engine_still_answers_as_committed(tmp_path):
    assert ask_engine(tmp_path) == answers
