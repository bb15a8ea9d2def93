"""Whether what is asked for now continues what was begun: plan, data, base model, engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lora_forge.errors import InvalidInput, PlanError
from lora_forge.findings import Finding, info, warning
from lora_forge.workflow.planning import named_models
from lora_forge.workflow.run_layout import engine_facts, plan_facts, plan_json, staged_subsets, unwritable
from lora_forge.workflow.run_task import Task

if TYPE_CHECKING:
    from lora_forge.runs.ledger import Fields, Json
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
    notes = [info("changed", f"changed for this attempt: {each}") for each in changed]
    return notes + ([] if not changed and _is_shown(task, record) else _show_plan(task))


def differences(task: Task, record: RunRecord) -> list[Difference]:
    """Everything in which the plan, the data, the base model and the engine differ from what was begun."""
    from lora_forge.runs.model_links import link_models
    from lora_forge.runs.resume import dataset_differences, plan_differences
    from lora_forge.runs.staging import lay_links, measure_dataset

    gathered = task.planned.gathered
    plans = plan_differences(stored_plan(record), plan_facts(task.planned, task.run))
    subsets = staged_subsets(gathered)
    measured = measure_dataset(subsets)
    data = dataset_differences(stored_files(record), measured)
    if not data:
        try:
            lay_links(task.run, subsets, measured)  # what was moved is found at its new place
            link_models(task.run, named_models(gathered).values())
        except OSError as problem:
            raise unwritable(problem) from problem
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


def stored_plan(record: RunRecord) -> Fields:
    """The plan that the last attempt was to follow, from the ledger; plan.json is a view for people.

    Raises:
        InvalidInput: the ledger is of a forge that kept no plan in it.
    """
    if not record.plan:
        raise InvalidInput(f"the ledger of {record.folder} holds no plan", "start a new run")
    return record.plan


def stored_files(record: RunRecord) -> list[StagedFile]:
    from lora_forge.runs.staging import StagedFile

    files = _table(record.facts["dataset"])["files"]
    assert isinstance(files, list)
    return [StagedFile(**file) for file in files]  # type: ignore[arg-type]


def _record_plan(task: Task, changed: Sequence[Difference]) -> None:
    from lora_forge.runs.record import PLAN

    task.ledger.append(PLAN, plan=plan_facts(task.planned, task.run), changed=[each.key for each in changed])


def _is_shown(task: Task, record: RunRecord) -> bool:
    """Whether plan.json still says what the ledger does; its reasons are those of the first attempt."""
    from lora_forge.runs.identity import plan_facts

    try:
        return plan_facts(json.loads(task.run.plan_json.read_bytes()), task.run.path) == record.plan
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def _show_plan(task: Task) -> list[Finding]:
    """Write plan.json anew, whatever became of it; nothing is read from it that a training depends on."""
    from lora_forge.runs.disk import reason

    try:
        task.run.write_plan(plan_json(task.planned))
    except OSError as problem:
        message = f"plan.json could not be written: {reason(problem)}"
        return [warning("plan-not-shown", message, "the ledger holds the plan; nothing is lost")]
    return []


def _table(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _content(model: Json) -> tuple[Json, Json]:
    """What a base-model file is, whatever it is called."""
    told = _table(model)
    return told.get("size_bytes"), told.get("edges_sha256")
