"""Whether what is asked for now continues what was begun: plan, data, base model, engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import InvalidInput, PlanError
from lora_forge.findings import Finding, info, warning
from lora_forge.workflow.planning import named_models, named_weights
from lora_forge.workflow.run_layout import made_with, plan_facts, plan_json, staged_subsets, unwritable
from lora_forge.workflow.run_task import Task

if TYPE_CHECKING:
    from lora_forge.runs.ledger import Fields, Json
    from lora_forge.runs.record import ModelHash, RunRecord
    from lora_forge.runs.resume import Difference
    from lora_forge.runs.staging import StagedFile
    from lora_forge.workflow.gather import Gathered
    from lora_forge.workflow.planning import PlanResult


def compare(task: Task, record: RunRecord) -> list[Finding]:
    """Refuse what would be another training; note what may differ and does.

    Raises:
        PlanError: with every difference that breaks the continuation.
    """
    from lora_forge.runs.resume import shown, way_out

    plans = plan_changes(task, record)
    found = [*plans, *world_changes(task, record)]
    breaking = [each for each in found if each.breaks]
    if breaking:
        message = f"{record.folder.name} cannot go on: {shown(breaking)}"
        raise PlanError(message, way_out(breaking))
    if plans:
        _record_plan(task, plans)
    notes = [info("changed", f"changed for this attempt: {each}") for each in found]
    return notes + ([] if not plans and _is_shown(task, record) else _show_plan(task))


def named_as_begun(planned: PlanResult, record: RunRecord) -> PlanResult:
    """Folders that were renamed keep in the run the names they had when it began."""
    from lora_forge.runs.staging import folder_names

    names = folder_names(stored_files(record))
    return replace(planned, gathered=replace(planned.gathered, begun_as=names))


def plan_changes(task: Task, record: RunRecord) -> tuple[Difference, ...]:
    from lora_forge.runs.resume import plan_differences

    return plan_differences(stored_plan(record), plan_facts(task.planned, task.run))


def world_changes(task: Task, record: RunRecord) -> list[Difference]:
    """Everything but the plan in which this attempt would differ from the one before it."""
    return [*_data_changes(task, record), *model_changes(task.planned.gathered, record), *_maker_changes(task, record)]


def _data_changes(task: Task, record: RunRecord) -> tuple[Difference, ...]:
    from lora_forge.runs.model_links import link_models
    from lora_forge.runs.resume import dataset_differences
    from lora_forge.runs.staging import lay_links, measure_dataset

    gathered = task.planned.gathered
    subsets = staged_subsets(gathered)
    measured = measure_dataset(subsets)
    data = dataset_differences(stored_files(record), measured)
    if not data:
        try:
            lay_links(task.run, subsets, measured)  # what was moved is found at its new place
            link_models(task.run, named_models(gathered).values())
        except OSError as problem:
            raise unwritable(problem) from problem
    return data


def _maker_changes(task: Task, record: RunRecord) -> list[Difference]:
    """forge, the engine's environment, the machine: said, and only another engine commit is another training."""
    from lora_forge.runs.resume import Difference

    found = []
    for section, now in made_with(task.planned.gathered).items():
        was = _table(record.made_with(section))
        found += [
            Difference(f"{section} {key}", was.get(key), now.get(key), (section, key) == ("engine", "commit"))
            for key in {**was, **now}
            if was.get(key) != now.get(key)
        ]
    return found


def model_changes(gathered: Gathered, record: RunRecord) -> list[Difference]:
    """Base models whose content is another: by size and edges, then by their SHA-256 where that was recorded."""
    from lora_forge.runs.identity import model_facts
    from lora_forge.runs.resume import Difference

    paths = named_weights(gathered)
    was, now = _table(record.facts["base_models"]), model_facts(paths)
    found = []
    for name in sorted({*was, *now}):
        if _content(was.get(name)) != _content(now.get(name)) and not _is_untold(name, was, now):
            found.append(Difference(f"base model {name}", was.get(name), now.get(name), breaks=True))
        elif name in record.models and name in paths and not _is_same(paths[name], record.models[name]):
            found.append(Difference(f"base model {name}", record.models[name].sha256, "another SHA-256", breaks=True))
    return found


def _is_untold(name: str, was: dict[str, Json], now: dict[str, Json]) -> bool:
    """Of a folder an older forge wrote down no more than that it is one; such a run can still go on."""
    model = name.partition("/")[0]
    return model not in now and _table(was.get(model)).get("folder") is True


def _is_same(path: Path, known: ModelHash) -> bool:
    from lora_forge.runs.model_hashes import is_same_model

    try:
        return is_same_model(path, known)
    except OSError as problem:
        raise InvalidInput(
            f"{path} cannot be read: {problem.strerror or problem}", "check the disk it is on"
        ) from problem


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
