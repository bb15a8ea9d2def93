"""The levers for less memory: the cheapest first, each real, each one step, until nothing is left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from rule_cases import Case, plan_case

from lora_forge.errors import OutOfMemory, PlanError
from lora_forge.families import load_family
from lora_forge.plan.make import Planned
from lora_forge.plan.smaller import Smaller, next_smaller, next_smaller_in_host
from lora_forge.settings import Source
from lora_forge.workflow.run_smaller import MOST_RETRIES, start_smaller

Settings = Mapping[str, object]
BIG: Settings = {
    "memory.gradient_checkpointing": False,
    "memory.cache_latents": False,
    "memory.cache_text_encoder_outputs": False,
    "precision.fp8_base": False,
    "optimizer.name": "AdamW",
    "schedule.batch_size": 4,
    "network.rank": 32,
    "network.alpha": 16.0,
}


def planned(settings: Settings, family: str = "flux") -> Planned:
    return plan_case(Case(dict(settings), preset="adaptive", family=family))  # type: ignore[arg-type]


def levers(settings: Settings, family: str = "flux") -> list[Smaller]:
    return next_smaller(planned(settings, family).plan, load_family(family))


def keys(found: list[Smaller]) -> list[str]:
    return [lever.settings[0].partition("=")[0] for lever in found]


def test_what_costs_no_quality_comes_first() -> None:
    assert keys(levers(BIG)) == [
        "memory.gradient_checkpointing",
        "memory.cache_latents",
        "memory.cache_text_encoder_outputs",
        "precision.fp8_base",
        "optimizer.name",
        "memory.blocks_to_swap",
        "schedule.batch_size",
        "data.resolution",
        "network.rank",
    ]


def test_half_the_batch_keeps_the_pictures_of_a_step() -> None:
    (batch,) = [lever for lever in levers(BIG) if lever.settings[0].startswith("schedule.batch_size")]
    assert batch.settings == ("schedule.batch_size=2", "schedule.grad_accum=2")


def test_half_the_rank_keeps_alpha_per_rank() -> None:
    assert levers(BIG)[-1].settings == ("network.rank=16", "network.alpha=8")


@pytest.mark.parametrize("kind", ["loha", "lokr"])
@pytest.mark.parametrize(("now", "then"), [(128, 64), (64, 32), (48, 24), (32, 24), (25, 24), (24, 12), (12, None)])
def test_loha_and_lokr_step_down_by_way_of_rank_24(kind: str, now: int, then: int | None) -> None:
    offered = levers({"network.kind": kind, "network.rank": now, "network.alpha": now / 2}, "sdxl")[-1].settings
    if then is None:
        assert not offered[0].startswith("network.rank")
    else:
        assert offered == (f"network.rank={then}", f"network.alpha={then / 2:g}")


def test_a_plain_lora_halves_its_rank() -> None:
    assert levers({"network.rank": 32, "network.alpha": 32.0}, "sdxl")[-1].settings[0] == "network.rank=16"


@pytest.mark.parametrize(
    ("case", "spoken"),
    [
        (Case(preset="face-loha", family="sdxl", vram=8), True),
        (Case(preset="style-lokr", family="sd15", vram=8), True),
        (Case({"network.rank": 24, "network.alpha": 12.0}, preset="face-loha", family="sdxl", vram=8), False),
        (Case(preset="face-loha", family="sdxl", vram=10), False),
        (Case({"network.rank": 32}, family="sdxl", vram=8), False),
    ],
)
def test_a_loha_on_8_gb_is_told_the_rank_that_is_left(case: Case, spoken: bool) -> None:
    assert ("rank-small-card" in {finding.code for finding in plan_case(case).findings}) is spoken


@pytest.mark.parametrize(("now", "then"), [(0, 8), (8, 16), (16, 22), (22, 28), (28, 35), (35, None)])
def test_block_swap_rises_by_the_guides_steps_to_what_the_model_allows(now: int, then: int | None) -> None:
    swap = [lever.settings[0] for lever in levers({"memory.blocks_to_swap": now}) if "swap" in lever.settings[0]]
    assert swap == ([] if then is None else [f"memory.blocks_to_swap={then}"])


def test_block_swap_is_bounded_by_the_base_models_own_blocks() -> None:
    plan, flux = planned({}).plan, load_family("flux")
    assert "memory.blocks_to_swap=6" in next_smaller(plan, flux, (5, 8))[0].settings
    assert "memory.blocks_to_swap" not in keys(next_smaller(plan, flux, (1, 1)))


@pytest.mark.parametrize("family", ["sdxl", "sd15"])
def test_families_without_block_swap_are_not_offered_it(family: str) -> None:
    assert "memory.blocks_to_swap" not in keys(levers(BIG, family))


def test_a_cache_that_the_plan_would_undo_is_not_offered() -> None:
    found = keys(levers({**BIG, "augment.color": True, "captions.shuffle": True}))
    assert "memory.cache_latents" not in found
    assert "memory.cache_text_encoder_outputs" not in found
    assert "memory.cache_text_encoder_outputs" not in keys(levers(BIG, "sd15"))


def test_resolution_stops_at_512_and_above_the_smallest_bucket() -> None:
    assert "data.resolution" not in keys(levers({"data.resolution": 512, "data.min_bucket": 256}))
    assert "data.resolution" not in keys(levers({"data.resolution": 768, "data.min_bucket": 768}))


@pytest.mark.parametrize("family", ["flux", "sdxl", "sd15"])
def test_pulled_one_after_the_other_every_lever_bites_and_none_is_refused(family: str) -> None:
    settings, seen = dict(BIG), 0
    while found := levers(settings, family):
        before = planned(settings, family).plan
        pulled = [setting.split("=") for setting in found[0].settings]
        settings |= {key: value_of(text) for key, text in pulled}
        after = planned(settings, family)
        assert after.plan != before, found[0]
        assert [finding for finding in after.findings if finding.severity.value == "error"] == []
        seen += 1
        assert seen < 30, "the levers never end"
    assert seen > 6


def value_of(text: str) -> object:
    if text in ("true", "false"):
        return text == "true"
    number = text.replace(".", "", 1).isdigit()
    return (float(text) if "." in text else int(text)) if number else text


def test_for_the_machines_own_memory_caches_go_to_disk_and_fewer_blocks_wait() -> None:
    plan = planned({"memory.blocks_to_swap": 22}).plan
    found = [lever.settings for lever in next_smaller_in_host(plan, (19, 38))]
    assert found == [("memory.cache_to_disk=true",), ("memory.blocks_to_swap=16",)]


def test_without_caches_in_memory_or_swapped_blocks_the_machine_has_no_lever() -> None:
    assert next_smaller_in_host(planned({"memory.cache_to_disk": True}).plan, (19, 38)) == []


def test_where_the_machine_turned_fp8_off_it_is_not_offered_again() -> None:
    plan = planned({"precision.fp8_base": False}).plan
    fp8 = plan.precision.fp8_base.model_copy(update={"source": Source.MACHINE})
    forced = plan.model_copy(update={"precision": plan.precision.model_copy(update={"fp8_base": fp8})})
    assert "precision.fp8_base" in keys(next_smaller(plan, load_family("flux")))
    assert "precision.fp8_base" not in keys(next_smaller(forced, load_family("flux")))


# Taking them: --retry-smaller


class Start:
    """A training that runs out of memory ``times`` times, and names a lever each time."""

    def __init__(self, times: int, *, lever: bool = True) -> None:
        self.times, self.lever, self.calls = times, lever, []  # type: ignore[var-annotated]

    def __call__(self, call):  # type: ignore[no-untyped-def]
        self.calls.append(call)
        if len(self.calls) > self.times:
            return "a LoRA"
        problem = OutOfMemory("the GPU ran out of memory")
        problem.smaller = (f"memory.blocks_to_swap={8 * len(self.calls)}",) if self.lever else ()
        problem.run = f"uuid-{len(self.calls)}"
        raise problem


def call(run_dir=None):  # type: ignore[no-untyped-def]
    from lora_forge.workflow.invocation import Invocation

    return Invocation({}, ("seed=7",), {}, Path("/x"), run_dir=run_dir)


def test_each_retry_adds_its_lever_names_its_parent_and_is_said() -> None:
    start, said = Start(2), []  # type: ignore[var-annotated]
    assert start_smaller(call(), start, start, said.append) == "a LoRA"
    assert [each.parent for each in start.calls] == [None, "uuid-1", "uuid-2"]
    assert start.calls[-1].settings == ("seed=7", "memory.blocks_to_swap=8", "memory.blocks_to_swap=16")
    assert [line.rpartition(" (")[2] for line in said] == ["retry 1 of 3)", "retry 2 of 3)"]
    assert "--set memory.blocks_to_swap=8" in said[0]


def test_after_three_retries_it_gives_up() -> None:
    start = Start(99)
    with pytest.raises(OutOfMemory):
        start_smaller(call(), start, start, lambda _: None)
    assert len(start.calls) == 1 + MOST_RETRIES


def test_without_a_lever_there_is_no_retry() -> None:
    start = Start(99, lever=False)
    with pytest.raises(OutOfMemory):
        start_smaller(call(), start, start, lambda _: None)
    assert len(start.calls) == 1


def test_a_lever_that_did_not_bite_is_not_pulled_twice() -> None:
    from dataclasses import replace

    start = Start(99)
    with pytest.raises(OutOfMemory):
        start_smaller(replace(call(), settings=("memory.blocks_to_swap=8",)), start, start, lambda _: None)
    assert len(start.calls) == 1


def test_a_named_run_directory_gets_a_number_for_each_retry() -> None:
    start = Start(2)
    start_smaller(call(Path("runs/jeff")), start, start, lambda _: None)
    assert [str(each.run_dir) for each in start.calls] == ["runs/jeff", "runs/jeff-smaller1", "runs/jeff-smaller2"]


class Act:
    """Starts or resumes, and runs out of memory as scripted: (lever, the folder of the run that failed)."""

    def __init__(self, *script, refuse=False) -> None:  # type: ignore[no-untyped-def]
        self.script, self.refuse, self.done = list(script), refuse, []  # type: ignore[var-annotated]

    def start(self, call):  # type: ignore[no-untyped-def]
        return self._act("start", call)

    def resume(self, call):  # type: ignore[no-untyped-def]
        if self.refuse:
            raise PlanError("it cannot go on: precision.fp8_base was False, now True")
        return self._act("resume", call)

    def _act(self, how, call):  # type: ignore[no-untyped-def]
        self.done.append((how, str(call.run_dir), call.settings[1:]))
        if not self.script:
            return "a LoRA"
        problem = OutOfMemory("out")
        problem.smaller, problem.folder, problem.run = (self.script[0][0],), self.script[0][1], "uuid"
        self.script.pop(0)
        raise problem


def test_a_lever_that_may_change_goes_on_with_the_same_run_and_any_other_begins_a_new_one() -> None:
    run, new = Path("/x/runs/jeff-001"), Path("/x/runs/jeff-002")
    act = Act(("memory.blocks_to_swap=8", run), ("network.rank=8", run), ("memory.cache_to_disk=true", new))
    assert start_smaller(call(), act.start, act.resume, lambda _: None) == "a LoRA"
    swap, rank, disk = "memory.blocks_to_swap=8", "network.rank=8", "memory.cache_to_disk=true"
    assert act.done == [
        ("start", "None", ()),
        ("resume", str(run), (swap,)),
        ("start", "None", (swap, rank)),
        ("resume", str(new), (swap, rank, disk)),
    ]


def test_a_lever_that_moves_more_than_itself_begins_a_new_run() -> None:
    act = Act(("memory.blocks_to_swap=8", Path("/x/runs/jeff")), refuse=True)
    assert start_smaller(call(Path("runs/jeff")), act.start, act.resume, lambda _: None) == "a LoRA"
    assert [(how, folder) for how, folder, _ in act.done] == [("start", "runs/jeff"), ("start", "runs/jeff-smaller1")]


def test_a_resumed_training_gives_way_too() -> None:
    act = Act()
    start_smaller(call(), act.start, act.resume, lambda _: None, resuming=True)
    assert act.done[0][0] == "resume"
