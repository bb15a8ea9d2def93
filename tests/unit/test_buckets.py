"""Buckets: laws that hold for every image and every setting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_forge.errors import PlanError
from lora_forge.plan.buckets import BucketSettings, assign_bucket, bucket_resolutions, round_bounds

sides = st.integers(1, 9000)
sizes = st.tuples(sides, sides)
settings = st.builds(
    BucketSettings,
    resolution=st.sampled_from([(512, 512), (768, 768), (1024, 1024), (512, 768), (832, 1216)]),
    minimum=st.sampled_from([128, 256, 300, 384]),
    maximum=st.sampled_from([1024, 1280, 1500, 2048]),
    step=st.sampled_from([16, 32, 64]),
    enabled=st.just(True),
    upscale=st.just(True),
)


def table_of(chosen):
    return bucket_resolutions(chosen.resolution, minimum=chosen.minimum, maximum=chosen.maximum, step=chosen.step)


@given(settings)
def test_every_bucket_is_whole_steps_within_the_area_and_has_its_mirror(chosen):
    table = table_of(chosen)
    for width, height in table:
        assert width % chosen.step == height % chosen.step == 0
        assert width * height <= chosen.resolution[0] * chosen.resolution[1]
        assert (height, width) in table
    assert list(table) == sorted(set(table))
    assert len({width / height for width, height in table}) == len(table)


@given(sizes, settings)
def test_the_nearest_shape_wins_and_the_first_of_equals(size, chosen):
    """numpy, as the engine has it."""
    table = table_of(chosen)
    errors = np.array([width / height for width, height in table]) - size[0] / size[1]
    expected = size if size in table else table[np.abs(errors).argmin()]
    assert assign_bucket(size, chosen).bucket == expected


@given(sizes, settings)
def test_a_resized_image_covers_its_bucket_and_touches_it_on_one_side(size, chosen):
    fit = assign_bucket(size, chosen)
    assert min(fit.cropped) == 0
    assert fit.resized == (fit.bucket[0] + fit.cropped[0], fit.bucket[1] + fit.cropped[1])


@given(sizes, settings)
def test_without_upscaling_no_image_grows_and_less_than_a_step_is_cut(size, chosen):
    fit = assign_bucket(size, chosen._replace(upscale=False))
    assert fit.bucket[0] % chosen.step == fit.bucket[1] % chosen.step == 0
    assert size[0] * size[1] > chosen.resolution[0] * chosen.resolution[1] or fit.resized == size
    assert max(fit.cropped) < chosen.step or not all(fit.bucket)


def test_an_image_of_a_buckets_very_size_stays_as_it_is():
    fit = assign_bucket((640, 896), BucketSettings((768, 768), 384, 1024))
    assert (fit.bucket, fit.resized, fit.cropped, fit.scale) == ((640, 896), (640, 896), (0, 0), 1.0)


@pytest.mark.parametrize(
    ("size", "bucket"), [((26, 64), (384, 1024)), ((71, 91), (640, 896)), ((165, 77), (1024, 448))]
)
def test_between_two_shapes_as_near_the_first_of_the_table_wins(size, bucket):
    assert assign_bucket(size, BucketSettings((768, 768), 384, 1024)).bucket == bucket


def test_a_small_image_is_enlarged_and_the_factor_says_so():
    assert assign_bucket((384, 384), BucketSettings((768, 768), 384, 1024)).scale == 2.0


def test_without_buckets_every_image_goes_to_the_resolution():
    chosen = BucketSettings((768, 512), enabled=False, upscale=False)
    assert {assign_bucket(size, chosen).bucket for size in ((300, 2000), (2000, 300))} == {(768, 512)}


@pytest.mark.parametrize("size", [(5000, 20), (20, 5000), (60000, 30), (30, 60000)])
def test_a_sliver_gets_a_bucket_without_pixels(size):
    assert 0 in assign_bucket(size, BucketSettings((768, 768), upscale=False)).bucket


@pytest.mark.parametrize(("resolution", "minimum"), [((32, 32), 64), ((512, 512), 40)])
def test_a_table_without_pixels_is_refused(resolution, minimum):
    with pytest.raises(PlanError, match="64-pixel steps") as caught:
        bucket_resolutions(resolution, minimum=minimum, maximum=1024, step=64)
    assert "at least 64" in caught.value.hint


def test_bounds_on_whole_steps_stay():
    assert round_bounds(384, 1024, 64) == (384, 1024)
