"""Reading and measuring: everything a plan is made of, and every problem of the input at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lora_forge.errors import InvalidInput
from lora_forge.findings import Finding, Severity, warning
from lora_forge.settings import Layer, Scalar, Source, Written

if TYPE_CHECKING:
    from lora_forge.datasets.facts import DatasetFacts
    from lora_forge.engine.home import EngineHome
    from lora_forge.families.family import Family
    from lora_forge.machine import Machine
    from lora_forge.models.facts import ModelFacts
    from lora_forge.presets.model import Preset
    from lora_forge.project.request import Request
    from lora_forge.settings import Origin
    from lora_forge.workflow.holdout import HeldOut
    from lora_forge.workflow.invocation import Invocation


@dataclass(frozen=True)
class Gathered:
    """Everything read and measured, before anything is decided."""

    request: Request
    preset: Preset
    origins: Mapping[str, Origin]
    family: Family
    family_choice: Written
    dataset: DatasetFacts
    models: Mapping[str, ModelFacts]
    model_paths: Mapping[str, Written]
    """Every base-model file, named by a person or found; the one place that rendering takes them from."""
    machine: Machine
    home: EngineHome
    trigger: Written
    findings: tuple[Finding, ...]
    held_out: HeldOut | None = None
    """The images kept out of training, where any are asked for; ``dataset`` is then without them."""
    begun_as: Mapping[int, str] = field(default_factory=dict)
    """Of a run that goes on: what each folder was called when it began, by the folder's number."""


def gather(
    call: Invocation, *, purpose: str = "there can be a plan", hint: str = "mend what is named above"
) -> Gathered:
    """Read what was written and measure what is there; every problem of the input at once.

    ``purpose`` is what a person asked for, and ``hint`` what to do where that cannot be.

    Raises:
        InvalidInput: there is no preset or dataset to plan with.
    """
    from lora_forge.engine.choice import choose_engine
    from lora_forge.machine import probe_machine
    from lora_forge.project.request import gather_request, runs_folder
    from lora_forge.workflow.gather_dataset import hold_out_asked, import_dataset_file, read_dataset
    from lora_forge.workflow.gather_models import read_models
    from lora_forge.workflow.gather_preset import judge_sound_part, read_preset
    from lora_forge.workflow.judging import unsaid
    from lora_forge.workflow.preset_names import check_engine_names

    request, layers, findings = gather_request({**call.flags, "set": list(call.settings)}, call.env, call.cwd)
    request, layers = import_dataset_file(request, layers, call, findings)
    layers += _read_prompts(call, findings)
    read = read_preset(request, layers, call.cwd, findings)
    preset, origins = read.preset, read.origins
    family, choice = _choose_family(request, read.sound if read.knows_families else None, findings)
    dataset = read_dataset(request, read.sound.captions.extension, findings)
    findings += _untrusted(read.sound, origins, call)
    paths, models = read_models(request, family, call, findings)
    machine = probe_machine(call.cwd / (call.run_dir or runs_folder(request, call.cwd)), env=call.env)
    if preset is None or family is None or dataset is None:
        findings += check_engine_names(origins, family)  # which else the rules of a plan judge
        findings += unsaid(judge_sound_part(read, request, family, dataset, models, machine), findings)
        problems = [finding for finding in findings if finding.severity is Severity.ERROR]
        raise InvalidInput(
            f"{len(problems)} problem{'s' if len(problems) > 1 else ''} to mend before {purpose}",
            hint,
            findings=findings,
        )
    trigger = _trigger(request, dataset, findings)
    held_out = hold_out_asked(preset, dataset, call, findings)
    return Gathered(
        request=request,
        preset=preset,
        origins=origins,
        family=family,
        family_choice=choice,
        dataset=held_out.split.facts if held_out else dataset,
        models=models,
        model_paths=paths,
        machine=machine,
        home=choose_engine(call.env, machine),
        trigger=trigger,
        findings=tuple(findings),
        held_out=held_out,
    )


def readiness(call: Invocation, gathered: Gathered) -> list[Finding]:
    """What a training would miss on this machine; a plan only warns of it."""
    from lora_forge.engine.status import engine_status
    from lora_forge.workflow.gather_models import missing_tokenizers

    findings = [
        warning("engine-not-ready", problem.message, problem.hint, problem.where)
        for problem in engine_status(gathered.home).findings
    ]
    missing = [file for file in gathered.family.files if file.required and file.name not in gathered.model_paths]
    if missing:
        flags = " ".join(f"{file.flag} FILE" for file in missing)
        what = ", ".join(file.about for file in missing)
        findings.append(warning("model-missing", f"a training needs files nobody named: {what}", flags, "models"))
    return findings + missing_tokenizers(gathered.request, gathered.family, call)


def _read_prompts(call: Invocation, findings: list[Finding]) -> list[Layer]:
    """The sample prompts of ``--prompts FILE``."""
    from lora_forge.project.prompt_file import read_prompts

    if call.prompts is None:
        return []
    prompts: list[Scalar] = [*read_prompts(call.cwd / call.prompts, str(call.prompts), findings)]
    written = Written(prompts, Source.CLI, str(call.prompts))
    return [Layer(Source.CLI, "--prompts", {"sampling.prompts": written})] if prompts else []


def _choose_family(request: Request, preset: Preset | None, findings: list[Finding]) -> tuple[Family | None, Written]:
    """As asked, else the preset's first; that a preset's own is unknown was said when it was read."""
    from lora_forge.families import family_names, load_family
    from lora_forge.workflow.preset_names import family_unknown

    choice = request.family
    if choice is None and preset is not None:
        choice = Written(preset.families[0], Source.PRESET, why=f"the first family of preset {preset.name}")
    if choice is None:
        return None, Written(None, Source.DEFAULT)
    if choice.value in family_names():
        return load_family(str(choice.value)), choice
    if choice is request.family:
        findings.append(family_unknown(str(choice.value), choice.where))
    return None, choice


def _untrusted(preset: Preset, origins: Mapping[str, Origin], call: Invocation) -> list[Finding]:
    from lora_forge.presets.trust import check_trust

    return check_trust(preset, origins, trust_code=call.trust_code)


def _trigger(request: Request, dataset: DatasetFacts, findings: list[Finding]) -> Written:
    from lora_forge.datasets.trigger import check_captions, find_trigger

    written, problems = find_trigger(dataset, request.trigger)
    if "trigger" not in request.unsound:  # else what is found in its place helps nobody
        findings += [*problems, *check_captions(dataset, written)]
    return written or Written(None, Source.DEFAULT, why="no trigger")
