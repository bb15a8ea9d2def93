"""The use cases. The only place where the stations meet: each one is a fold of small tasks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lora_forge.errors import EngineError, InvalidInput, PlanError
from lora_forge.findings import Finding, Severity, error
from lora_forge.gather import Gathered, Invocation, gather, readiness
from lora_forge.settings import Source, Value, Written

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from lora_forge.datasets.facts import ImageFacts, SubsetFacts
    from lora_forge.engine.launch import Rendered
    from lora_forge.engine.render import RunFiles
    from lora_forge.plan.make import Planned
    from lora_forge.runs.directory import RunDir
    from lora_forge.runs.events import Event
    from lora_forge.runs.outcome import Outcome
    from lora_forge.runs.staging import StagedSubset
    from lora_forge.runs.verify import ExpectedLora

DEFAULT_RUNS = "runs"
LONGEST_NAME = 100
STOP_GRACE_S = 30.0
"""How long a stopped training may take to end its step before it is ended by force."""


class Watcher(Protocol):
    """Who looks on while a training runs; the face draws it, a test counts it."""

    def planned(self, planned: PlanResult, run: RunDir) -> None: ...

    def live(self) -> AbstractContextManager[object]: ...

    def event(self, event: Event) -> None: ...


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


def plan_run(call: Invocation) -> PlanResult:
    """Decide a run and render it; nothing is written and nothing started.

    Raises:
        InvalidInput: there is no preset, family or dataset to plan with.
    """
    gathered = gather(call)
    planned = decide(gathered)
    run_dir = call.cwd / (call.run_dir or _preview_run_dir(call, gathered, planned))
    rendered, problems = render_run(gathered, planned, run_dir)
    findings = (*gathered.findings, *planned.findings, *problems, *readiness(call, gathered))
    return PlanResult(gathered, planned, rendered, run_dir, findings)


def decide(gathered: Gathered) -> Planned:
    from lora_forge.plan.levers import vram
    from lora_forge.plan.make import Ingredients, make_plan
    from lora_forge.policies import load_policy

    return make_plan(
        Ingredients(
            preset=gathered.preset,
            origins=gathered.origins,
            policy=load_policy(gathered.preset.policy),
            family=gathered.family,
            dataset=gathered.dataset,
            models=gathered.models,
            machine=gathered.machine,
            name=_lora_name(gathered),
            family_choice=gathered.family_choice,
            trigger=gathered.trigger,
            gpus=gathered.request.gpus or Written(1, Source.DEFAULT, why="one GPU"),
            vram=vram(gathered.request.vram, gathered.machine),
        )
    )


def render_run(gathered: Gathered, planned: Planned, run_dir: Path) -> tuple[Rendered | None, tuple[Finding, ...]]:
    """The engine's files and command for this run directory, checked against the engine's option table."""
    from lora_forge.engine.launch import render
    from lora_forge.runs.directory import RunDir

    try:
        files = run_files(gathered, planned, RunDir(run_dir))
        rendered = render(planned.plan, gathered.family, files, gathered.home, gathered.machine)
    except PlanError as problem:
        return None, (error("not-renderable", problem.message, problem.hint),)
    return rendered, rendered.findings


def named_models(gathered: Gathered) -> dict[str, Path]:
    """The model files of this run, by the family's name of each."""
    return {name: Path(str(written.value)) for name, written in gathered.model_paths.items()}


def run_files(gathered: Gathered, planned: Planned, run: RunDir) -> RunFiles:
    """Every path that the rendered text names."""
    from lora_forge.engine.render import RunFiles, SubsetFolder
    from lora_forge.plan.schedule import repeats_of
    from lora_forge.runs.model_links import engine_path
    from lora_forge.runs.staging import subset_folder_name

    repeats = planned.plan.schedule.repeats.value
    return RunFiles(
        train_toml=run.train_toml,
        dataset_toml=run.dataset_toml,
        prompts=run.prompts_json,
        output=run.output,
        subsets=tuple(
            SubsetFolder(
                folder=run.dataset / subset_folder_name(index, subset.folder.name),
                repeats=repeats_of(subset, repeats),
                is_reg=subset.is_reg,
                class_tokens=subset.class_tokens,
            )
            for index, subset in enumerate(gathered.dataset.subsets, start=1)
        ),
        models={name: engine_path(run, path) for name, path in named_models(gathered).items()},
        tokenizers=gathered.request.path("tokenizers"),
    )


def _lora_name(gathered: Gathered) -> Written:
    """The file's name: as given, else trigger and preset; only characters that every filesystem takes."""
    given, preset = gathered.request.name, gathered.preset.name
    stem = given.value if given else f"{gathered.trigger.value or gathered.dataset.root.name}-{preset}"
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", str(stem)).lstrip(".-_")[:LONGEST_NAME] or preset
    if given:
        note = "" if safe == given.value else f"; {given.value!r} made safe for a file name"
        return replace(given, value=safe, why=f"as given{note}")
    return Written(safe, Source.DATASET, why="the trigger, or the folder, and the preset")


def _preview_run_dir(call: Invocation, gathered: Gathered, planned: Planned) -> Path:
    from lora_forge.runs.directory import free_run_dir

    return free_run_dir(runs_folder(call, gathered), planned.plan.name.value)


def runs_folder(call: Invocation, gathered: Gathered) -> Path:
    return gathered.request.path("runs") or call.cwd / DEFAULT_RUNS


@dataclass(frozen=True)
class RunResult:
    """A run that ended with a verified LoRA, or (``dry_run``) one that was only laid out."""

    plan: PlanResult
    dry_run: bool
    noticed: tuple[Finding, ...] = ()
    lora: Path | None = None
    size_bytes: int = 0
    steps: int = 0
    wall_s: float = 0.0
    first_step_s: float | None = None
    checkpoints: tuple[Path, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*self.plan.findings, *self.noticed)

    @property
    def exit_code(self) -> int:
        return 0

    def data(self) -> dict[str, object]:
        return {
            **self.plan.data(),
            "dry_run": self.dry_run,
            "verified": self.lora is not None,
            "lora": self.lora and str(self.lora),
            "size_bytes": self.size_bytes,
            "steps": self.steps,
            "wall_s": self.wall_s,
            "first_step_s": self.first_step_s,
            "checkpoints": [str(path) for path in self.checkpoints],
        }


def start_run(call: Invocation, watcher: Watcher, *, dry_run: bool = False) -> RunResult:
    """Plan, lay out the run directory, train, and verify what came out.

    Raises:
        InvalidInput: the plan has errors, a model file is missing, or the run directory cannot be made.
        EngineError: the engine is not ready.
        OutOfMemory, Diverged, NoUsableLora, Interrupted, ForgeError: how a training can end badly.
    """
    from lora_forge.runs.samples import name_samples

    planned = plan_run(call)
    refuse_unready(planned)
    run, planned = lay_out(call, planned)
    if dry_run:
        return RunResult(planned, dry_run=True)
    watcher.planned(planned, run)
    outcome, began = run_engine(call, planned, run, watcher)
    name_samples(run, planned.planned.plan.sampling.prompts.value)
    return conclude(planned, run, outcome, began)


def refuse_unready(planned: PlanResult) -> None:
    """Everything that a training needs and a plan does not, before anything is written."""
    if has_errors(planned.findings) or planned.rendered is None:
        raise PlanError(
            "the plan has errors; nothing was started", "mend what is named above", findings=planned.findings
        )
    engine = [finding for finding in planned.findings if finding.code == "engine-not-ready"]
    missing = [finding for finding in planned.findings if finding.code == "model-missing"]
    if engine:
        raise EngineError(engine[0].message, engine[0].hint, findings=(*engine[1:], *missing))
    if missing:
        raise PlanError(missing[0].message, f"{missing[0].hint}, or `models:` in forge.yaml")


def lay_out(call: Invocation, planned: PlanResult) -> tuple[RunDir, PlanResult]:
    """Make the run directory: staged dataset, both TOMLs, prompts, plan and command."""
    from lora_forge.runs.directory import RunDir, make_run_dir, next_run_dir
    from lora_forge.runs.model_links import link_models
    from lora_forge.runs.staging import stage_dataset

    name = planned.planned.plan.name.value
    try:
        if call.run_dir is not None:
            path = make_run_dir(call.cwd / call.run_dir)
        else:
            path = next_run_dir(runs_folder(call, planned.gathered), name)
        run = RunDir(path)
        rendered, problems = render_run(
            planned.gathered, planned.planned, path
        )  # another run may have taken the number
        if rendered is None or has_errors(problems):
            raise PlanError("the plan cannot be rendered", "mend what is named above", findings=problems)
        stage_dataset(run, staged_subsets(planned.gathered))
        link_models(run, named_models(planned.gathered).values())
        run.write_plan(planned.planned.plan.model_dump_json(indent=1) + "\n")
        run.write_rendered(train_toml=rendered.train_toml, dataset_toml=rendered.dataset_toml)
        run.write_prompts(rendered.prompts)
        run.write_command(rendered.argv, rendered.env)
    except OSError as problem:
        message = f"the run directory cannot be written: {problem.strerror or problem} ({problem.filename})"
        raise InvalidInput(message, "--run-dir DIR on a disk with space that you may write to") from problem
    return run, replace(planned, rendered=rendered, run_dir=path)


def staged_subsets(gathered: Gathered) -> list[StagedSubset]:
    """Every image with the caption it trains on; without one, the class tokens or else the trigger speak."""
    from lora_forge.runs.staging import StagedImage, StagedSubset

    trigger = None if gathered.trigger.value is None else str(gathered.trigger.value)

    def caption(subset: SubsetFacts, image: ImageFacts) -> str | None:
        return image.caption or subset.class_tokens or (None if subset.is_reg else trigger)

    return [
        StagedSubset(
            subset.folder.name,
            [StagedImage(subset.folder / image.name, caption(subset, image)) for image in subset.images],
        )
        for subset in gathered.dataset.subsets
    ]


def run_engine(call: Invocation, planned: PlanResult, run: RunDir, watcher: Watcher) -> tuple[Outcome, float]:
    """Start accelerate and the guest, watch them to their end; the outcome, and when it began (epoch seconds)."""
    import time

    from lora_forge.runs.signals import StopRequests, stop_on_signals
    from lora_forge.runs.supervise import supervise

    began = time.time()
    rendered = planned.rendered
    if rendered is None:
        raise PlanError("nothing was rendered", "forge plan")
    with stop_on_signals(StopRequests()) as stop, watcher.live():
        outcome = supervise(
            rendered.argv,
            env={**call.env, **rendered.env},
            cwd=planned.gathered.home.checkout,
            log=run.engine_log,
            events=run.events_jsonl,
            on_event=watcher.event,
            stop=stop,
            grace_s=STOP_GRACE_S,
        )
    return outcome, began


def conclude(planned: PlanResult, run: RunDir, outcome: Outcome, began: float) -> RunResult:
    """Believe the LoRA, not the exit code: done means that the file is what the plan said."""
    import json

    from lora_forge.runs.cause import cause_of, refusal
    from lora_forge.runs.verify import verify_lora

    plan = planned.planned.plan
    lora = run.lora(plan.name.value)
    failure = cause_of(outcome)
    noticed = () if failure else verify_lora(lora, expected_lora(planned, began), outcome.saved)
    failure = failure or refusal(noticed)
    if failure:
        raise failure
    result = RunResult(
        plan=planned,
        dry_run=False,
        noticed=tuple(noticed),
        lora=lora,
        size_bytes=lora.stat().st_size,
        steps=outcome.last_step,
        wall_s=round(outcome.wall_s, 1),
        first_step_s=outcome.first_step_s and round(outcome.first_step_s, 2),
        checkpoints=tuple(
            path for step in plan.outputs.checkpoints.value if (path := run.checkpoint(plan.name.value, step)).exists()
        ),
    )
    kept = {key: value for key, value in result.data().items() if key not in ("plan", "rendered")}
    run.write_result(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return result


def expected_lora(planned: PlanResult, began: float) -> ExpectedLora:
    """What the finished file must hold, from the plan and the base model's modules."""
    from lora_forge.plan.network import SAVE_DTYPES, network_shape
    from lora_forge.plan.sizes import HEADER_NAMES, ZERO_AT_START, lora_tensors, stored_alphas
    from lora_forge.runs.verify import ExpectedLora

    plan, modules = planned.planned.plan, planned.planned.modules
    shape = network_shape(plan.network)
    return ExpectedLora(
        tensors=lora_tensors(modules, shape),
        rank=plan.network.rank.value,
        alpha=stored_alphas(modules, shape),
        dtype=HEADER_NAMES[SAVE_DTYPES[plan.precision.save.value]],
        up_suffixes=ZERO_AT_START[plan.network.kind.value],
        tensor_bytes=plan.outputs.lora_bytes.value,
        steps=plan.schedule.steps.value,
        written_after=began,
    )


def run_demo(
    folder: Path, steps: int, env: Mapping[str, str], watcher: Watcher, report: Callable[[str], None]
) -> RunResult:
    """Make the demo's models and pictures, then train ``identity`` on them; nothing but steps and sampling differs.

    Raises:
        EngineError: the engine is not ready.
        ForgeError: as ``start_run``.
    """
    from lora_forge.demo.assets import prepare_demo
    from lora_forge.engine.choice import choose_engine
    from lora_forge.engine.status import engine_status
    from lora_forge.machine import probe_machine

    home = choose_engine(env, probe_machine(folder, env=env))
    status = engine_status(home)
    if not status.usable:
        raise EngineError(f"the demo trains through the engine: {status.reason}", "forge engine install")
    folder = folder.absolute()
    report(f"making the demo's models and pictures in {folder}")
    assets = prepare_demo(folder, engine_python=home.python, engine_checkout=home.checkout)
    flags: dict[str, Value] = {
        "preset": "identity",
        "dataset": str(assets.dataset),
        "trigger": assets.trigger,
        "model": str(assets.model),
        "clip_l": str(assets.clip_l),
        "t5xxl": str(assets.t5xxl),
        "ae": str(assets.ae),
        "tokenizers": str(assets.tokenizer_cache),
        "runs": str(folder / "runs"),
    }
    only = (f"schedule.steps={steps}", "sampling.enabled=false")
    call = Invocation(flags, only, {key: value for key, value in env.items() if not key.startswith("FORGE_")}, folder)
    return start_run(call, watcher)
