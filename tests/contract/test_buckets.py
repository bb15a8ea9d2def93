"""Bucket tables and fits against the engine's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from engine_dump import ask_afresh, dump

from lora_forge.engine.pin import COMMIT
from lora_forge.plan.buckets import BucketSettings, assign_bucket, bucket_resolutions, round_bounds

FIXTURE = Path(__file__).parent / "fixtures" / "buckets.json"
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


def test_the_answers_are_those_of_the_pinned_engine():
    assert answers["engine_commit"] == COMMIT


@pytest.mark.processes
def test_the_installed_engine_still_answers_as_committed(tmp_path):
    assert ask_afresh(tmp_path, "buckets") == answers
