"""One preset, merged and laid open: every key with its value and where it was written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from lora_forge.findings import Finding
from lora_forge.presets.loader import load_preset_layers, preset_folders
from lora_forge.presets.merge import merge_layers, without_missing
from lora_forge.settings import Origin, Value

SizedKeys = Callable[[str], Collection[str]]
"""A policy's name → the preset keys that it decides."""


def describe_preset(
    name_or_path: str, cwd: Path, sized_keys: SizedKeys
) -> tuple[dict[str, dict[str, Value]], Mapping[str, Origin], tuple[Finding, ...]]:
    """The written keys as plain data and with their origins, and everything wrong with them.

    A value that lies below the layer of the policy that sizes it has no effect;
    it is told as ``overruled_by`` (docs/adr/0002-policy-layer.md).

    Raises:
        PresetError: there is no such preset.
    """
    layers, problems = load_preset_layers(name_or_path, folders=preset_folders(cwd), cwd=cwd)
    _, origins, mistakes = merge_layers(layers)
    overruled = _overruled(origins, sized_keys)
    content = {key: _described(key, origin, overruled) for key, origin in sorted(origins.items())}
    return content, origins, (*problems, *without_missing(problems, mistakes))


def _described(key: str, origin: Origin, overruled: Mapping[str, str]) -> dict[str, Value]:
    written = origin.written
    described: dict[str, Value] = {"value": written.value, "where": written.where, "why": written.why}
    return {**described, "overruled_by": overruled[key]} if key in overruled else described


def _overruled(origins: Mapping[str, Origin], sized_keys: SizedKeys) -> dict[str, str]:
    policy = origins.get("policy")
    if policy is None:
        return {}
    name = str(policy.written.value)
    sized = [key for key in sized_keys(name) if key in origins]
    return {key: f"policy {name}" for key in sized if origins[key].layer < policy.layer}
