"""The golden rows of every policy."""

from __future__ import annotations

import pytest

from lora_forge.policies import load_policy, policy_names
from lora_forge.policies.policy import half_up


def sizes(policy: str, images: int) -> tuple[object, ...]:
    sizing = load_policy(policy).size(images)
    return tuple(sized.value if sized else None for sized in (sizing.rank, sizing.alpha, sizing.repeats, sizing.steps))


def test_every_module_of_the_folder_is_a_policy() -> None:
    assert policy_names() == ("epochs", "fixed", "identity", "ramp", "steps-per-image", "tiers")
    assert all(load_policy(name).name == name for name in policy_names())


def test_an_unknown_policy_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        load_policy("policy")


@pytest.mark.parametrize(
    ("images", "steps"),
    [(1, 1500), (17, 1500), (18, 1600), (20, 1700), (23, 2000), (30, 2600), (34, 3000), (35, 3000), (200, 3000)],
)
def test_identity_is_87_steps_an_image_to_the_nearest_hundred_within_bounds(images: int, steps: int) -> None:
    assert sizes("identity", images) == (16, 8.0, 2, steps)


@pytest.mark.parametrize(
    ("images", "row"),
    [
        (1, (8, 8.0, 5, 800)),
        (2, (8, 8.0, 5, 800)),
        (3, (8, 8.0, 6, 800)),
        (5, (8, 8.0, 7, 800)),
        (9, (8, 8.0, 8, 800)),
        (10, (12, 12.0, 6, 900)),
        (11, (12, 12.0, 7, 900)),
        (12, (12, 12.0, 8, 900)),
        (14, (12, 12.0, 9, 900)),
        (15, (16, 16.0, 8, 1000)),
        (24, (16, 16.0, 8, 1000)),
        (25, (24, 24.0, 10, 1000)),
        (200, (24, 24.0, 10, 1000)),
    ],
)
def test_a_boundary_belongs_to_the_upper_tier(images: int, row: tuple[object, ...]) -> None:
    assert sizes("tiers", images) == row


@pytest.mark.parametrize(
    ("images", "steps"),
    [
        (1, 500),
        (12, 500),
        (13, 520),
        (15, 600),
        (30, 1200),
        (43, 1720),
        (60, 2400),
        (87, 3480),
        (88, 3500),
        (100, 3500),
    ],
)
def test_steps_per_image_is_forty_within_bounds(images: int, steps: int) -> None:
    assert sizes("steps-per-image", images) == (None, None, 1, steps)


@pytest.mark.parametrize(
    ("images", "steps"), [(1, 2000), (15, 2000), (16, 2100), (22, 2500), (23, 2500), (30, 3000), (60, 3000)]
)
def test_ramp_rises_in_a_straight_line_and_is_clamped(images: int, steps: int) -> None:
    assert sizes("ramp", images) == (None, None, None, steps)


def test_fixed_and_epochs_have_no_opinion_on_size() -> None:
    assert sizes("fixed", 23) == sizes("epochs", 23) == (None, None, None, None)
    assert load_policy("epochs").size(23).repeats_from_folder


def test_halves_round_upwards() -> None:
    from fractions import Fraction

    assert [half_up(Fraction(n, 2)) for n in range(6)] == [0, 1, 1, 2, 2, 3]
