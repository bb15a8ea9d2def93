"""The use cases. The only place where the stations meet: each one is a fold of small tasks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import InvalidInput, PlanError
from lora_forge.findings import Finding, Severity, error, warning
from lora_forge.settings import Source, Written
from lora_forge.workflow.checking import plan_remarks
from lora_forge.workflow.gather import Gathered, gather, readiness
from lora_forge.workflow.invocation import Invocation
from lora_forge.workflow.lora_name import decide_name, name_changed

if TYPE_CHECKING:
    from lora_forge.datasets.look import Watch
    from lora_forge.engine.launch import Rendered
    from lora_forge.engine.render import RunFiles
    from lora_forge.plan.make import Planned
    from lora_forge.runs.directory import RunDir

HELD_OUT = "held-out"
"""The staged folder of the images that validate."""


@dataclass(frozen=True)
class PlanResult:
    """A plan, as far as it could be computed, with everything that was noticed on the way."""

    gathered: Gathered
    planned: Planned
    rendered: Rendered | None
    run_dir: Path
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        return InvalidInput.exit_code if has_errors(self.findings) else 0

    def data(self) -> dict[str, object]:
        rendered = self.rendered
        return {
            "plan": self.planned.plan.model_dump(mode="json"),
            "run_dir": str(self.run_dir),
            "rendered": rendered
            and {
                "train_toml": rendered.train_toml,
                "dataset_toml": rendered.dataset_toml,
                "argv": list(rendered.argv),
                "plain_argv": list(rendered.plain_argv) if rendered.plain_argv else None,
                "plain_argv_why": rendered.plain_argv_why,
                "env": dict(rendered.env),
            },
        }


def has_errors(findings: Sequence[Finding]) -> bool:
    return any(finding.severity is Severity.ERROR for finding in findings)


def plan_run(call: Invocation, watch: Watch | None = None) -> PlanResult:
    """Decide a run and render it; nothing is written and nothing started.

    With ``watch`` every picture is opened too, as before a training.

    Raises:
        InvalidInput: there is no preset, family or dataset to plan with.
    """
    gathered = gather(call)
    planned = _decided(gathered)
    run_dir = call.cwd / (call.run_dir or _preview_run_dir(call, gathered, planned))
    rendered, problems = render_run(gathered, planned, run_dir)
    remarks = plan_remarks(gathered, planned, call.env, watch)
    renamed = name_changed(gathered, planned.plan.name.value)
    ready = (*readiness(call, gathered), *unwritable_place(run_dir))
    findings = (*gathered.findings, *_unsaid(gathered, planned), *renamed, *remarks, *problems, *ready)
    return PlanResult(gathered, planned, rendered, run_dir, findings)


def _decided(gathered: Gathered) -> Planned:
    """The plan; where the buckets have no meaning, and so there is none, what was read is told all the same."""
    try:
        return decide(gathered)
    except PlanError as problem:
        raise PlanError(problem.message, problem.hint, findings=gathered.findings) from problem


def preview_run(call: Invocation) -> PlanResult:
    """``plan_run`` for somebody who means to begin: also whether a training would refuse the run directory.

    Going on with a run plans too, in a directory that is rightly full.
    """
    planned = plan_run(call)
    return replace(planned, findings=(*planned.findings, *used_place(planned.run_dir)))


def used_place(run_dir: Path) -> tuple[Finding, ...]:
    """What a training would say of a run directory in which something lies."""
    from lora_forge.runs.directory import refuse_used
    from lora_forge.runs.ledger import has_ledger

    if not run_dir.exists():
        return ()
    if not run_dir.is_dir():
        return (error("run-dir-used", f"the run directory {run_dir} is a file", "--run-dir with a folder", "runs"),)
    try:
        refuse_used(run_dir)
    except InvalidInput as used:
        finding = warning if has_ledger(run_dir) else error
        return (finding("run-dir-used", used.message, used.hint, "runs"),)
    return ()


def unwritable_place(run_dir: Path) -> tuple[Finding, ...]:
    """Whether a run could be made here at all, judged by the nearest folder that exists."""
    from lora_forge.machine import nearest_folder

    place = nearest_folder(run_dir)
    if files := [each for each in run_dir.parents if each.exists() and not each.is_dir()]:
        message = f"no run directory can be made below {files[0]}, which is a file"
        return (error("run-dir-unwritable", message, "--run-dir or --runs with a folder", "runs"),)
    if os.access(place, os.W_OK):
        return ()
    message = f"a training could not write its run directory: {place} is read-only for you"
    return (warning("run-dir-unwritable", message, "--run-dir or --runs in a folder that you may write to", "runs"),)


def _unsaid(gathered: Gathered, planned: Planned) -> list[Finding]:
    """What the plan notices; that there is no trigger is no news where a wrong one was refused."""
    refused = "trigger" in gathered.request.unsound
    return [each for each in planned.findings if not (refused and each.code == "trigger-missing")]


def decide(gathered: Gathered) -> Planned:
    from lora_forge.datasets.trigger import name_likely_trigger
    from lora_forge.plan.levers import vram
    from lora_forge.plan.make import Ingredients, make_plan
    from lora_forge.policies import load_policy
    from lora_forge.presets.trust import without_refused

    planned = make_plan(
        Ingredients(
            preset=without_refused(gathered.preset),
            origins=gathered.origins,
            policy=load_policy(gathered.preset.policy),
            family=gathered.family,
            dataset=gathered.dataset,
            models=gathered.models,
            machine=gathered.machine,
            name=decide_name(gathered),
            family_choice=gathered.family_choice,
            trigger=gathered.trigger,
            gpus=gathered.request.gpus or Written(1, Source.DEFAULT, why="one GPU"),
            vram=vram(gathered.request.vram, gathered.machine),
        )
    )
    named = (
        name_likely_trigger(each, gathered.dataset) if each.code == "trigger-missing" else each
        for each in planned.findings
    )
    return replace(planned, findings=tuple(named))


def render_run(
    gathered: Gathered, planned: Planned, run_dir: Path, attempt: int = 1
) -> tuple[Rendered | None, tuple[Finding, ...]]:
    """The engine's files and command for one attempt in this run directory, checked against its option table."""
    from lora_forge.engine.launch import render
    from lora_forge.runs.directory import RunDir
    from lora_forge.workflow.preset_names import option_place

    try:
        files = run_files(gathered, planned, RunDir(run_dir), attempt)
        rendered = render(planned.plan, gathered.family, files, gathered.home, gathered.machine)
    except PlanError as problem:
        return None, (error("not-renderable", problem.message, problem.hint),)
    findings = (replace(each, where=option_place(each.where, gathered.origins)) for each in rendered.findings)
    return rendered, tuple(findings)


def named_models(gathered: Gathered) -> dict[str, Path]:
    """The model files and folders of this run, by the family's name of each."""
    return {name: Path(str(written.value)) for name, written in gathered.model_paths.items()}


def named_weights(gathered: Gathered) -> dict[str, Path]:
    """The files that hold their weights, by which a model is known: several where one is a folder."""
    from lora_forge.runs.model_files import weight_files

    return weight_files(named_models(gathered))


def staged_names(gathered: Gathered) -> tuple[str, ...]:
    """What each folder is called in the run: in one that goes on as when it began, for a name is not trained on.

    But for one that says repeats, ``10_jeff``: there another name is another training, and shall be seen as such.
    """
    from lora_forge.datasets.listing import parse_kohya_name

    def name(begun: str, now: str) -> str:
        return now if parse_kohya_name(begun) or parse_kohya_name(now) else begun

    names = (subset.folder.name for subset in gathered.dataset.subsets)
    return tuple(name(gathered.begun_as.get(index, now), now) for index, now in enumerate(names, start=1))


def run_files(gathered: Gathered, planned: Planned, run: RunDir, attempt: int = 1) -> RunFiles:
    """Every path that the rendered text names."""
    from lora_forge.engine.render import RunFiles, SubsetFolder
    from lora_forge.plan.schedule import repeats_of
    from lora_forge.runs.model_links import engine_path
    from lora_forge.runs.staging import subset_folder_name

    repeats, dataset = planned.plan.schedule.repeats.value, gathered.dataset
    named = zip(staged_names(gathered), dataset.subsets, strict=True)
    held_out = run.dataset / subset_folder_name(len(dataset.subsets) + 1, HELD_OUT)
    return RunFiles(
        train_toml=run.attempt(attempt).train_toml,
        dataset_toml=run.dataset_toml,
        prompts=run.prompts_json,
        output=run.attempt(attempt).output,
        subsets=tuple(
            SubsetFolder(
                folder=run.dataset / subset_folder_name(index, name),
                repeats=repeats_of(subset, repeats),
                is_reg=subset.is_reg,
                class_tokens=subset.class_tokens,
            )
            for index, (name, subset) in enumerate(named, start=1)
        ),
        validation=held_out if dataset.validation_images else None,
        models={name: engine_path(run, path) for name, path in named_models(gathered).items()},
        tokenizers=gathered.request.path("tokenizers"),
    )


def _preview_run_dir(call: Invocation, gathered: Gathered, planned: Planned) -> Path:
    from lora_forge.project.request import runs_folder
    from lora_forge.runs.directory import free_run_dir

    return free_run_dir(runs_folder(gathered.request, call.cwd), planned.plan.name.value)
