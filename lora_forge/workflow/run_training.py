"""Running: a new run, or going on with one. Every end, good or bad, is in the ledger before it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from lora_forge.errors import EngineError, InvalidInput
from lora_forge.findings import Finding
from lora_forge.runs.signals import StopRequests, stop_on_signals
from lora_forge.workflow.invocation import Invocation
from lora_forge.workflow.planning import PlanResult, has_errors, named_weights, plan_run
from lora_forge.workflow.run_ending import conclude
from lora_forge.workflow.run_layout import (
    BLOCKERS,
    expected_lora,
    holding_new,
    lay_attempt,
    lay_out,
    made_with,
    refuse_unready,
    unwritable,
)
from lora_forge.workflow.run_task import STOP_GRACE_S, RunResult, Task, Watcher, rendered_of
from lora_forge.workflow.run_watching import Dispensable

if TYPE_CHECKING:
    from lora_forge.datasets.look import Watch
    from lora_forge.runs.committer import Check
    from lora_forge.runs.directory import AttemptDir
    from lora_forge.runs.events import Event, Saved
    from lora_forge.runs.ledger import Json
    from lora_forge.runs.model_hashes import ModelHasher
    from lora_forge.runs.outcome import Outcome
    from lora_forge.runs.record import State

Notice: TypeAlias = "Callable[[PlanResult], Sequence[Finding]]"
"""What a caller has to say of a plan that is fit to run."""
HARMLESS_EARLY = ("lora-untrained",)
"""No fault in a numbered checkpoint: the first steps may be warm-up from learning rate 0."""


@stop_on_signals()
def start_run(
    call: Invocation,
    watcher: Watcher,
    *,
    dry_run: bool = False,
    grace_s: float = STOP_GRACE_S,
    notice: Notice = lambda _: (),
) -> RunResult:
    """Plan, lay out the run directory, train, and verify what came out.

    What ``notice`` sees in the plan, once that is fit to run, is told with it.

    Raises:
        InvalidInput: the plan has errors, a model file is missing, or the run directory cannot be made.
        EngineError: the engine is not ready.
        Locked: another process writes in this run directory.
        OutOfMemory, Diverged, NoUsableLora, Interrupted, ForgeError: how a training can end badly.
    """
    from lora_forge.project.request import runs_folder
    from lora_forge.runs.directory import next_run_dir

    if call.run_dir is not None:
        folder = call.cwd / call.run_dir
        with holding_named(folder, call):
            planned = looked_plan(call, watcher, notice)
            return start_held(call, planned, folder, watcher, dry_run=dry_run, grace_s=grace_s)
    planned = looked_plan(call, watcher, notice)
    try:
        folder = next_run_dir(runs_folder(planned.gathered.request, call.cwd), planned.planned.plan.name.value)
    except OSError as problem:
        raise unwritable(problem) from problem
    with holding_new(folder, made=(folder,)):
        return start_held(call, planned, folder, watcher, dry_run=dry_run, grace_s=grace_s)


@contextmanager
def holding_named(folder: Path, call: Invocation) -> Iterator[None]:
    """Hold the folder that was named; one that cannot be used is told with whatever else stops the training.

    That another process holds it is told at once, and alone.
    """
    with ExitStack() as held:
        try:
            held.enter_context(holding_new(folder))
        except InvalidInput as refused:
            raise InvalidInput(refused.message, refused.hint, findings=obstacles(call)) from refused
        yield


def obstacles(call: Invocation) -> list[Finding]:
    """What stops this training beside its run directory."""
    try:
        found = plan_run(call).findings
    except InvalidInput as problem:
        found = problem.findings
    return [each for each in found if (has_errors([each]) or each.code in BLOCKERS) and each.where != "runs"]


def looked_plan(call: Invocation, watcher: Watcher, notice: Notice = lambda _: ()) -> PlanResult:
    """The plan of a new training: every picture was looked at, and nothing is written before it is fit to run."""
    with watcher.looking() as watch:
        planned = ready_plan(call, watch)
    return replace(planned, findings=(*planned.findings, *notice(planned)))


def ready_plan(call: Invocation, watch: Watch | None = None) -> PlanResult:
    planned = plan_run(call, watch)
    refuse_unready(planned)
    return planned


def start_held(
    call: Invocation, planned: PlanResult, folder: Path, watcher: Watcher, *, dry_run: bool, grace_s: float
) -> RunResult:
    """Begin a run in a folder that this process holds."""
    from lora_forge.runs.directory import RunDir

    run = RunDir(folder)
    ledger = lay_out(call, planned, run)
    if dry_run:
        _, planned = lay_attempt(planned, run, 1)
        return RunResult(planned, dry_run=True)
    return run_attempt(Task(call, planned, run, ledger, watcher, grace_s))


def run_attempt(task: Task, state: State | None = None) -> RunResult:
    """Train from ``state``, or from the beginning, to an end; commit what is saved on the way."""
    from lora_forge.runs.model_hashes import hashing_models
    from lora_forge.runs.record import fold
    from lora_forge.runs.samples import commit_samples

    run, ledger = task.run, task.ledger
    number = fold(run.path, ledger.records).next_attempt
    attempt, planned = lay_attempt(task.planned, run, number)
    watcher = Dispensable(task.watcher)
    task = replace(task, planned=planned, watcher=watcher)
    with (
        stop_on_signals() as stop,
        stop.noting(),  # what is saved from here on is worth keeping
        hashing_models(ledger, named_weights(planned.gathered)) as hasher,
    ):
        with engine_kept(task):
            outcome, undone = _train(task, attempt, number, state, stop, hasher)
        undone += commit_samples(run, ledger, number, planned.planned.plan.sampling.prompts.value)
        with stop.noting(most=1):  # a finished training costs more than the look at its result
            result = conclude(task, number, outcome, (*undone, *watcher.findings))
            return replace(result, noticed=(*result.noticed, *hasher.close(wait=True)))


@contextmanager
def engine_kept(task: Task) -> Iterator[None]:
    """Nobody replaces the engine while the block runs; one that was replaced since the plan was made is told."""
    from lora_forge.engine.status import engine_status
    from lora_forge.engine.using import using_engine

    home = task.planned.gathered.home
    with using_engine(home, task.run.path):
        status = engine_status(home)
        if not status.usable:
            raise EngineError(f"the engine was taken away meanwhile: {status.reason}", "forge engine install")
        yield


def _train(
    task: Task, attempt: AttemptDir, number: int, state: State | None, stop: StopRequests, hasher: ModelHasher
) -> tuple[Outcome, tuple[Finding, ...]]:
    from lora_forge.runs.committer import Committer

    _record_start(task, number, state)
    task.watcher.planned(task.planned, task.run)
    committer = Committer(task.run, number, task.ledger, checkpoint_check(task), task.final)

    def take(event: Event) -> None:
        committer.take(event)
        hasher.take(event)

    try:
        outcome = run_engine(task, attempt, take, state, stop)
    finally:
        undone = committer.close()
    return outcome, undone


def checkpoint_check(task: Task) -> Check:
    """What a numbered checkpoint must be: as the finished file, at its own step."""
    from lora_forge.runs.verify import verify_lora

    expected = expected_lora(task.planned)

    def check(path: Path, saved: Saved) -> list[Finding]:
        found = verify_lora(path, replace(expected, steps=saved.step), [saved])
        return [finding for finding in found if finding.code not in HARMLESS_EARLY]

    return check


def _record_start(task: Task, number: int, state: State | None) -> None:
    from lora_forge.runs.identity import digest, environment_facts, relative_word
    from lora_forge.runs.record import ATTEMPT

    rendered = rendered_of(task)
    command: list[Json] = [relative_word(word, task.run.path) for word in rendered.argv]
    added: dict[str, Json] = {key: relative_word(value, task.run.path) for key, value in rendered.env.items()}
    task.ledger.append(
        ATTEMPT,
        number=number,
        from_step=state.step if state else 0,
        state=state.name if state else None,
        train_toml_sha256=digest(rendered.train_toml),
        dataset_toml_sha256=digest(rendered.dataset_toml),
        command=command,
        environment={**environment_facts(task.call.env), **added},
        **made_with(task.planned.gathered),
    )


def run_engine(
    task: Task, attempt: AttemptDir, commit: Callable[[Event], None], state: State | None, stop: StopRequests
) -> Outcome:
    """Start accelerate and the guest, watch them to their end."""
    from lora_forge.runs.supervise import supervise

    rendered = rendered_of(task)
    ours = {key: value for key, value in task.call.env.items() if not key.startswith("FORGE_GUEST_")}
    env = {
        **ours,
        **rendered.env,
        "FORGE_GUEST_STATES": str(task.run.states),
    }  # what the guest is told, the ledger knows
    if state is not None:
        env["FORGE_GUEST_RESUME"] = str(task.run.states / state.name)

    def on_event(event: Event) -> None:
        commit(event)
        task.watcher.event(event)

    with task.watcher.live():
        return supervise(
            rendered.argv,
            env=env,
            cwd=task.planned.gathered.home.checkout,
            log=attempt.engine_log,
            events=attempt.events_jsonl,
            on_event=on_event,
            stop=stop,
            grace_s=task.grace_s,
        )
