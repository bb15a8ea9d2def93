"""Whether a preset can be planned with: its words, what it may not say, and a plan's own rules, all at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import PresetError
from lora_forge.findings import Finding, Severity

if TYPE_CHECKING:
    from lora_forge.presets.model import Preset
    from lora_forge.settings import Origin


def validate_preset(name_or_path: str, cwd: Path) -> tuple[tuple[Finding, ...], int]:
    """Every mistake that stands in the preset or in a file it extends, and the exit code that comes to.

    The rules judge a plan for its first family over a few pictures, since no dataset is
    named; what only a dataset or a machine could make wrong is left to ``forge plan``.

    Raises:
        PresetError: there is no such preset.
    """
    from lora_forge.presets.loader import load_preset_layers, preset_folders
    from lora_forge.presets.merge import merge_layers
    from lora_forge.presets.trust import check_trust
    from lora_forge.workflow.gather_preset import sound_part
    from lora_forge.workflow.judging import unsaid
    from lora_forge.workflow.preset_names import describe

    _, said, _ = describe(name_or_path, cwd)
    layers, _ = load_preset_layers(name_or_path, folders=preset_folders(cwd), cwd=cwd)
    _, origins, _ = merge_layers(layers)
    preset, wrong = sound_part(layers)
    findings = (*said, *unsaid(check_trust(preset, origins, trust_code=True), said))  # code is for plan to permit
    findings = (*findings, *unsaid(_by_the_rules(preset, origins, wrong), findings))
    broken = any(finding.severity is Severity.ERROR for finding in findings)
    return findings, PresetError.exit_code if broken else 0


def _by_the_rules(preset: Preset, origins: dict[str, Origin], wrong: frozenset[str]) -> list[Finding]:
    from lora_forge.families import family_names, load_family
    from lora_forge.workflow.judging import apart_from, in_written_places, judge

    first = preset.families[0]
    if "families" in wrong or first not in family_names():
        return []
    sound = {key: origin for key, origin in origins.items() if key not in wrong}
    return in_written_places(judge(preset, sound, load_family(first)), apart_from(wrong, origins))
