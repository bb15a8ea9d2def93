"""The rule table: every row breaks on its own wrong plan, and is silent on a right one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from rule_cases import BREAKS, KEEPS, Case, as_asked, family_of, options, plan_case
from rule_document import document

from lora_forge.engine.render import RunFiles, SubsetFolder, train_options
from lora_forge.families import load_family
from lora_forge.plan.memory import most_swapped
from lora_forge.plan.rules import all_rules
from lora_forge.plan.rules_options import WANTS, Wants
from lora_forge.plan.symptoms import FLOW_CAVEAT, loss_hint
from lora_forge.settings import Layer, Source, Value, Written

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "engine-rules.md"
IGNORED = {"no-effect", "option-no-effect", "argument-no-effect"}
"""Found by the tables of ``plan/ignored.py``, not by a row of their own."""


def codes(case: Case) -> set[str]:
    return {finding.code for finding in plan_case(case).findings}


@pytest.mark.parametrize("code", BREAKS)
def test_each_rule_speaks_on_the_plan_that_breaks_it(code: str) -> None:
    found = [finding for finding in plan_case(BREAKS[code]).findings if finding.code == code]
    assert len(found) >= 1
    assert found[0].message and not found[0].message.endswith(".")


@pytest.mark.parametrize("code", BREAKS)
def test_each_rule_is_silent_on_a_plan_that_keeps_it(code: str) -> None:
    assert code not in codes(KEEPS.get(code, Case()))


def test_every_rule_has_a_plan_that_breaks_it() -> None:
    assert {rule.code for rule in all_rules()} | IGNORED == set(BREAKS)


def test_no_code_names_two_rules() -> None:
    assert [code for code, count in Counter(rule.code for rule in all_rules()).items() if count > 1] == []


def test_every_error_says_what_to_try() -> None:
    assert [rule.code for rule in all_rules() if rule.severity == "error" and not rule.hint] == []


@pytest.mark.parametrize(
    ("family", "sent"),
    [("flux", options(max_timestep=900, metadata_usage_hint="x")), ("sdxl", options(fused_backward_pass=True))],
)
def test_what_has_no_effect_is_said_and_not_sent(family: str, sent: dict[str, object]) -> None:
    case = Case(sent, family=family)  # type: ignore[arg-type]
    assert "option-no-effect" in codes(case)
    rendered = rendered_options(case)
    asked, _ = as_asked(case, Path("/run"))
    for key in sent["engine.options"]:  # type: ignore[attr-defined]
        assert key in asked and key not in rendered


@pytest.mark.parametrize("wants", WANTS, ids=lambda wants: wants.option)
def test_an_option_whose_package_the_lock_lacks_stops_the_run(wants: Wants) -> None:
    for value in wants.values:
        findings = plan_case(Case({"engine.options": {wants.option: value}}, family="sdxl")).findings
        (said,) = [finding.message for finding in findings if finding.code == "option-package"]
        assert wants.option in said and f"package {wants.package} " in said


def test_every_package_that_the_lock_lacks_is_named_at_once() -> None:
    case = Case(options(xformers=True, deepspeed=True, log_with="all"), family="sdxl")
    (said,) = [finding.message for finding in plan_case(case).findings if finding.code == "option-package"]
    assert all(f"package {wants.package} " in said for wants in WANTS)


def test_what_has_no_effect_is_shown_at_its_own_line() -> None:
    lines = {"nonsense": "own.yaml:9:5", "max_timestep": "own.yaml:5:5"}
    table = {
        "network.args": Written({"nonsense": 1}, Source.PRESET, "own.yaml:7", parts=lines),
        "engine.options": Written({"max_timestep": 900}, Source.PRESET, "own.yaml:3", parts=lines),
    }
    findings = plan_case(Case(), Layer(Source.PRESET, "own.yaml", table)).findings
    found = {finding.code: finding.where for finding in findings}
    assert found["argument-no-effect"] == lines["nonsense"]
    assert found["option-no-effect"] == lines["max_timestep"]


def test_xformers_is_passed_over_where_the_family_has_its_own_attention() -> None:
    assert "option-package" not in codes(Case(options(xformers=True)))


def test_what_only_deepspeed_reads_is_said_and_not_sent() -> None:
    case = Case(options(zero_stage=2, offload_optimizer_device="cpu"))
    found = [finding for finding in plan_case(case).findings if finding.code == "option-no-effect"]
    assert len(found) == 2 and "zero_stage" not in rendered_options(case)


@pytest.mark.parametrize("mode", ["trained", "two-phase"])
def test_chroma_has_no_text_encoder_to_train(mode: str) -> None:
    findings = plan_case(Case({"text_encoder.mode": mode}, family="chroma")).findings
    assert [finding.code for finding in findings if finding.severity == "error"] == ["text-encoder-untrainable"]


def test_bucket_bounds_without_upscaling_are_sent_and_said_once() -> None:
    own = Case({"data.upscale": False})
    assert (codes(own) & {"bucket-bounds", "no-effect"}) - codes(Case()) == {"bucket-bounds"}
    assert not [f for f in plan_case(own).findings if f.code == "no-effect" and "bucket" in f.message]
    (dataset,) = as_asked(own, Path("/run"))[1]["datasets"]  # type: ignore[misc]
    assert (dataset["min_bucket_reso"], dataset["max_bucket_reso"]) == (384, 1024)
    wrong = codes(Case({"data.upscale": False, "data.max_bucket": 448}))
    assert "bucket-max" in wrong and "bucket-bounds" not in wrong


@pytest.mark.parametrize(
    ("settings", "sent", "spoken"),
    [
        ({"data.resolution": 1024}, 3.1582, False),
        ({"data.resolution": 768}, 3.1582, True),
        ({"data.resolution": 768, "loss.discrete_flow_shift": 3.1582}, 3.1582, True),
        ({"data.resolution": 768, "loss.discrete_flow_shift": 2.33}, 2.33, False),
    ],
)
@pytest.mark.parametrize("family", ["flux", "chroma"])
def test_a_fixed_shift_is_sent_and_right_at_1024_alone(
    family: str, settings: dict[str, Value], sent: float, spoken: bool
) -> None:
    case = Case({"loss.timestep_sampling": "shift", **settings}, family=family)
    assert rendered_options(case)["discrete_flow_shift"] == sent
    assert ("shift-resolution" in codes(case)) is spoken


def test_chroma_takes_cpu_offload_and_does_nothing_with_it() -> None:
    case = Case(options(cpu_offload_checkpointing=True), family="chroma")
    assert "option-no-effect" in codes(case) and "offload-unknown" not in codes(case)
    assert "cpu_offload_checkpointing" not in rendered_options(case)


@pytest.mark.parametrize(
    ("family", "vram", "spoken"),
    [("flux", 24, True), ("flux", 25, False), ("chroma", 16, True), ("chroma", 24, False), ("sdxl", 8, False)],
)
def test_a_base_in_16_bits_is_weighed_by_its_own_family(family: str, vram: int, spoken: bool) -> None:
    assert ("no-fp8-card" in codes(Case({"precision.fp8_base": False}, family=family, vram=vram))) is spoken


@pytest.mark.parametrize(("family", "flows"), [("flux", True), ("chroma", True), ("sdxl", False), ("sd15", False)])
def test_the_caveat_about_a_low_loss_is_for_flow_matching(family: str, flows: bool) -> None:
    assert (FLOW_CAVEAT in loss_hint(load_family(family), 0.1)) is flows


def test_an_argument_that_no_module_reads_is_not_sent() -> None:
    case = Case({"network.args": {"rank_dropout": 0.1, "nonsense": 1}})
    assert rendered_options(case)["network_args"] == ["rank_dropout=0.1"]


def test_a_tuple_written_as_text_reaches_the_optimizer_as_a_tuple() -> None:
    case = Case({"optimizer.name": "AdamW", "optimizer.args": {"betas": "(0.9, 0.99)", "fused": True}})
    assert rendered_options(case)["optimizer_args"] == ["betas=(0.9, 0.99)", "fused=True"]


@pytest.mark.parametrize(("double", "single", "most"), [(19, 38, 35), (5, 8, 6), (1, 1, 0), (2, 4, 1)])
def test_the_most_blocks_to_swap_follow_from_the_base_models_own_blocks(double: int, single: int, most: int) -> None:
    assert most_swapped(60, (double, single)) == most


def rendered_options(case: Case) -> dict[str, object]:
    run = Path("/run")
    subsets = (SubsetFolder(run / "photos", 1),)
    files = RunFiles(run / "t", run / "d", run / "p", run / "o", subsets, {}, None)
    return dict(train_options(plan_case(case).plan, family_of(case), files))


def test_the_table_of_rules_in_the_documents_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "renew it with scripts/show_rules --write"
    assert all(f"`{rule.code}`" in document() for rule in all_rules())


@pytest.mark.parametrize(
    ("case", "who"),
    [
        (Case(folders=(("10_ohwx", 10),)), "the policy identity says"),
        (Case(folders=(("10_ohwx", 10),), settings={"schedule.repeats": 3}), "--set schedule.repeats says"),
    ],
)
def test_whoever_overrules_a_folders_repeats_is_named(case: Case, who: str) -> None:
    [message] = [found.message for found in plan_case(case).findings if found.code == "folder-repeats"]
    assert f" repeats are used, as {who}, not those of 10_ohwx" in message


def test_a_tiny_disk_is_told_in_a_unit_that_shows_something() -> None:
    [message] = [found.message for found in plan_case(Case(disk=0.003)).findings if found.code == "disk-space"]
    assert "3.1 MiB are free" in message
