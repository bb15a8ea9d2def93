"""Whether what is asked for now continues what was begun: plan, data, base model, engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lora_forge.errors import InvalidInput, PlanError
from lora_forge.findings import Finding, info
from lora_forge.workflow.planning import named_models
from lora_forge.workflow.run_layout import engine_facts, plan_json, staged_subsets
from lora_forge.workflow.run_task import Task

if TYPE_CHECKING:
    from lora_forge.runs.directory import RunDir
    from lora_forge.runs.ledger import Json
    from lora_forge.runs.record import RunRecord
    from lora_forge.runs.resume import Difference
    from lora_forge.runs.staging import StagedFile


def compare(task: Task, record: RunRecord) -> list[Finding]:
    """Refuse what would be another training; note what may differ and does.

    Raises:
        PlanError: with every difference that breaks the continuation.
    """
    from lora_forge.runs.resume import MAY_CHANGE_TEXT, shown

    found = differences(task, record)
    breaking = [each for each in found if each.breaks]
    if breaking:
        message = f"{record.folder.name} cannot go on: {shown(breaking)}"
        raise PlanError(message, f"go on as it was begun, or start a new run; {MAY_CHANGE_TEXT}")
    changed = [each for each in found if not each.breaks]
    if changed:
        _record_plan(task, changed)
    return [info("changed", f"changed for this attempt: {each}") for each in changed]


def differences(task: Task, record: RunRecord) -> list[Difference]:
    """Everything in which the plan, the data, the base model and the engine differ from what was begun."""
    from lora_forge.runs.resume import dataset_differences, plan_differences
    from lora_forge.runs.staging import lay_links, measure_dataset

    gathered = task.planned.gathered
    plans = plan_differences(stored_plan(task.run, record), json.loads(plan_json(task.planned)))
    subsets = staged_subsets(gathered)
    measured = measure_dataset(subsets)
    data = dataset_differences(stored_files(record), measured)
    if not data:
        lay_links(task.run, subsets, measured)  # what was moved is found at its new place
    return [*plans, *data, *_other_differences(task, record)]


def _other_differences(task: Task, record: RunRecord) -> list[Difference]:
    from lora_forge.runs.identity import model_facts
    from lora_forge.runs.resume import Difference

    was, now = record.facts["base_models"], model_facts(named_models(task.planned.gathered))
    engine, engine_now = record.facts["engine"], engine_facts(task.planned.gathered)
    found = []
    for name in sorted({*_table(was), *now}):
        if _content(_table(was).get(name)) != _content(now.get(name)):
            found.append(Difference(f"base model {name}", _table(was).get(name), now.get(name), breaks=True))
    for key in ("commit", "torch", "variant"):
        if _table(engine).get(key) != engine_now.get(key):
            found.append(Difference(f"engine {key}", _table(engine).get(key), engine_now.get(key), key == "commit"))
    return found


def stored_plan(run: RunDir, record: RunRecord) -> dict[str, object]:
    """The plan as it was begun, if it is still the one that the ledger names.

    Raises:
        InvalidInput: plan.json was changed or is gone.
    """
    from lora_forge.runs.identity import digest

    try:
        text = run.plan_json.read_bytes()
    except OSError as problem:
        raise InvalidInput(f"{run.plan_json} cannot be read: {problem.strerror}", "start a new run") from problem
    if digest(text) != record.plan_sha256:
        raise InvalidInput(f"{run.plan_json} is not the plan that was begun", "restore it, or start a new run")
    plan = json.loads(text)
    assert isinstance(plan, dict)
    return plan


def stored_files(record: RunRecord) -> list[StagedFile]:
    from lora_forge.runs.staging import StagedFile

    files = _table(record.facts["dataset"])["files"]
    assert isinstance(files, list)
    return [StagedFile(**file) for file in files]  # type: ignore[arg-type]


def _record_plan(task: Task, changed: Sequence[Difference]) -> None:
    from lora_forge.runs.identity import digest
    from lora_forge.runs.record import PLAN

    text = plan_json(task.planned)
    task.ledger.append(PLAN, plan_sha256=digest(text), changed=[each.key for each in changed])
    task.run.write_plan(text)


def _table(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _content(model: Json) -> tuple[Json, Json]:
    """What a base-model file is, whatever it is called."""
    told = _table(model)
    return told.get("size_bytes"), told.get("edges_sha256")
