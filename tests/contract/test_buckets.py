"""Bucket tables and fits against the engine's own."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

from lora_forge.engine.home import locate_engine
from lora_forge.engine.pin import COMMIT
from lora_forge.plan.buckets import BucketSettings, assign_bucket, bucket_resolutions, round_bounds

ROOT = Path(__file__).parents[2]
DUMP = ROOT / "scripts" / "dump_engine_answers"
FIXTURE = Path(__file__).parent / "fixtures" / "buckets.json"


def _load(path):
    """The script that asked the engine: its recipes and its digest are the ones to compare with."""
    loader = SourceFileLoader("dump_engine_answers", str(path))
    loader.set_data = lambda *args, **kwargs: None  # leaves no bytecode beside the script
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


dump = _load(DUMP)
answers = json.loads(FIXTURE.read_text(encoding="utf-8"))


def settings_of(entry):
    bounds = {key: entry[key] for key in ("minimum", "maximum", "step", "upscale", "enabled") if key in entry}
    return BucketSettings(tuple(entry["resolution"]), **bounds)


def case_name(entry):
    return "-".join(str(value) for key, value in entry.items() if key not in ("start", "digest", "table"))


@pytest.mark.parametrize("entry", answers["tables"], ids=case_name)
def test_a_table_holds_the_engines_buckets_in_its_order(entry):
    table = bucket_resolutions(
        tuple(entry["resolution"]), minimum=entry["minimum"], maximum=entry["maximum"], step=entry["step"]
    )
    assert len(table) == entry["count"]
    assert dump.digest(table) == entry["digest"]
    if "table" in entry:
        assert table == tuple(map(tuple, entry["table"]))


@pytest.mark.parametrize("entry", answers["fits"], ids=case_name)
def test_every_image_lands_where_the_engine_puts_it(entry):
    """The sizes come from the recipe that the engine was asked with; two answers are kept in full."""
    settings = settings_of(entry)
    fits = [(size, assign_bucket(size, settings)) for size in sizes_of(entry)]
    ours = [[size, *((fit.bucket, fit.resized) if all(fit.bucket) else (None, None))] for size, fit in fits]
    assert json.loads(json.dumps(ours[:2])) == entry["start"]
    assert dump.digest(ours) == entry["digest"]


def sizes_of(entry):
    return dump.sizes_to_fit(entry["recipe"])


def test_bounds_are_rounded_outwards():
    assert round_bounds(250, 1000, 64) == (192, 1024)


def ask_engine(folder, *options):
    """Let the engine answer afresh, where it is installed."""
    home = locate_engine(os.environ)
    if not (home.python.exists() and (home.checkout / "train_network.py").exists()):
        pytest.skip("the engine is not installed: compared with its committed answers alone")
    command = [home.python, DUMP, home.checkout, folder, "--only", "buckets", *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "buckets.json").read_text(encoding="utf-8"))


def test_the_answers_are_those_of_the_pinned_engine():
    assert answers["engine_commit"] == COMMIT


@pytest.mark.processes
def test_the_installed_engine_still_answers_as_committed(tmp_path):
    assert ask_engine(tmp_path) == answers
