"""Buckets, batches, steps and epochs of random datasets against the engine's own count."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from engine_dump import ask_afresh

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

FIXTURE = Path(__file__).parent / "fixtures" / "steps.json"
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
    cases = ask_afresh(tmp_path, "steps", "--seed", str(seed))["cases"]
    wrong = [number for number, case in enumerate(cases) if forges_answer(case) != case["answer"]]
    assert not wrong, f"seed {seed}: cases {wrong}"


def test_the_answers_are_those_of_the_pinned_engine():
    assert answers["engine_commit"] == COMMIT


@pytest.mark.processes
def test_the_installed_engine_still_answers_as_committed(tmp_path):
    assert ask_afresh(tmp_path, "steps") == answers
