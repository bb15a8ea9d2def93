"""Laying out a run: the folder, the staged dataset, the rendered text, and the ledger's first record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import EngineError, ForgeError, InvalidInput, PlanError
from lora_forge.workflow.planning import (
    HELD_OUT,
    PlanResult,
    has_errors,
    named_models,
    named_weights,
    render_run,
    staged_names,
)

if TYPE_CHECKING:
    from lora_forge.datasets.facts import ImageFacts, SubsetFacts
    from lora_forge.runs.directory import AttemptDir, RunDir
    from lora_forge.runs.ledger import Json, Ledger
    from lora_forge.runs.staging import StagedFile, StagedSubset
    from lora_forge.runs.verify import ExpectedLora
    from lora_forge.workflow.gather import Gathered
    from lora_forge.workflow.invocation import Invocation


@contextmanager
def holding_new(folder: Path, made: Sequence[Path] = ()) -> Iterator[None]:
    """Hold a folder for a new run, from before the plan is made; what fails before it is a run leaves nothing behind.

    ``made`` are folders that were made for it already.

    Raises:
        Locked: another process holds it.
        InvalidInput: it cannot be made, or something lies in it already.
    """
    from lora_forge.runs.directory import clear_laid_out, never_began, refuse_used
    from lora_forge.runs.lock import holding_run, is_somebodys, leave_nothing

    made = (*made, *make_folder(folder))
    if is_somebodys(folder):
        refuse_used(folder)
    with holding_run(folder):
        refuse_used(folder)
        try:
            yield
        except BaseException:
            if never_began(folder):
                with suppress(OSError):  # what stays carries the mark of a run that never began: the next one clears it
                    clear_laid_out(folder)
                leave_nothing(folder, made)
            raise


def make_folder(folder: Path) -> list[Path]:
    """Make the folder; which ones there were not yet."""
    from lora_forge.runs.lock import make_missing

    try:
        str(folder).encode()
    except UnicodeEncodeError as problem:
        shown = str(folder).encode("utf-8", "backslashreplace").decode()
        raise InvalidInput(
            f"the run directory {shown} is not named in UTF-8", "--run-dir with another name"
        ) from problem
    try:
        return make_missing(folder)
    except FileExistsError as problem:
        raise InvalidInput(f"the run directory {folder} is a file", "--run-dir with another name") from problem
    except OSError as problem:
        raise unwritable(problem) from problem


def unwritable(problem: OSError) -> ForgeError:
    from lora_forge.runs import disk

    return disk.unwritable("the run directory", problem, "--run-dir DIR on a disk with space that you may write to")


BLOCKERS = ("another-machine", "engine-not-ready", "model-missing", "run-dir-unwritable")
"""What a plan only warns of and a training cannot do without; the first of them gives the exit code."""


def refuse_unready(planned: PlanResult) -> None:
    """Everything that a training needs and a plan does not, before anything is written."""
    if has_errors(planned.findings) or planned.rendered is None:
        raise PlanError(
            "the plan has errors; nothing was started", "mend what is named above", findings=planned.findings
        )
    blockers = [finding for code in BLOCKERS for finding in planned.findings if finding.code == code]
    if blockers:
        first, *others = blockers
        kind = EngineError if first.code == "engine-not-ready" else PlanError
        raise kind(first.message, first.hint, findings=others)


def lay_out(call: Invocation, planned: PlanResult, run: RunDir) -> Ledger:
    """Write all that the attempts share, then the ledger's first record: from there on it is a run.

    May be done again in a folder that was left before its ledger began: what was
    laid out for another request is cleared away, so that no picture of it is trained on.
    """
    from lora_forge.runs.directory import clear_laid_out
    from lora_forge.runs.ledger import new_ledger
    from lora_forge.runs.model_links import link_models
    from lora_forge.runs.record import RUN
    from lora_forge.runs.staging import lay_links, measure_dataset
    from lora_forge.workflow.run_request import write_request

    subsets = staged_subsets(planned.gathered)
    try:
        clear_laid_out(run.path)
        run.laying_out.touch()
        measured = measure_dataset(subsets)
        lay_links(run, subsets, measured)
        link_models(run, named_models(planned.gathered).values())
        vouched = write_request(call, planned, run)
        run.write_plan(plan_json(planned))
        record_holdout(planned, run)
        ledger = new_ledger(run.path)
        ledger.append(RUN, **first_record(call, planned, run, measured), request=vouched)
    except OSError as problem:
        raise unwritable(problem) from problem
    with suppress(OSError):  # the mark means nothing beside a ledger
        run.laying_out.unlink()
    return ledger


def lay_attempt(planned: PlanResult, run: RunDir, number: int) -> tuple[AttemptDir, PlanResult]:
    """Render one attempt into its own folder and let the run's names lead to it."""
    rendered, problems = render_run(planned.gathered, planned.planned, run.path, number)
    if rendered is None or has_errors(problems):
        raise PlanError("the plan cannot be rendered", "mend what is named above", findings=problems)
    attempt = run.attempt(number)
    try:
        attempt.make()
        run.output.mkdir(exist_ok=True)
        run.states.mkdir(exist_ok=True)
        run.write_dataset_toml(rendered.dataset_toml)
        run.write_prompts(rendered.prompts)
        attempt.write_train_toml(rendered.train_toml)
        attempt.write_command(rendered.argv, rendered.env)
        run.point_to(attempt)
    except OSError as problem:
        raise unwritable(problem) from problem
    return attempt, replace(planned, rendered=rendered, run_dir=run.path)


def record_holdout(planned: PlanResult, run: RunDir) -> None:
    """In the project, for the runs to come, and in the run, for people: the run itself keeps to its ledger.

    A project that cannot be written loses nothing but the stability of the choice.
    """
    from lora_forge.datasets.splitting import write_holdout
    from lora_forge.errors import DatasetError

    held_out = planned.gathered.held_out
    if held_out is None:
        return
    try:
        show_holdout(planned, run)
    except DatasetError as problem:
        if isinstance(problem.__cause__, OSError):  # in the run directory it is no fault of the dataset
            raise problem.__cause__ from problem
        raise
    with suppress(DatasetError):
        write_holdout(held_out.file, held_out.split.holdout, planned.gathered.dataset.root)


def show_holdout(planned: PlanResult, run: RunDir) -> None:
    """Write the run's own view of it, whatever became of an earlier one.

    Raises:
        DatasetError: the run directory cannot be written.
    """
    from lora_forge.datasets.splitting import holdout_file, write_holdout

    held_out, root = planned.gathered.held_out, planned.gathered.dataset.root
    if held_out is not None:
        write_holdout(holdout_file(root.absolute(), run.path.absolute()), held_out.split.holdout, root)


def holdout_facts(gathered: Gathered, run: RunDir) -> Json:
    """What is held out, in the order in which it was chosen, so that a run goes on with no other file than its ledger.

    Names are for people: a picture is known by its digest.
    """
    from lora_forge.runs.identity import without_names

    if gathered.held_out is None:
        return None
    holdout = gathered.held_out.split.holdout
    images: list[Json] = [
        {"digest": image.digest, "name": without_names(image.name, run.path)} for image in holdout.images
    ]
    return {"seed": holdout.seed, "images": images}


def plan_json(planned: PlanResult) -> str:
    return planned.planned.plan.model_dump_json(indent=1) + "\n"


def plan_facts(planned: PlanResult, run: RunDir) -> dict[str, Json]:
    from lora_forge.runs import identity

    return identity.plan_facts(planned.planned.plan.model_dump(mode="json"), run.path)


def first_record(call: Invocation, planned: PlanResult, run: RunDir, measured: Sequence[StagedFile]) -> dict[str, Json]:
    """What the run is made of."""
    from lora_forge.datasets.rejected import rejected_images
    from lora_forge.runs import identity

    gathered, plan = planned.gathered, planned.planned.plan
    alike = gathered.held_out.split.look_alikes if gathered.held_out else ()
    rejected = rejected_images(gathered.dataset, [each.name for each in alike])
    preset_text = gathered.preset.model_dump_json()
    return {
        "uuid": identity.new_uuid(),
        "parent": call.parent,
        "name": plan.name.value,
        "steps": plan.schedule.steps.value,
        "seed": plan.seed.value,
        "plan": plan_facts(planned, run),
        "preset": {"name": gathered.preset.name, "sha256": identity.digest(preset_text)},
        **made_with(gathered),
        "base_models": identity.model_facts(named_weights(gathered)),
        "dataset": identity.dataset_facts(measured, rejected, run.path),
        "holdout": holdout_facts(gathered, run),
    }


def made_with(gathered: Gathered) -> dict[str, dict[str, Json]]:
    """What may be another at each attempt: forge itself, the engine's environment, the machine."""
    from lora_forge.runs.identity import software_facts

    return {"software": software_facts(), "engine": engine_facts(gathered), "machine": machine_facts(gathered)}


def engine_facts(gathered: Gathered) -> dict[str, Json]:
    from lora_forge.engine.status import engine_status

    status = engine_status(gathered.home)
    return {
        "commit": status.commit,
        "variant": status.variant,
        "lock_sha256": status.lock_sha256,
        "python": status.python_version,
        "torch": status.torch,
    }


def machine_facts(gathered: Gathered) -> dict[str, Json]:
    from lora_forge.runs.identity import driver_facts

    machine = gathered.machine
    gpus: list[Json] = [{"name": gpu.name, "vram_gib": round(gpu.vram_gib, 1)} for gpu in machine.gpus]
    drivers = driver_facts() if machine.gpus else {}
    return {"gpus": gpus, "cpus": machine.cpu_count, "ram_gib": round(machine.ram_gib, 1), **drivers}


def staged_subsets(gathered: Gathered) -> list[StagedSubset]:
    """Every image with the caption it trains on; without one, the class tokens or else the trigger speak."""
    from lora_forge.runs.staging import StagedImage, StagedSubset

    trigger = None if gathered.trigger.value is None else str(gathered.trigger.value)

    def caption(subset: SubsetFacts, image: ImageFacts) -> str | None:
        return image.caption or subset.class_tokens or (None if subset.is_reg else trigger)

    def images(subset: SubsetFacts) -> list[StagedImage]:
        return [StagedImage(subset.folder / image.name, caption(subset, image)) for image in subset.images]

    dataset = gathered.dataset
    named = zip(staged_names(gathered), dataset.subsets, strict=True)
    subsets = [StagedSubset(name, images(subset)) for name, subset in named]
    if dataset.validation_images:
        subsets.append(StagedSubset(HELD_OUT, [image for subset in dataset.held_out for image in images(subset)]))
    return subsets


def expected_lora(planned: PlanResult) -> ExpectedLora:
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
    )
