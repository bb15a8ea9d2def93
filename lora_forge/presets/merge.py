"""Layers → one validated preset, and every mistake in them with the file and line that made it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lora_forge.findings import Finding, error
from lora_forge.presets.keys import RUN_KEYS, cut, did_you_mean, preset_leaves, preset_tables, shown
from lora_forge.presets.yaml_reader import sections_of
from lora_forge.settings import Layer, Origin, Source, Written, nest, winners

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from lora_forge.presets.model import Preset

MISSING_KEY = "preset-missing-key"
_MOST_UNKNOWN = 50
_SET_BY = {"sampling.every": "schedule.checkpoint_every"}
"""What a plan shows and a preset does not say: the key that decides it."""
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list such as [a, b]",
    "dict_type": "a table such as {{key: value}}",
    "literal_error": "{expected}",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} at the most",
    "too_short": "at least one entry",
    "string_pattern_mismatch": "an ending with its dot, such as .txt",
}
_YAML_1_1_SWITCHES = {"yes", "no", "on", "off", "y", "n"}


def merge_layers(layers: Sequence[Layer]) -> tuple[Preset | None, dict[str, Origin], list[Finding]]:
    """Let the highest layer win for each key, then validate the whole.

    The preset is None where a value is wrong; an unknown key alone is an error
    finding beside a preset that is otherwise sound. Origins hold known keys only.
    """
    from pydantic import ValidationError

    from lora_forge.presets.model import Preset

    findings = [finding for layer in layers for finding in _unknown_keys(layer)]
    known = preset_leaves()
    origins = {key: origin for key, origin in winners(layers).items() if key in known}
    values = nest({key: origin.written.value for key, origin in origins.items()})
    try:
        return Preset.model_validate(values), origins, findings
    except ValidationError as wrong:
        return None, origins, findings + _describe(wrong.errors(include_url=False), origins, layers)


def leave_out_wrong(layers: Sequence[Layer], families: Sequence[str]) -> tuple[Preset, frozenset[str]]:
    """The preset without its wrong values, so that the rest of it can be judged; and which keys those are.

    ``families`` stand in for its own, where those are missing or wrong.
    """
    from pydantic import ValidationError

    from lora_forge.presets.model import Preset

    known = preset_leaves()
    values = {key: origin.written.value for key, origin in winners(layers).items() if key in known}
    wrong: frozenset[str] = frozenset()
    try:
        Preset.model_validate(nest(values))
    except ValidationError as mistakes:
        wrong = frozenset(_locate(mistake)[0] for mistake in mistakes.errors(include_url=False)) & values.keys()
    sound = {key: value for key, value in values.items() if key not in wrong}
    return Preset.model_validate(nest({"name": "preset", "families": list(families), **sound})), wrong


def without_missing(problems: Sequence[Finding], mistakes: Sequence[Finding]) -> list[Finding]:
    """The mistakes; what a file with ``problems`` of its own seems to lack is no second one."""
    return [each for each in mistakes if not problems or each.code != MISSING_KEY]


def _unknown_keys(layer: Layer) -> list[Finding]:
    """The first fifty: each costs a search for the nearest key, and a file may hold many thousands."""
    known = preset_leaves()
    unknown = [(key, written) for key, written in layer.values.items() if key not in known]
    return [_unknown_key(key, written, known) for key, written in unknown[:_MOST_UNKNOWN]]


def _unknown_key(key: str, written: Written, known: frozenset[str]) -> Finding:
    below = sorted(leaf for leaf in known if leaf.startswith(f"{key}."))
    if below:
        names = ", ".join(leaf.removeprefix(f"{key}.") for leaf in below)
        message = f"{cut(key)} is {shown(written.value)}; expected a table of keys: {names}."
        return error("preset-value", message, f"Write {below[0]}, for example.", written.where)
    above = key.rpartition(".")[0]
    if above in preset_tables():
        hint = f"{above} is one value: write {above}={{{key.rpartition('.')[2]}: …}}, or the table in YAML."
    elif (asked := key.removeprefix("models.")) in RUN_KEYS:  # as forge.yaml names a model file
        hint = f"It belongs to the run, not to a preset: give it as --{asked.replace('_', '-')} or in forge.yaml."
    elif key in _SET_BY:
        hint = f"{_SET_BY[key]} sets it."
    else:
        hint = did_you_mean(key, known, _otherwise(above, known))
    return error("unknown-key", f"There is no setting {cut(key)}.", hint, written.where)


def _otherwise(table: str, known: frozenset[str]) -> str:
    """What there is to choose from: the keys of a table that exists, or the tables."""
    keys = sorted(leaf.removeprefix(f"{table}.") for leaf in known if table and leaf.startswith(f"{table}."))
    tables = sorted(name for name in sections_of(known) if "." not in name)
    return f"The keys of {table} are: {', '.join(keys)}." if keys else f"The tables are: {', '.join(tables)}."


def _describe(
    mistakes: Sequence[ErrorDetails], origins: Mapping[str, Origin], layers: Sequence[Layer]
) -> list[Finding]:
    """One finding a place: a union reports each of its members, which is one mistake to a person."""
    grouped: dict[tuple[str, str], list[ErrorDetails]] = {}
    for mistake in mistakes:
        grouped.setdefault(_locate(mistake), []).append(mistake)
    return [_mistake(key, place, group, origins, layers) for (key, place), group in grouped.items()]


def _locate(mistake: ErrorDetails) -> tuple[str, str]:
    """The key, and the place at most one step inside its value: ``families`` and ``families.0``."""
    parts = [str(part) for part in mistake["loc"]]
    known = preset_leaves()
    for end in range(1, len(parts) + 1):
        if (key := ".".join(parts[:end])) in known:
            return key, ".".join(parts[: end + 1])
    return ".".join(parts), ".".join(parts)


def _mistake(
    key: str,
    place: str,
    group: Sequence[ErrorDetails],
    origins: Mapping[str, Origin],
    layers: Sequence[Layer],
) -> Finding:
    if key not in origins:
        where = next((layer.label for layer in reversed(layers) if layer.source is Source.PRESET), "")
        return error(MISSING_KEY, f"{key} is missing.", f"Add {key}: to the preset.", where)
    value = group[0]["input"]
    message = f"{cut(place)} is {shown(value)}; expected {_expected(group)}."
    where = origins[key].written.place(place.removeprefix(f"{key}."))
    return error("preset-value", message, _hint(value, group, key), where)


def _expected(group: Sequence[ErrorDetails]) -> str:
    if {"bool_type", "string_type"} <= {mistake["type"] for mistake in group}:
        return "text, a number, true or false"
    return " or ".join(dict.fromkeys(_expectation(mistake) for mistake in group))


def _expectation(mistake: ErrorDetails) -> str:
    context: dict[str, Any] = mistake.get("ctx", {})
    template = _EXPECTED.get(mistake["type"])
    return template.format(**context) if template else mistake["msg"].removeprefix("Input should be ")


def _hint(value: object, group: Sequence[ErrorDetails], key: str) -> str:
    kinds = {mistake["type"] for mistake in group}
    if "string_type" in kinds and isinstance(value, (bool, int, float)):
        return f'Put it in quotes: "{shown(value)}".'
    hint = _text_hint(value, kinds, group) if isinstance(value, str) else ""
    return hint or f"Correct {key}, or write null to leave it to the default."


def _text_hint(text: str, kinds: set[str], group: Sequence[ErrorDetails]) -> str:
    """What to write in the place of a text; empty where nothing can be guessed."""
    if "bool_type" in kinds and text.lower() in _YAML_1_1_SWITCHES:
        return "Write true or false."
    if kinds & {"int_type", "float_type"}:
        return "Write a plain number, without quotes, underscores or units."
    if "list_type" in kinds:
        return f"Write [{text}]."
    if kinds == {"literal_error"}:
        words = re.findall("'([^']*)'", group[0].get("ctx", {}).get("expected", ""))
        return did_you_mean(text, words, f"Write one of {', '.join(words)}.")
    return f"Write .{text}." if "string_pattern_mismatch" in kinds and text.isalnum() else ""
