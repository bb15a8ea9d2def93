"""Steps: laws of batches, epochs and regularization images."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from lora_forge.plan.buckets import BucketSettings
from lora_forge.plan.steps import (
    DatasetSizes,
    RegImage,
    SubsetSizes,
    balance_reg,
    count_batches,
    count_epoch,
    epochs_for,
    exposures_per_image,
    fill_buckets,
    images_seen,
    steps_for_epochs,
    steps_per_epoch,
)

SETTINGS = BucketSettings((768, 768), 384, 1024)
small = st.integers(1, 8)


def squares(images, repeats=1, is_reg=False):
    return SubsetSizes([(768, 768)] * images, repeats, is_reg)


def engine_balance(train, repeats):
    """The engine's loop as it stands, one image at a time."""
    used, total, first = [0] * len(repeats), 0, True
    while repeats and total < train:
        for index, own in enumerate(repeats):
            used[index] += own if first else 1
            total += own if first else 1
            if total >= train:
                break
        first = False
    return tuple(used)


@given(st.integers(0, 200), st.lists(st.integers(1, 12), max_size=15))
def test_regularization_images_are_balanced_one_by_one_as_the_engine_does(train, repeats):
    reg = [RegImage((768, 768), own) for own in repeats]
    assert balance_reg(train, reg) == engine_balance(train, repeats)


def test_each_bucket_rounds_up_on_its_own():
    assert count_batches([1] * 10, batch_size=2) == 10
    assert count_batches([10], batch_size=2) == 5


@given(st.lists(st.integers(1, 99), max_size=9), small, small, small)
def test_an_epoch_has_as_many_steps_as_full_rounds_and_one_for_the_rest(buckets, batch_size, grad_accum, gpus):
    steps = steps_per_epoch(buckets, batch_size=batch_size, grad_accum=grad_accum, gpus=gpus)
    batches = count_batches(buckets, batch_size)
    assert steps == math.ceil(math.ceil(batches / gpus) / grad_accum)
    assert steps_for_epochs(7, batches, grad_accum=grad_accum, gpus=gpus) == 7 * math.ceil(batches / gpus / grad_accum)


@given(st.integers(1, 5000), st.integers(1, 500))
def test_the_last_epoch_is_entered_and_no_further_one(steps, per_epoch):
    epochs = epochs_for(steps, per_epoch)
    assert (epochs - 1) * per_epoch < steps <= epochs * per_epoch


def test_twenty_three_images_twice_make_forty_four_epochs_of_two_thousand_steps():
    epoch = count_epoch([DatasetSizes([squares(23, repeats=2)], SETTINGS)])
    assert (epoch.train_samples, epoch.batches, epoch.steps) == (46, 46, 46)
    assert epochs_for(2000, epoch.steps) == 44
    assert round(exposures_per_image(2000, steps_per_epoch=epoch.steps, repeats=2)) == 87


def test_regularization_images_alone_are_never_used():
    own = DatasetSizes([squares(30, is_reg=True)], SETTINGS)
    epoch = count_epoch([DatasetSizes([squares(20)], SETTINGS), own])
    assert (epoch.reg_samples, epoch.batches) == (0, 20)


def test_regularization_images_share_the_buckets_of_the_training_images():
    buckets = fill_buckets([squares(3, repeats=3, is_reg=True), squares(8)], SETTINGS, batch_size=4)
    assert [(bucket.images, bucket.batches) for bucket in buckets] == [(8 + 9, 5)]


def test_a_folder_with_no_repeats_is_ignored():
    epoch = count_epoch([DatasetSizes([squares(8, repeats=0), squares(2), squares(5, 0, True)], SETTINGS)])
    assert (epoch.train_samples, epoch.reg_samples) == (2, 0)


def test_an_empty_dataset_counts_to_nothing_and_divides_by_nothing():
    epoch = count_epoch([DatasetSizes([], SETTINGS)])
    assert (epoch.buckets, epoch.steps, epochs_for(2000, epoch.steps)) == ((), 0, 0)
    assert exposures_per_image(2000, steps_per_epoch=0, repeats=2) == 0.0


def test_images_seen_counts_every_process_and_every_accumulated_batch():
    assert images_seen(100, batch_size=2, grad_accum=3, gpus=4) == 2400
