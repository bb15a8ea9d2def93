"""The preset of one call, with what was written over it; where it is wrong, what of it can still be judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lora_forge.errors import PresetError
from lora_forge.findings import Finding, error

if TYPE_CHECKING:
    from lora_forge.datasets.facts import DatasetFacts
    from lora_forge.families.family import Family
    from lora_forge.machine import Machine
    from lora_forge.models.facts import ModelFacts
    from lora_forge.presets.model import Preset
    from lora_forge.project.request import Request
    from lora_forge.settings import Layer, Origin


class ReadPreset(NamedTuple):
    """What was written, as far as it is sound."""

    preset: Preset | None
    """None where anything of it is wrong: there can be no plan."""
    sound: Preset
    """The same without its wrong values; of nothing but what was written over it where no preset could be read."""
    origins: Mapping[str, Origin]
    wrong: frozenset[str]
    """The keys whose values are wrong."""
    named: bool
    """Whether there is such a preset at all."""

    @property
    def knows_families(self) -> bool:
        return self.named and "families" not in self.wrong and "families" in self.origins


def read_preset(request: Request, overrides: list[Layer], cwd: Path, findings: list[Finding]) -> ReadPreset:
    """Merge the preset with what was written over it; mistakes in the one never hide those in the other."""
    from lora_forge.presets.merge import merge_layers, without_missing
    from lora_forge.workflow.preset_names import check_families, check_policy

    layers, problems = _load_layers(request, cwd, findings)
    merged = [*(layers or []), *overrides]
    preset, origins, mistakes = merge_layers(merged)
    unknown_policy = list(check_policy(origins))
    reasons = findings if layers is None else problems  # why a key may seem to be missing
    mistakes = without_missing(reasons, mistakes)
    findings += [*problems, *mistakes, *check_families(origins), *unknown_policy]
    if preset is not None and layers is not None and not unknown_policy:
        return ReadPreset(preset, preset, origins, frozenset(), named=True)
    sound, wrong = sound_part(merged)
    return ReadPreset(None, sound, origins, wrong, named=layers is not None)


def sound_part(layers: list[Layer]) -> tuple[Preset, frozenset[str]]:
    """What can be judged of a preset with mistakes in it, and the keys that are wrong."""
    from lora_forge.families import family_names
    from lora_forge.policies import policy_names
    from lora_forge.presets.merge import leave_out_wrong

    sound, wrong = leave_out_wrong(layers, family_names())
    if sound.policy not in policy_names():
        return sound.model_copy(update={"policy": "fixed"}), wrong | {"policy"}
    return sound, wrong


def judge_sound_part(
    read: ReadPreset,
    request: Request,
    family: Family | None,
    dataset: DatasetFacts | None,
    models: Mapping[str, ModelFacts],
    machine: Machine,
) -> list[Finding]:
    """What the rules of a plan say of all that is sound, where the rest allows no plan.

    Without the preset that was meant only the machine is judged: what it would have
    said cannot be guessed.
    """
    from lora_forge.families import family_names, load_family
    from lora_forge.workflow.judging import apart_from, in_written_places, judge

    found = judge(
        read.sound,
        {key: origin for key, origin in read.origins.items() if key not in read.wrong},
        family or load_family(family_names()[0]),
        dataset=dataset,
        models=models,
        machine=machine,
        gpus=request.gpus,
    )
    judged = [each for each in found if request.gpus and each.where == request.gpus.where]
    if read.named and family is not None:
        judged += in_written_places(found, apart_from(read.wrong, read.origins))
    return judged


def _load_layers(request: Request, cwd: Path, findings: list[Finding]) -> tuple[list[Layer] | None, list[Finding]]:
    """The layers of the preset that was named; None where none was, or there is no such preset."""
    from lora_forge.presets.loader import load_preset_layers, preset_folders

    name = request.text("preset")
    if name is None and "preset" in request.unsound:
        return None, []
    if name is None:
        hint = "--preset identity, or `preset: identity` in forge.yaml; `forge preset ls` lists them"
        findings.append(error("preset-missing", "no preset was named", hint, "preset"))
        return None, []
    try:
        return load_preset_layers(name, folders=preset_folders(cwd), cwd=cwd)
    except PresetError as unknown:
        where = request.preset.where if request.preset else ""
        findings.append(error("preset-unknown", unknown.message, unknown.hint, where))
        return None, []
