"""Held-out images: the engine validates on exactly those, and trains on none of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import toml

from .conftest import Train

pytestmark = pytest.mark.engine

SETTINGS = ("sampling.enabled=false", "schedule.checkpoint_every=2", "schedule.steps=5", "schedule.repeats=2")


def draw_different(folder: Path, count: int) -> Path:
    """Pictures that are nothing like each other."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    for index in range(count):
        values = np.random.default_rng(index).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        size = ((128, 128), (96, 160), (160, 96))[index % 3]
        Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"ohwx, scene {index}\n")
    return folder


def originals(folder: Path) -> set[str]:
    return {link.resolve().name for link in folder.iterdir() if link.suffix == ".png"}


@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_the_engine_validates_on_the_held_out_images_and_trains_on_the_others(
    family: str, train: Train, tmp_path: Path
) -> None:
    dataset = draw_different(tmp_path / "different", 7)
    trained = train(family, *SETTINGS, dataset=dataset, flags=["--validation", "2"])
    assert trained.code == 0, (trained.answer["error"], trained.stderr)
    plan = trained.answer["data"]["plan"]["data"]
    assert (plan["images"]["value"], plan["validation_images"]["value"]) == (5, 2)

    counted = next(event for event in trained.events if event["event"] == "counts")
    assert counted["train_images"] == 5 * 2
    assert counted["buckets"] == plan["buckets"]["value"]
    log = (trained.run_dir / "engine.log").read_text(errors="replace")
    said = re.search(r"num validation images[^:]*: (\d+)", log)
    assert said is not None and said.group(1) == "2"

    folders = [
        Path(subset["image_dir"])
        for dataset_table in toml.loads((trained.run_dir / "dataset.toml").read_text())["datasets"]
        for subset in dataset_table["subsets"]
    ]
    training, held_out = map(originals, folders)
    assert (len(training), len(held_out), training & held_out) == (5, 2, set())
    record = json.loads((tmp_path / "different.holdout.json").read_text())
    assert {image["name"] for image in record["images"]} == held_out

    told = [event for event in trained.events if event["event"] == "validation"]
    assert [event["step"] for event in told] == [2, 4, 5], "at each checkpoint and at the end"
    assert all(event["losses"] == 2 * 4 and event["loss"] > 0 for event in told), "two images at four timesteps"
