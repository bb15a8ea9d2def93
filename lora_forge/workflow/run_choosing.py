"""Which run ``--resume`` goes on with, and what it says where there is none."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from lora_forge.errors import InvalidInput
from lora_forge.findings import Finding, info
from lora_forge.workflow.invocation import Invocation
from lora_forge.workflow.planning import PlanResult
from lora_forge.workflow.run_training import ready_plan

MOST_NAMED = 5
NOTHING_TO_RESUME = "nothing-to-resume"


def plan_to_go_on(call: Invocation) -> PlanResult:
    """The plan whose name is looked for; where no preset is named, a run still goes on by its own name.

    Raises:
        InvalidInput: as ``ready_plan``.
    """
    try:
        return ready_plan(call)
    except InvalidInput as problem:
        if not any(each.code == "preset-missing" for each in problem.findings):
            raise
        findings = _with_way_on(call, problem.findings)
        raise type(problem)(problem.message, problem.hint, findings=findings) from problem


def latest(call: Invocation, planned: PlanResult) -> Path | None:
    """The latest unfinished run of the plan's name, else the latest finished one."""
    from lora_forge.project.request import runs_folder
    from lora_forge.runs.ledger import has_ledger
    from lora_forge.runs.shelf import numbered, unfinished

    runs, name = runs_folder(planned.gathered.request, call.cwd), planned.planned.plan.name.value
    return unfinished(runs, name) or next(filter(has_ledger, numbered(runs, name)), None)


def nothing_unfinished(call: Invocation, planned: PlanResult | None = None) -> str:
    """That no run of the plan's name, or none at all, is there to go on with."""
    from lora_forge.presets.loader import shown_path

    named = f" of {planned.planned.plan.name.value}" if planned else ""
    return f"no unfinished run{named} under {shown_path(_runs(call), call.cwd)}"


def begun_anew(why: str) -> tuple[Finding, ...]:
    """A person may have meant to go on: that all of it begins is worth knowing before hours of it are trained."""
    return (info(NOTHING_TO_RESUME, f"{why}: beginning anew"),)


def _with_way_on(call: Invocation, findings: tuple[Finding, ...]) -> list[Finding]:
    """The findings, with what lies unfinished as the way out of naming no preset, or that nothing does."""
    hint = _resume_hint(call)
    if not hint:
        return [*findings, info(NOTHING_TO_RESUME, nothing_unfinished(call))]
    return [replace(each, hint=hint) if each.code == "preset-missing" else each for each in findings]


def _resume_hint(call: Invocation) -> str:
    """How to go on with what lies unfinished in the runs folder; empty where nothing does."""
    from lora_forge.runs.shelf import shelved

    names = [run.folder.name for run in shelved(_runs(call)) if run.status in ("stopped", "failed", "new")]
    where = f" --runs {shlex.quote(str(call.flags['runs']))}" if "runs" in call.flags else ""
    if not names:
        return ""
    if len(names) == 1:
        return f"forge runs resume {shlex.quote(names[0])}{where}"
    return f"forge runs resume ID{where}, with one of {', '.join(names[:MOST_NAMED])}; forge runs ls{where} shows them"


def _runs(call: Invocation) -> Path:
    from lora_forge.project.request import gather_request, runs_folder

    return runs_folder(gather_request(call.flags, call.env, call.cwd)[0], call.cwd)
