"""What the planner decides, and whom it lets decide."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from rule_cases import SHAPES, Case, facts_of, machine_of, plan_case, shipped_layers

from lora_forge.engine.render import RunFiles, train_options
from lora_forge.families import load_family
from lora_forge.machine import Gpu, Machine
from lora_forge.models.facts import ModelFacts
from lora_forge.plan.levers import card_class, vram
from lora_forge.plan.make import Ingredients, Planned, make_plan
from lora_forge.plan.model import Plan
from lora_forge.policies import load_policy
from lora_forge.presets.loader import parse_set
from lora_forge.presets.merge import merge_layers
from lora_forge.settings import Layer, Source, Written

OLD_CARD = Gpu("Tesla T4", 15.0, bf16=False, capability=(7, 5))
NEW_CARD = Gpu("RTX 4090", 24.0, bf16=True, capability=(8, 9))


def plan_with(case: Case, *, models: dict[str, ModelFacts] | None = None, machine: Machine | None = None) -> Planned:
    asked = {key: Written(value, Source.CLI, f"--set {key}") for key, value in case.settings.items()}
    preset, origins, _ = merge_layers([*shipped_layers(case.preset), Layer(Source.CLI, "--set", asked)])
    assert preset is not None
    machine = machine or machine_of(case)
    return make_plan(
        Ingredients(
            preset=preset,
            origins=origins,
            policy=load_policy(preset.policy),
            family=load_family(case.family),
            dataset=facts_of(case),
            models=models or {},
            machine=machine,
            name=Written("lora", Source.DATASET, why="test"),
            family_choice=Written(case.family, Source.CLI, "--family"),
            trigger=Written(case.trigger, Source.CLI, "--trigger"),
            gpus=Written(case.gpus, Source.CLI, "--gpus"),
            vram=vram(None, machine),
        )
    )


def plan(case: Case) -> Plan:
    return plan_case(case).plan


@pytest.mark.parametrize(
    ("gib", "size"), [(6.0, 8), (7.6, 8), (9.5, 10), (11.0, 10), (11.6, 12), (15.7, 16), (23.4, None), (80.0, None)]
)
def test_a_card_counts_as_the_documented_size_it_reaches(gib: float, size: int | None) -> None:
    assert card_class(gib) == size


@pytest.mark.parametrize(("gib", "swap"), [(8, 28), (10, 22), (12, 16), (16, 8), (24, None), (80, None)])
def test_flux_swaps_more_blocks_the_smaller_the_card(gib: int, swap: int | None) -> None:
    decided = plan(Case(vram=gib)).memory.blocks_to_swap
    assert decided.value == swap
    assert (decided.source is Source.MACHINE) == (swap is not None)


def test_a_person_overrules_the_card() -> None:
    decided = plan(Case({"memory.blocks_to_swap": 30}, vram=12)).memory.blocks_to_swap
    assert (decided.value, decided.source) == (30, Source.CLI)


def test_a_face_loha_on_8_gb_caches_to_disk_and_accumulates_two() -> None:
    decided = plan(Case(preset="face-loha", family="sdxl", vram=8))
    assert (decided.memory.cache_to_disk.value, decided.schedule.grad_accum.value) == (True, 2)
    assert decided.data.resolution.value == 768  # a cap lowers, it does not raise


def test_a_cap_lowers_only_what_exceeds_it() -> None:
    high = Case({"data.max_bucket": 1280}, preset="face-loha", family="sdxl", vram=8)
    assert plan(high).data.resolution.value == 768


def test_the_smallest_card_decides() -> None:
    both = Machine((NEW_CARD, OLD_CARD), 64.0, 8, None)
    assert vram(None, both).value == 15.0
    assert vram(Written(8, Source.CLI), both).value == 8
    assert vram(None, Machine((), 64.0, 8, None)).value is None


def test_a_card_without_bf16_gets_fp16_and_a_remark() -> None:
    planned = plan_with(Case(), machine=Machine((OLD_CARD,), 64.0, 8, None))
    assert (planned.plan.precision.mixed.value, planned.plan.precision.mixed.source) == ("fp16", Source.MACHINE)
    assert "no-bf16" in {finding.code for finding in planned.findings}


def test_without_a_card_it_runs_on_the_cpu_and_says_so() -> None:
    planned = plan_with(Case(), machine=Machine((), 64.0, 8, None))
    assert planned.plan.precision.mixed.value == "bf16"
    assert "no-gpu" in {finding.code for finding in planned.findings}


def test_sdxl_keeps_its_base_in_bf16_on_a_cpu() -> None:
    planned = plan_with(Case(family="sdxl"), machine=Machine((), 64.0, 8, None))
    assert planned.plan.precision.fp8_base.value is False


@pytest.mark.parametrize("family", ["sdxl", "sd15", "flux"])
def test_a_named_card_is_planned_for_as_if_it_were_here(family: str) -> None:
    here, elsewhere = (plan_case(Case(family=family, vram=8.0, cards=cards)) for cards in (1, 0))
    assert elsewhere.plan == here.plan
    assert {finding.code for finding in elsewhere.findings} - {finding.code for finding in here.findings} == {
        "another-machine"
    }


def test_a_loha_planned_for_a_card_elsewhere_computes_beside_its_fp8_base() -> None:
    case = Case(preset="face-loha", family="sdxl", vram=8.0, cards=0)
    assert plan(case).precision.fp8_base.value is True
    assert plan(case).network.args.value["bypass_mode"] is True
    off = replace(case, settings={"network.args": {"bypass_mode": False}})
    assert "lycoris-fp8" in {finding.code for finding in plan_case(off).findings}


def test_the_processor_of_this_machine_does_not_judge_a_plan_for_another() -> None:
    settings = {"precision.mixed": "fp16", "engine.options": {"cpu_offload_checkpointing": True}}
    found = {finding.code for finding in plan_case(Case(settings, vram=24.0, cards=0, gpus=2)).findings}
    assert not found & {"no-gpu", "no-fp8", "cpu-fp16", "cpu-offload", "cpu-processes"}


def test_lokr_over_convolutions_keeps_its_base_in_bf16_on_any_card() -> None:
    planned = plan_case(Case(preset="style-lokr", family="sdxl"))
    assert planned.plan.precision.fp8_base.value is False
    assert "bypass_mode" not in planned.plan.network.args.value
    assert "no-fp8-network" in {finding.code for finding in planned.findings}


def test_lokr_on_flux_has_no_convolution_and_keeps_fp8() -> None:
    network = Case({"network.kind": "lokr", "network.factor": 8})
    assert plan(network).precision.fp8_base.value is True
    assert plan(network).network.args.value["bypass_mode"] is True


def test_full_half_precision_needs_mixed_precision() -> None:
    case = Case({"precision.mixed": "no", "precision.full": True, "precision.fp8_base": False})
    assert plan(case).precision.full.value is False


def test_kohya_folders_give_the_repeats_of_an_epochs_policy() -> None:
    one = plan(Case(preset="face-loha", family="sdxl", images=12, folders=(("10_ohwx person", 10),)))
    assert (one.schedule.repeats.value, one.schedule.repeats.source) == (10, Source.DATASET)
    assert one.schedule.steps.value == 12 * 10 * 10
    two = plan(Case(preset="face-loha", family="sdxl", images=6, folders=(("10_a", 10), ("4_b", 4), ("c", None))))
    assert two.schedule.repeats.value == {"10_a": 10, "4_b": 4, "c": 10}
    assert two.schedule.steps.value == 6 * (10 + 4 + 10) * 10


def test_a_person_overrules_the_folder() -> None:
    case = Case({"schedule.repeats": 3}, preset="face-loha", family="sdxl", folders=(("10_ohwx", 10),))
    assert (plan(case).schedule.repeats.value, plan(case).schedule.repeats.source) == (3, Source.CLI)


def test_a_policy_that_sizes_repeats_does_not_read_the_folder() -> None:
    assert plan(Case(folders=(("10_ohwx", 10),))).schedule.repeats.value == 2


def test_epochs_written_by_a_person_beat_the_policys_steps() -> None:
    case = Case({"schedule.epochs": 10})
    assert (plan(case).schedule.steps.value, plan(case).schedule.steps.source) == (460, Source.CLI)


def test_no_pictures_when_sampling_is_off() -> None:
    sampling = plan(Case({"sampling.enabled": False})).sampling
    assert (sampling.every.value, sampling.prompts.value, sampling.seed.value) == (None, (), None)


def test_own_prompts_take_the_place_of_the_set() -> None:
    sampling = plan(Case({"sampling.prompts": ["{trigger} at sea", "STYLE_TOKEN fog"]})).sampling
    assert sampling.prompts.value == ("ohwx at sea", "ohwx fog")
    assert sampling.prompts.source is Source.CLI


def test_without_a_trigger_no_generic_stand_in_is_sampled() -> None:
    assert plan(Case(preset="fast-iteration", trigger=None)).sampling.prompts.value == (
        "a portrait of a person, plain background",
    )


def test_a_trained_text_encoder_learns_at_four_tenths_of_the_rate() -> None:
    decided = plan(Case({"text_encoder.mode": "two-phase"}, reg=20))
    assert decided.optimizer.text_encoder_learning_rate.value == pytest.approx(4e-5)
    assert decided.text_encoder.switch_step.value == 1000
    assert decided.text_encoder.reg_required.value is True


def test_a_text_encoder_rate_of_ones_own_stands() -> None:
    own = {"text_encoder.mode": "trained", "optimizer.text_encoder_learning_rate": 2e-5}
    assert plan(Case(own, reg=20)).optimizer.text_encoder_learning_rate.value == 2e-5


def model(name: str, **facts: object) -> ModelFacts:
    sound = ModelFacts(Path(f"/{name}.safetensors"), "base", "flux", "dev", "original", 19, 38, "BF16", None, 1, None)
    return replace(sound, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"family": "sdxl"}, "model-wrong-file"),
        ({"family": None, "role": "unknown"}, "model-wrong-file"),
        ({"dtype": "F8_E5M2"}, "model-fp8-type"),
        ({"quantization": "4-bit bitsandbytes"}, "model-quantized"),
    ],
)
def test_a_file_that_cannot_be_the_base_model_is_an_error(facts: dict[str, object], code: str) -> None:
    findings = plan_with(Case(), models={"model": model("model", **facts)}).findings
    assert code in {finding.code for finding in findings if finding.severity == "error"}


@pytest.mark.parametrize("facts", [{"dtype": "F8_E5M2"}, {"quantization": "4-bit bitsandbytes"}])
def test_a_plan_and_a_listing_refuse_a_file_in_the_same_words(facts: dict[str, object]) -> None:
    from lora_forge.models.suits import why_unusable

    file = model("model", **facts)
    messages = {finding.message for finding in plan_with(Case(), models={"model": file}).findings}
    assert f"model.safetensors {why_unusable(file)}" in messages


def test_an_fp8_e4m3fn_base_model_is_welcome() -> None:
    findings = plan_with(Case(), models={"model": model("model", dtype="F8_E4M3")}).findings
    assert not {finding.code for finding in findings if finding.code.startswith("model-")}


def test_the_lora_follows_the_encoders_own_file_where_it_is_trained() -> None:
    from lora_forge.families.modules import clip_modules

    small = clip_modules("lora_te1", layers=2, hidden=64, mlp=128)
    encoder = model("clip", role="clip_l", family=None, modules=small)
    case = Case({"text_encoder.mode": "trained"}, reg=20)
    planned = plan_with(case, models={"clip_l": encoder})
    assert [m for m in planned.modules if m.name.startswith("lora_te")] == list(small)
    usual = plan_with(case)
    assert len([m for m in usual.modules if m.name.startswith("lora_te")]) == 72


def test_an_sd_checkpoint_tells_its_own_text_encoders() -> None:
    from lora_forge.families.modules import clip_modules

    small = clip_modules("lora_te", layers=1, hidden=64, mlp=128)
    checkpoint = model("sd", family="sd15", text_encoder_modules=small)
    planned = plan_with(Case({"text_encoder.mode": "trained"}, family="sd15", reg=20), models={"model": checkpoint})
    assert [m for m in planned.modules if m.name.startswith("lora_te")] == list(small)


def test_the_disk_needed_counts_every_file_and_the_caches_on_disk() -> None:
    outputs = plan(Case()).outputs
    assert outputs.disk_bytes.value == 5 * (outputs.lora_bytes.value + outputs.header_bytes.value)
    on_disk = plan(Case({"memory.cache_to_disk": True})).outputs.disk_bytes.value - outputs.disk_bytes.value
    assert on_disk == 23 * 4 * (16 * 96 * 96 + 768 + 512 * 4096)


def test_the_same_ingredients_make_the_same_plan() -> None:
    assert plan_case(Case()).plan.model_dump_json() == plan_case(Case()).plan.model_dump_json()


def test_a_plan_survives_its_json() -> None:
    before = plan(Case(preset="face-loha", family="sdxl", folders=(("10_a", 10), ("4_b", 4))))
    assert Plan.model_validate_json(before.model_dump_json()) == before


def test_a_lever_is_cut_to_the_blocks_that_the_base_model_has() -> None:
    small = model("small", double_blocks=4, single_blocks=4)
    machine = Machine((Gpu("small card", 12.0, bf16=True, capability=(8, 6)),), 64.0, 8, None)
    swap = plan_with(Case(), models={"model": small}, machine=machine).plan.memory.blocks_to_swap
    assert (swap.value, swap.source) == (2, Source.MACHINE)


def test_sdxl_caches_no_outputs_of_an_encoder_in_training() -> None:
    case = Case({"text_encoder.mode": "trained"}, family="sdxl", reg=20)
    assert plan(case).memory.cache_text_encoder_outputs.value is False
    kept = Case({"text_encoder.mode": "trained"}, reg=20)
    assert plan(kept).memory.cache_text_encoder_outputs.value is True  # FLUX: T5 stays cached


def test_a_switch_that_a_person_turned_back_is_said() -> None:
    case = Case({"memory.cache_to_disk": False}, preset="face-loha", family="sdxl", vram=8)
    assert "lever-overruled" in {finding.code for finding in plan_case(case).findings}


def test_the_usual_text_encoders_have_their_documented_modules() -> None:
    counts = {}
    for family in ("sd15", "sdxl"):
        case = Case({"text_encoder.mode": "trained"}, family=family, reg=20)
        counts[family] = len([m for m in plan_case(case).modules if m.name.startswith("lora_te")])
    assert counts == {"sd15": 72, "sdxl": 72 + 192}


def test_an_unknown_policy_sizes_nothing() -> None:
    from lora_forge.policies import sized_keys

    assert sized_keys("nosuch") == frozenset()


def test_an_image_keeps_its_own_bucket_where_nothing_is_enlarged() -> None:
    from lora_forge.plan.buckets import BucketSettings, bucket_of

    assert bucket_of((500, 300), BucketSettings((768, 768), upscale=False)) == (448, 256)


def test_t5_has_seven_modules_a_layer() -> None:
    from lora_forge.families.modules import t5_modules

    assert len(t5_modules()) == 168


def test_a_rank_that_nobody_sizes_is_16_with_alpha_alike() -> None:
    nobody = Case({"policy": "fixed", "network.rank": None, "network.alpha": None, "schedule.steps": 100})
    network = plan(nobody).network
    assert (network.rank.value, network.alpha.value, network.rank.source) == (16, 16.0, Source.DEFAULT)


def test_a_bool_is_no_number_for_a_network_argument() -> None:
    case = Case({"network.args": {"rank_dropout": True}})
    assert "network-argument" in {finding.code for finding in plan_case(case).findings}


def test_lokr_without_a_factor_splits_as_evenly_as_it_can() -> None:
    assert plan(Case({"network.kind": "lokr"})).network.factor.value == -1


@pytest.mark.parametrize("images", [9, 12, 20, 30])
def test_alpha_equal_to_rank_is_equal_to_a_written_rank_too(images: int) -> None:
    network = plan(Case({"network.rank": 20}, preset="adaptive", images=images)).network
    assert (network.rank.source, network.alpha.source) == (Source.CLI, Source.POLICY)
    assert (network.rank.value, network.alpha.value) == (20, 20.0)


def test_an_alpha_of_ones_own_does_not_follow_the_rank() -> None:
    network = plan(Case({"network.rank": 20, "network.alpha": 10.0}, preset="adaptive")).network
    assert (network.alpha.value, network.alpha.source) == (10.0, Source.CLI)


def test_the_alpha_of_identity_does_not_follow_a_written_rank() -> None:
    assert plan(Case({"network.rank": 32})).network.alpha.value == 8.0


@pytest.mark.parametrize(
    ("settings", "conv_rank", "conv_alpha"),
    [
        ({"network.conv_rank": 8}, 8, 4.0),  # identity: alpha is half the rank
        ({"network.conv_rank": 8, "network.conv_alpha": 1.0}, 8, 1.0),
        ({"network.kind": "loha"}, 16, 8.0),  # LyCORIS trains convolutions unasked
        ({"network.kind": "loha", "network.conv_alpha": 16.0}, 16, 16.0),
        ({}, None, None),
    ],
)
def test_the_plan_says_the_rank_and_alpha_that_convolutions_get(
    settings: dict[str, object], conv_rank: int | None, conv_alpha: float | None
) -> None:
    case = Case(settings, family="sdxl")  # type: ignore[arg-type]
    network = plan(case).network
    assert (network.conv_rank.value, network.conv_alpha.value) == (conv_rank, conv_alpha)
    sent = network_arguments(case)
    assert sent.get("conv_dim") == (None if conv_rank is None else str(conv_rank))
    assert sent.get("conv_alpha") == (None if conv_alpha is None else str(conv_alpha))


def test_flux_has_no_convolutions_to_decide_on() -> None:
    for case in (Case({"network.kind": "loha"}), Case({"network.conv_rank": 8})):
        assert plan(case).network.conv_alpha.value is None
        assert "conv_dim" not in network_arguments(case)


def network_arguments(case: Case) -> dict[str, str]:
    run, family = Path("/run"), load_family(case.family)
    files = RunFiles(run, run, run, run, (), {}, None)
    words = train_options(plan(case), family, files).get("network_args", [])
    assert isinstance(words, list)
    return dict(str(word).split("=", 1) for word in words)


def place_of(code: str, case: Case) -> str:
    (found,) = [finding for finding in plan_case(case).findings if finding.code == code]
    return found.where


def test_a_finding_blames_whoever_decided_the_value_and_nobody_else() -> None:
    wide = Case({"network.rank": 48})
    assert place_of("identity-rank", wide) == "--set network.rank"
    assert place_of("alpha-rank", wide) == "network.alpha"  # the policy's, though fast-iteration.yaml writes one too
    quick = Case({"network.rank": 48}, preset="fast-iteration")
    assert place_of("alpha-rank", quick).startswith("fast-iteration.yaml:")
    folder = Case({"schedule.epochs": 2}, preset="face-loha", family="sdxl", images=12, folders=(("20_ohwx", 20),))
    assert place_of("identity-repeats", folder) == "schedule.repeats"


def test_a_setting_that_gave_way_is_found_where_it_was_written() -> None:
    assert place_of("epochs-overruled", Case({"schedule.epochs": 3, "schedule.steps": 900})) == "--set schedule.epochs"
    full = {"precision.full": True, "precision.mixed": "no", "precision.fp8_base": False}
    assert place_of("full-given-up", Case(full)) == "--set precision.full"


@pytest.mark.parametrize(("vram", "spoken"), [(8, True), (10, True), (12, True), (16, False), (24, False)])
def test_a_card_of_12_gb_and_less_wants_flux_with_an_optimizer_of_little_state(vram: int, spoken: bool) -> None:
    full = {"optimizer.name": "AdamW", "optimizer.args": {}}
    assert ("optimizer-state" in {f.code for f in plan_case(Case(full, vram=vram)).findings}) is spoken
    lean = {"optimizer.name": "AdamW8bit", "optimizer.args": {}}
    assert "optimizer-state" not in {f.code for f in plan_case(Case(lean, vram=vram)).findings}
    kept = plan(Case(vram=vram)).optimizer.name
    assert (kept.value, "takes less still" in kept.why) == ("Adafactor", spoken)
    assert "optimizer-state" not in {f.code for f in plan_case(Case(full, family="sdxl", vram=vram)).findings}


def test_arguments_of_another_optimizer_come_with_the_way_to_drop_them() -> None:
    findings = plan_case(Case({"optimizer.name": "AdamW8bit"})).findings
    (found,) = [finding for finding in findings if finding.code == "optimizer-argument"]
    assert "--set optimizer.args={}" in found.hint
    mended = Case({"optimizer.name": "AdamW8bit", "optimizer.args": {}})
    assert [finding.code for finding in plan_case(mended).findings if finding.severity == "error"] == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"captions.dropout": 0.1}, "captions.dropout changes"),
        ({"captions.shuffle": True}, "captions.shuffle changes"),
        ({"captions.shuffle": True, "captions.dropout": 0.1}, "captions.shuffle and captions.dropout change "),
        ({"augment.color": True}, "augment.color changes"),
        ({"augment.color": True, "augment.random_crop": True}, "augment.color and augment.random_crop change "),
    ],
)
def test_following_the_hint_turns_the_cache_on_again(settings: dict[str, object], said: str) -> None:
    (found,) = [f for f in plan_case(Case(settings)).findings if f.code.endswith("-not-cached")]  # type: ignore[arg-type]
    assert found.message.startswith(said)
    written = (parse_set(argument) for argument in re.findall(r"--set (\S+)", found.hint))
    mended = Case({**settings, **{key: said.value for key, said in written}})  # type: ignore[dict-item]
    codes = {finding.code for finding in plan_case(mended).findings}
    assert not codes & {"latents-not-cached", "text-encoder-outputs-not-cached"}


def test_the_buckets_of_a_plan_are_those_that_its_images_were_counted_in() -> None:
    from lora_forge.plan.buckets import bucket_of
    from lora_forge.plan.schedule import buckets_of

    for settings in ({}, {"data.upscale": False}, {"data.resolution": 640, "data.max_bucket": 896}):
        decided = plan(Case(settings)).data  # type: ignore[arg-type]
        sizes = {bucket_of(size, buckets_of(decided)) for size in SHAPES}
        assert sizes == {(bucket.width, bucket.height) for bucket in decided.buckets.value}


@pytest.mark.parametrize("key", ["captions.shuffle", "captions.dropout", "augment.color"])
def test_a_cache_that_was_given_up_points_at_what_forbids_it(key: str) -> None:
    findings = plan_case(Case({key: 0.1 if key == "captions.dropout" else True})).findings
    assert [f.where for f in findings if f.code.endswith("-not-cached")] == [f"--set {key}"]
