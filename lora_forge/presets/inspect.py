"""One preset, merged and laid open: every key with its value and where it was written."""

from __future__ import annotations

from pathlib import Path

from lora_forge.errors import PresetError
from lora_forge.findings import Finding, Severity
from lora_forge.presets.loader import load_preset_layers, preset_folders
from lora_forge.presets.merge import merge_layers
from lora_forge.settings import Value


def describe_preset(name_or_path: str, cwd: Path) -> tuple[dict[str, dict[str, Value]], tuple[Finding, ...], int]:
    """The written keys, everything wrong with them, and the exit code that comes to.

    Raises:
        PresetError: there is no such preset.
    """
    layers, problems = load_preset_layers(name_or_path, folders=preset_folders(cwd), cwd=cwd)
    _, origins, mistakes = merge_layers(layers)
    findings = (*problems, *mistakes)
    content = {
        key: {"value": o.written.value, "where": o.written.where, "why": o.written.why}
        for key, o in sorted(origins.items())
    }
    broken = any(finding.severity is Severity.ERROR for finding in findings)
    return content, findings, PresetError.exit_code if broken else 0
