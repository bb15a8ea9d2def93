"""Every documented limit, from both of its sides: a figure that moves breaks a test here (docs/presets.md)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rule_cases import Case, plan_case

from lora_forge.families import load_family
from lora_forge.plan.levers import active_levers
from lora_forge.plan.model import Plan
from lora_forge.plan.prompts import BY_SUBJECT
from lora_forge.plan.symptoms import loss_hint
from lora_forge.policies import load_policy, policy_names
from lora_forge.settings import Layer, Source, Value, Written

STYLE = Case(preset="style", images=30)
FACE = Case(preset="face-loha", family="sdxl")
LOKR = Case(preset="style-lokr", family="sdxl")
TWO_PHASE: dict[str, Value] = {"text_encoder.mode": "two-phase"}
TRAINED = Case(TWO_PHASE, reg=20)


def speaks(code: str, case: Case) -> bool:
    return code in {finding.code for finding in plan_case(case).findings}


def message(code: str, case: Case) -> str:
    (found,) = [finding for finding in plan_case(case).findings if finding.code == code]
    return f"{found.message} {found.hint}"


def written(case: Case, key: str, value: Value) -> Case:
    return replace(case, settings={**case.settings, key: value})


LIMITS: list[tuple[str, Case, str, Value, Value]] = [
    ("identity-rank", Case(), "network.rank", 24, 25),
    ("identity-repeats", Case(), "schedule.repeats", 10, 11),
    ("steps-per-image", STYLE, "schedule.steps", 900, 899),
    ("steps-per-image", STYLE, "schedule.steps", 1800, 1801),
    ("switch-late", TRAINED, "text_encoder.switch_at", 0.5, 0.51),
    ("text-encoder-rate", TRAINED, "text_encoder.learning_rate_ratio", 0.3, 0.29),
    ("text-encoder-rate", TRAINED, "text_encoder.learning_rate_ratio", 0.5, 0.51),
    ("resolution-low", Case(), "data.resolution", 512, 448),
    ("resolution-high", Case({"data.max_bucket": 3072}), "data.resolution", 2048, 2112),
    ("blocks-to-swap", Case(), "memory.blocks_to_swap", 35, 36),
    ("batch-card", Case(), "schedule.batch_size", 2, 3),
    ("alpha-rank", Case({"network.rank": 16}), "network.alpha", 8.0, 7.0),
    ("alpha-rank", Case({"network.rank": 16}), "network.alpha", 16.0, 17.0),
    ("style-strength", STYLE, "network.rank", 17, 16),
]
"""Rule, a plan, the setting with a documented limit, the last value within it and the first beyond."""


@pytest.mark.parametrize(("code", "case", "key", "within", "beyond"), LIMITS)
def test_a_setting_is_sound_up_to_its_limit_and_not_beyond(
    code: str, case: Case, key: str, within: Value, beyond: Value
) -> None:
    assert not speaks(code, written(case, key, within))
    assert speaks(code, written(case, key, beyond))


@pytest.mark.parametrize(
    ("case", "low", "high"), [(Case(), 15, 30), (FACE, 10, 20), (replace(LOKR, family="sd15"), 20, 50), (LOKR, 20, 50)]
)
def test_each_kind_of_lora_has_its_range_of_images(case: Case, low: int, high: int) -> None:
    spoken = [speaks("image-count", replace(case, images=count)) for count in (low - 1, low, high, high + 1)]
    assert spoken == [True, False, False, True]
    assert f"{low} to {high}" in message("image-count", replace(case, images=low - 1))


def test_a_style_wants_25_to_60_images_and_is_diluted_beyond() -> None:
    counts = (24, 25, 60, 61)
    assert [speaks("image-count", replace(STYLE, images=n)) for n in counts] == [True, False, False, False]
    assert [speaks("style-diluted", replace(STYLE, images=n)) for n in counts] == [False, False, False, True]
    assert "30 to 50 best" in message("style-diluted", replace(STYLE, images=61))


def test_8_to_15_images_of_a_style_work_only_if_all_are_on_style() -> None:
    counts = (7, 8, 15, 16)
    only = ["8 to 15 work only" in message("image-count", replace(STYLE, images=n)) for n in counts]
    assert only == [False, True, True, False]


def test_a_text_encoder_wants_15_images_and_20_to_50_of_the_class() -> None:
    assert [speaks("text-encoder-few-images", replace(TRAINED, images=n)) for n in (14, 15)] == [True, False]
    assert [speaks("reg-count", replace(TRAINED, reg=n)) for n in (19, 20, 50, 51)] == [True, False, False, True]
    assert "20 to 50" in message("reg-count", replace(TRAINED, reg=19))


def test_below_10_gb_the_augmentations_that_forbid_a_cache_are_offered_to_be_turned_off() -> None:
    assert [speaks("augment-small-card", replace(LOKR, vram=gib)) for gib in (9.9, 10.0)] == [True, False]


@pytest.mark.parametrize(("gib", "spoken"), [(8, True), (10, False), (12, False)])
def test_on_8_gb_flux_wants_an_fp8_t5(gib: float, spoken: bool) -> None:
    assert speaks("t5-fp8", Case(vram=gib, t5="BF16")) is spoken
    assert not speaks("t5-fp8", Case(vram=gib, t5="F8_E4M3"))


def test_only_style_has_a_sound_range_of_steps_per_image_and_only_epochs_read_the_folder() -> None:
    ranges = {name: load_policy(name).advice.steps_per_image for name in policy_names()}
    assert ranges == {**dict.fromkeys(policy_names()), "steps-per-image": (30.0, 60.0)}
    assert [name for name in policy_names() if load_policy(name).size(20).repeats_from_folder] == ["epochs"]
    assert [name for name in policy_names() if load_policy(name).size(20).alpha_is_rank] == ["tiers"]


SMALL_LYCORIS = {"data.resolution": 896, "memory.cache_to_disk": True, "schedule.grad_accum": 2}
FLUX_LEVERS: dict[int, dict[str, object]] = {
    8: {"memory.blocks_to_swap": 28, "schedule.batch_size": 1},
    10: {"memory.blocks_to_swap": 22, "schedule.batch_size": 1},
    12: {"memory.blocks_to_swap": 16, "schedule.batch_size": 1},
    16: {"memory.blocks_to_swap": 8, "schedule.batch_size": 1},
    24: {},
    80: {},
}
KINDS = ("lora", "loha", "lokr")


@pytest.mark.parametrize("gib", FLUX_LEVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_levers_of_every_card_family_and_kind(gib: int, kind: str) -> None:
    pulled = {
        name: {key: lever.value for key, lever in active_levers(load_family(name), float(gib), kind).items()}
        for name in ("flux", "sdxl", "sd15", "chroma")
    }
    small = SMALL_LYCORIS if gib == 8 and kind != "lora" else {}
    assert pulled == {"flux": FLUX_LEVERS[gib], "sdxl": small, "sd15": small, "chroma": {}}


def test_resolution_and_batch_are_capped_and_the_rest_is_set() -> None:
    levers = [*load_family("flux").levers, *load_family("sdxl").levers, *load_family("sd15").levers]
    assert {lever.key: lever.cap for lever in levers} == {
        "data.resolution": True,
        "schedule.batch_size": True,
        "memory.blocks_to_swap": False,
        "memory.cache_to_disk": False,
        "schedule.grad_accum": False,
    }


def planned_by_preset(name: str, family: str, gib: float, **settings: Value) -> Plan:
    """A preset of one's own that extends a shipped one: what it says yields to the levers."""
    own = {key.replace("__", "."): Written(value, Source.PRESET, "own.yaml:2") for key, value in settings.items()}
    return plan_case(Case(preset=name, family=family, vram=gib), Layer(Source.PRESET, "own.yaml", own)).plan


@pytest.mark.parametrize(("gib", "side"), [(8.0, 896), (10.0, 1024)])
@pytest.mark.parametrize(("preset", "family"), [("face-loha", "sdxl"), ("style-lokr", "sd15")])
def test_a_presets_1024_gives_way_to_896_on_8_gb(preset: str, family: str, gib: float, side: int) -> None:
    data = planned_by_preset(preset, family, gib, data__resolution=1024).data
    assert (data.resolution.value, data.resolution.source is Source.MACHINE) == (side, side == 896)


@pytest.mark.parametrize(("gib", "batch"), [(12.0, 1), (16.0, 1), (24.0, 2)])
def test_a_style_on_flux_trains_in_twos_from_24_gb_on(gib: float, batch: int) -> None:
    assert planned_by_preset("style", "flux", gib).schedule.batch_size.value == batch


def test_the_prompt_sets_word_for_word() -> None:
    assert BY_SUBJECT["style"] == (
        "portrait of a young woman, {trigger}",
        "a young woman walking in New York at night, {trigger}",
        "cat in {trigger} style",
        "a young woman walking in New York at night",
    )
    assert BY_SUBJECT["identity"] == (
        "{trigger}, a neutral portrait, plain background, looking at the camera",
        "{trigger}, standing on a beach at sunset",
        "{trigger}, wearing a formal suit in an office",
        "{trigger}, an oil painting in the style of the old masters",
        "a portrait of a person, plain background",
    )
    assert BY_SUBJECT["any"] == BY_SUBJECT["identity"]


FLOW = {"timestep_sampling": "flux_shift", "model_prediction_type": "raw", "guidance_scale": 1.0}
NOTHING = dict.fromkeys(FLOW)


@pytest.mark.parametrize(
    ("family", "guidance", "loss"),
    [
        ("flux", 3.5, FLOW),
        ("chroma", 4.0, {**FLOW, "timestep_sampling": "sigmoid", "guidance_scale": 0.0}),
        ("sdxl", 7.5, NOTHING),
        ("sd15", 7.5, NOTHING),
    ],
)
def test_what_each_family_says_of_guidance_and_timesteps(family: str, guidance: float, loss: dict[str, object]) -> None:
    decided = plan_case(Case(family=family)).plan
    assert decided.sampling.guidance.value == guidance
    assert {key: getattr(decided.loss, key).value for key in loss} == loss
    assert plan_case(Case(preset="adaptive", family=family)).plan.sampling.guidance.value == 3.5


@pytest.mark.parametrize(("family", "norm"), [("flux", 0.0), ("chroma", 0.0), ("sdxl", 1.0), ("sd15", 1.0)])
def test_adafactor_alone_goes_without_clipping_and_on_flux_alone(family: str, norm: float) -> None:
    assert plan_case(Case(family=family)).plan.optimizer.max_grad_norm.value == norm
    assert plan_case(Case(preset="adaptive", family=family)).plan.optimizer.max_grad_norm.value == 1.0


def test_what_is_said_of_a_style_that_came_out_wrong() -> None:
    said = message("style-strength", STYLE)
    for figure in ("rank 32", "4e-4", "0.5 to 0.7", "30, 60 and 100 %"):
        assert figure in said


def test_a_loss_is_low_below_two_tenths() -> None:
    assert loss_hint(load_family("sdxl"), 0.199) and not loss_hint(load_family("sdxl"), 0.2)


def test_fp8_is_asked_for_in_each_familys_word() -> None:
    assert load_family("flux").fp8_option == load_family("chroma").fp8_option == "fp8_base"
    assert load_family("sdxl").fp8_option == load_family("sd15").fp8_option == "fp8_base_unet"
