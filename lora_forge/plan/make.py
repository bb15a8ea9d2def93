"""Preset + dataset + base model + machine + family → plan. Pure: the same input gives the same plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from lora_forge.datasets.facts import DatasetFacts
from lora_forge.families.family import Family
from lora_forge.families.modules import LoraModule
from lora_forge.findings import Finding
from lora_forge.machine import Machine
from lora_forge.models.facts import ModelFacts
from lora_forge.plan import model as p
from lora_forge.plan.choices import Choices
from lora_forge.plan.disk import cache_bytes
from lora_forge.plan.levers import active_levers, for_another_machine, wants_lean_optimizer
from lora_forge.plan.memory import blocks_of, decide_memory
from lora_forge.plan.network import decide_network, fp8_obstacle, lora_modules
from lora_forge.plan.optimizers import LEANEST
from lora_forge.plan.outputs import count_files, decide_outputs
from lora_forge.plan.precision import decide_precision
from lora_forge.plan.prompts import BY_SUBJECT, fill_prompts
from lora_forge.plan.rule import Context
from lora_forge.plan.rules import check_plan
from lora_forge.plan.schedule import decide_schedule
from lora_forge.policies.policy import Policy
from lora_forge.presets.model import Preset
from lora_forge.settings import Origin, Source, Written


@dataclass(frozen=True)
class Ingredients:
    """All that a plan is made of; every part was read or measured before."""

    preset: Preset
    origins: Mapping[str, Origin]
    policy: Policy
    family: Family
    dataset: DatasetFacts
    models: Mapping[str, ModelFacts]
    """By the family's name of the file (``model``, ``clip_l``, …); absent where nobody named one."""
    machine: Machine
    name: Written
    family_choice: Written
    trigger: Written
    gpus: Written
    vram: Written
    """GiB to plan for; None without a card."""


@dataclass(frozen=True)
class Planned:
    """The plan, the LoRA modules it counts on, and everything worth saying about both."""

    plan: p.Plan
    modules: tuple[LoraModule, ...]
    findings: tuple[Finding, ...]


def make_plan(given: Ingredients) -> Planned:
    """Decide everything.

    A dataset with errors still gives a plan wherever the arithmetic has a meaning;
    the findings say what stops a run.
    """
    levers = active_levers(given.family, cast("float | None", given.vram.value), given.preset.network.kind)
    sizing = given.policy.size(given.dataset.images)
    choices = Choices(given.preset, given.origins, given.family, sizing, levers)
    sized = decide_schedule(choices, given.dataset, cast("int", given.gpus.value))
    steps = sized.schedule.steps.value
    captions, augment = _captions(choices), _augment(choices)
    encoder = _text_encoder(choices, steps)
    modules = lora_modules(given.family, given.models, encoder)
    obstacle = fp8_obstacle(choices, modules)
    elsewhere = for_another_machine(given.vram.source, given.machine)
    precision, precision_notes = decide_precision(choices, given.family, given.machine, obstacle, elsewhere=elsewhere)
    memory, memory_notes = decide_memory(
        choices, given.family, captions, augment, encoder, blocks_of(given.family, given.models)
    )
    network = decide_network(choices, given.family, precision)
    files = count_files(network, precision, modules, given.models.get("model"))
    disk = cache_bytes(given.family, sized.data, memory, augment)
    plan = p.Plan(
        **_identity(given, choices),
        network=network,
        schedule=sized.schedule,
        optimizer=_optimizer(choices, encoder, cast("float | None", given.vram.value)),
        data=sized.data,
        precision=precision,
        memory=memory,
        text_encoder=encoder,
        loss=_loss(choices),
        augment=augment,
        captions=captions,
        sampling=_sampling(choices, sized.schedule, given.trigger),
        outputs=decide_outputs(files, sized.schedule, disk),
        engine_options=choices.of("engine.options"),
    )
    context = Context(given.preset, choices, given.family, given.policy, given.dataset, given.models, given.machine)
    findings = (*precision_notes, *memory_notes, *check_plan(plan, context))
    return Planned(plan, modules, findings)


def _identity(given: Ingredients, choices: Choices) -> dict[str, p.Decided[object]]:
    preset_why = given.preset.about or "the preset that was asked for"
    return {
        "name": _from_written(given.name),
        "preset": p.Decided(value=given.preset.name, source=Source.PRESET, why=preset_why),
        "policy": choices.of("policy"),
        "family": _from_written(given.family_choice),
        "trigger": _from_written(given.trigger),
        "seed": choices.of("seed"),
        "gpus": _from_written(given.gpus),
        "vram_gib": _from_written(given.vram),
    }


def _from_written(written: Written) -> p.Decided[object]:
    why = written.why or f"written in {written.where}"
    return p.Decided(value=written.value, source=written.source, why=why, where=written.where)


def _captions(choices: Choices) -> p.CaptionsPlan:
    return p.CaptionsPlan(
        extension=choices.of("captions.extension"),
        shuffle=choices.of("captions.shuffle"),
        keep_tokens=choices.of("captions.keep_tokens"),
        dropout=choices.of("captions.dropout"),
    )


def _augment(choices: Choices) -> p.AugmentPlan:
    return p.AugmentPlan(
        color=choices.of("augment.color"),
        flip=choices.of("augment.flip"),
        random_crop=choices.of("augment.random_crop"),
    )


def _text_encoder(choices: Choices, steps: int) -> p.TextEncoderPlan:
    mode = cast("p.Decided[str]", choices.of("text_encoder.mode"))
    share = cast("float", choices.value("text_encoder.switch_at"))
    if mode.value == "two-phase":
        why = f"{share:.0%} of {steps:,} steps with the text encoder, the rest without"
        switch: p.Decided[int | None] = p.Decided(value=int(steps * share), source=mode.source, why=why)
    else:
        switch = p.Decided(value=None, source=mode.source, why=f"the text encoder is {mode.value} throughout")
    trains = mode.value != "frozen"
    why = "a trained text encoder forgets the class without them" if trains else "the text encoder is frozen"
    return p.TextEncoderPlan(
        mode=mode, switch_step=switch, reg_required=p.Decided(value=trains, source=mode.source, why=why)
    )


def _optimizer(choices: Choices, encoder: p.TextEncoderPlan, vram_gib: float | None) -> p.OptimizerPlan:
    rate = cast("p.Decided[float]", choices.of("optimizer.learning_rate"))
    return p.OptimizerPlan(
        name=_optimizer_name(choices, vram_gib),
        args=choices.of("optimizer.args"),
        learning_rate=rate,
        text_encoder_learning_rate=_text_encoder_rate(choices, rate.value, encoder),
        scheduler=choices.of("optimizer.scheduler"),
        scheduler_cycles=choices.of("optimizer.scheduler_cycles"),
        max_grad_norm=choices.of("optimizer.max_grad_norm"),
    )


def _optimizer_name(choices: Choices, vram_gib: float | None) -> p.Decided[object]:
    """A small card's table names 8-bit AdamW; what takes less still stays, and says so."""
    decided = choices.of("optimizer.name")
    if str(decided.value).lower() != LEANEST or not wants_lean_optimizer(choices.family, vram_gib):
        return decided
    limit = choices.family.lean_optimizer_up_to_gib
    why = f"{decided.why}; up to {limit} GB the engine's guide asks for 8-bit AdamW, and Adafactor takes less still"
    return p.Decided(value=decided.value, source=decided.source, why=why, where=decided.where)


def _text_encoder_rate(choices: Choices, rate: float, encoder: p.TextEncoderPlan) -> p.Decided[object]:
    key = "optimizer.text_encoder_learning_rate"
    if encoder.mode.value == "frozen":
        why = "frozen: no text-encoder LoRA is made at all (a rate of 0 would still make and save one)"
        return p.Decided(value=None, source=encoder.mode.source, why=why)
    if choices.is_written(key):
        return choices.of(key)
    ratio = cast("float", choices.value("text_encoder.learning_rate_ratio"))
    origin = choices.of("text_encoder.learning_rate_ratio")
    why = f"{ratio:g} × the learning rate; 0.3 to 0.5 is the sound range"
    return p.Decided(value=rate * ratio, source=origin.source, why=why, where=origin.where)


def _loss(choices: Choices) -> p.LossPlan:
    decided = {key: choices.of(f"loss.{key}") for key in p.LossPlan.model_fields}
    fixed = choices.family.fixed_shift
    if fixed and decided["timestep_sampling"].value == "shift" and decided["discrete_flow_shift"].value is None:
        why = f"the fixed shift of {choices.family.native_resolution}²; the engine's own default is another"
        decided["discrete_flow_shift"] = p.Decided(value=fixed, source=Source.FAMILY, why=why)
    return p.LossPlan(**decided)


def _sampling(choices: Choices, schedule: p.SchedulePlan, trigger: Written) -> p.SamplingPlan:
    enabled = choices.of("sampling.enabled")
    if not enabled.value:
        off: p.Decided[None] = p.Decided(value=None, source=enabled.source, why="no pictures while training")
        none: p.Decided[tuple[str, ...]] = p.Decided(value=(), source=enabled.source, why="no pictures while training")
        return p.SamplingPlan(every=off, prompts=none, guidance=off, steps=off, seed=off)
    every: p.Decided[int | None] = p.Decided(
        value=schedule.checkpoint_every.value,
        source=enabled.source,
        why="one picture of each prompt a checkpoint",
    )
    return p.SamplingPlan(
        every=every,
        prompts=_prompts(choices, trigger),
        guidance=choices.of("sampling.guidance"),
        steps=choices.of("sampling.steps"),
        seed=choices.of("sampling.seed"),
    )


def _prompts(choices: Choices, trigger: Written) -> p.Decided[tuple[str, ...]]:
    token = cast("str | None", trigger.value)
    own = cast("list[str]", choices.value("sampling.prompts"))
    if own:
        decided = choices.of("sampling.prompts")
        return p.Decided(value=fill_prompts(own, token), source=decided.source, why=decided.why, where=decided.where)
    why = f"the {choices.preset.subject} set, with the trigger in place"
    return p.Decided(value=fill_prompts(BY_SUBJECT[choices.preset.subject], token), source=Source.DEFAULT, why=why)
