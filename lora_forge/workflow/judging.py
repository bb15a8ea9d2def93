"""What the rules of a plan say of a preset of which there is no plan: one to validate, or one with mistakes in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import PlanError
from lora_forge.findings import Finding, Severity, error
from lora_forge.settings import Source, Written

if TYPE_CHECKING:
    from lora_forge.datasets.facts import DatasetFacts
    from lora_forge.families.family import Family
    from lora_forge.machine import Machine
    from lora_forge.models.facts import ModelFacts
    from lora_forge.plan.make import Ingredients, Planned
    from lora_forge.presets.model import Preset
    from lora_forge.settings import Origin

NOBODY = Written(None, Source.DEFAULT)
LARGE_CARD_GIB = 80.0
"""Large enough that no table for small cards takes a preset's word away."""
SIZES_DEPEND_ON = "policy"
SIZED_TABLES = ("network", "schedule")


def judge(
    preset: Preset,
    origins: Mapping[str, Origin],
    family: Family,
    *,
    dataset: DatasetFacts | None = None,
    models: Mapping[str, ModelFacts] | None = None,
    machine: Machine | None = None,
    gpus: Written | None = None,
) -> list[Finding]:
    """Every error of the plan's own rules; what is not named is stood in for by what no rule objects to."""
    from lora_forge.plan.levers import vram
    from lora_forge.plan.make import Ingredients
    from lora_forge.policies import load_policy
    from lora_forge.presets.trust import without_refused

    machine = machine or _able_machine()
    given = Ingredients(
        preset=without_refused(preset),
        origins=origins,
        policy=load_policy(preset.policy),
        family=family,
        dataset=dataset if dataset and dataset.images else _small_dataset(),
        models=models or {},
        machine=machine,
        name=replace(NOBODY, value=preset.name),
        family_choice=replace(NOBODY, value=family.name),
        trigger=replace(NOBODY, value="trigger"),
        gpus=gpus or replace(NOBODY, value=1),
        vram=vram(None, machine),
    )
    planned = _planned(given)
    found = planned.findings if not isinstance(planned, Finding) else (planned,)
    return [finding for finding in found if finding.severity is Severity.ERROR]


def in_written_places(found: Collection[Finding], origins: Mapping[str, Origin]) -> list[Finding]:
    """Those of what somebody wrote; that a preset alone makes no plan, as one without steps, is no mistake of it."""
    written = [origin.written for origin in origins.values()]
    places = {place for each in written for place in (each.where, *each.parts.values())}
    return [finding for finding in found if finding.where in places]


def apart_from(wrong: Collection[str], origins: Mapping[str, Origin]) -> dict[str, Origin]:
    """The origins in tables without a wrong value: beside one, a rule would compare with what nobody wrote."""
    tables = {key.partition(".")[0] for key in wrong}
    if SIZES_DEPEND_ON in wrong:
        tables.update(SIZED_TABLES)
    return {key: origin for key, origin in origins.items() if key.partition(".")[0] not in tables}


def unsaid(found: Collection[Finding], said: Collection[Finding]) -> list[Finding]:
    """What was not said of the same place already, as by another check of the same words."""
    known = {(finding.code, finding.where) for finding in said}
    return [finding for finding in found if (finding.code, finding.where) not in known]


def _planned(given: Ingredients) -> Planned | Finding:
    """The plan, or why there is none: only buckets can have no meaning at all."""
    from lora_forge.plan.make import make_plan

    try:
        return make_plan(given)
    except PlanError as problem:
        step = given.origins.get("data.bucket_step")
        return error("bucket-step", problem.message, problem.hint, step.written.where if step else "data.bucket_step")


def _small_dataset() -> DatasetFacts:
    from lora_forge.datasets.facts import DatasetFacts, ImageFacts, SubsetFacts

    shapes = ((1024, 1024), (832, 1216), (1216, 832), (768, 1024))
    images = tuple(
        ImageFacts(f"{n:02}.png", *shape, f"trigger, scene {n}", f"{n:02}.txt") for n, shape in enumerate(shapes)
    )
    folder = Path("dataset")
    return DatasetFacts(folder, (SubsetFacts(folder, None, None, False, images),))


def _able_machine() -> Machine:
    from lora_forge.machine import Gpu, Machine

    card = Gpu("a large card", LARGE_CARD_GIB, bf16=True, capability=(9, 0))
    return Machine((card,), ram_gib=256.0, cpu_count=8, disk_free_gib=None)
