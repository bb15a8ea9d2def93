"""The options of the engine's training scripts at its pin, and the check that the engine does not make.

The engine's TOML reader puts every key straight into argparse's result: unknown
keys, wrong types and bad choices pass there without a word. So what is rendered
is checked here. The tables are written by ``scripts/dump_engine_options``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lora_forge.errors import EngineError

if TYPE_CHECKING:
    from lora_forge.findings import Finding

Scalar: TypeAlias = str | int | float | bool
OptionValue: TypeAlias = str | int | float | bool | list[str] | list[float]

TABLES = Path(__file__).parent / "options"

SCRIPTS = (
    "train_network",
    "sdxl_train_network",
    "flux_train_network",
    "sd3_train_network",
    "lumina_train_network",
    "anima_train_network",
    "hunyuan_image_train_network",
)


class Option(NamedTuple):
    """One option as argparse knows it; ``kind`` is str, int, float, bool or int_or_float."""

    dest: str
    flags: tuple[str, ...]
    kind: str
    nargs: str | None
    choices: tuple[Scalar | None, ...] | None
    default: OptionValue | None
    store_true: bool


class OptionTable(NamedTuple):
    """Every option of one script of the engine at ``commit``."""

    script: str
    commit: str
    options: Mapping[str, Option]


def load_options(script: str) -> OptionTable:
    """Read the shipped table of ``script``, with or without ``.py``."""
    name = script.removesuffix(".py")
    if name not in SCRIPTS:
        raise EngineError(f"there is no option table for '{script}'", f"one of: {', '.join(SCRIPTS)}")
    table = json.loads((TABLES / f"{name}.json").read_text(encoding="utf-8"))
    options = {dest: _option(dest, entry) for dest, entry in table["options"].items()}
    return OptionTable(table["script"], table["commit"], options)


def _option(dest: str, entry: Mapping[str, object]) -> Option:
    choices = entry.get("choices")
    return Option(
        dest=dest,
        flags=tuple(entry["flags"]),  # type: ignore[arg-type]  # written by our own script
        kind=str(entry["type"]),
        nargs=entry.get("nargs"),  # type: ignore[arg-type]
        choices=None if choices is None else tuple(choices),  # type: ignore[arg-type]
        default=entry["default"],  # type: ignore[arg-type]
        store_true=bool(entry.get("store_true", False)),
    )


def check_options(table: OptionTable, options: Mapping[str, OptionValue]) -> list[Finding]:
    """Say everything that the engine would swallow: unknown key, wrong type, value outside the choices."""
    findings: list[Finding] = []
    for key, value in options.items():
        option = table.options.get(key)
        findings += _unknown(table, key) if option is None else _check_value(option, value)
    return findings


def _unknown(table: OptionTable, key: str) -> list[Finding]:
    from lora_forge.findings import error

    message = f"{table.script} has no option '{key}'"
    hint = did_you_mean(key, table.options) or NO_SUCH_OPTION
    return [error("engine-option-unknown", message, hint, key)]


def _check_value(option: Option, value: object) -> list[Finding]:
    from lora_forge.findings import error

    if fault := _type_fault(option, value):
        hint = f"write {option.dest}: {_example(option)}, for example"
        return [error("engine-option-type", f"'{option.dest}' {fault}, not {value!r}", hint, option.dest)]
    if option.choices is not None and value not in option.choices:
        allowed = ", ".join(str(choice) for choice in option.choices if choice is not None)
        message = f"'{option.dest}' cannot be {value!r}"
        hint = did_you_mean(str(value), map(str, option.choices)) or f"one of: {allowed}"
        return [error("engine-option-choice", message, hint, option.dest)]
    return []


def _example(option: Option) -> str:
    example = EXAMPLES[option.kind]
    return example if option.nargs is None else f"[{example}]"


def _type_fault(option: Option, value: object) -> str:
    """What ``option`` has to be, where ``value`` is not; empty where it is."""
    if option.nargs is None:
        return scalar_fault(option.kind, value)
    if not isinstance(value, list):
        return f"must be a list of {KINDS[option.kind]}"
    if any(scalar_fault(option.kind, item) for item in value):
        return f"must be a list of {KINDS[option.kind]}"
    mixed = len({type(item) for item in value}) > 1
    return "must hold values of one type only (the engine's TOML reader refuses [1e-4, 0])" if mixed else ""


NO_SUCH_OPTION = "leave it out; what forge itself has words for: forge preset schema"
EXAMPLES = {"str": "text", "Path": "a/path", "bool": "true", "int": "1", "float": "0.1", "int_or_float": "100"}
KINDS = {
    "str": "text",
    "Path": "a path",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "int_or_float": "a whole number of steps, or a share below 1.0",
}


def scalar_fault(kind: str, value: object) -> str:
    """Compare one value with one of ``KINDS``.

    A bool is no number, whatever Python says. A step count with a point is a
    share of all steps: ``10.0`` would mean ten times the run (train_util.py,
    ``get_scheduler_fix``).

    >>> scalar_fault("int", True), scalar_fault("float", 1), scalar_fault("int_or_float", 10.0)
    ('must be a whole number', '', 'must be a whole number of steps, or a share below 1.0')
    """
    return "" if _matches(kind, value) else f"must be {KINDS[kind]}"


def _matches(kind: str, value: object) -> bool:
    if isinstance(value, bool) or kind == "bool":
        return isinstance(value, bool) and kind == "bool"
    if isinstance(value, float):
        return math.isfinite(value) if kind == "float" else kind == "int_or_float" and 0 <= value < 1
    if isinstance(value, int):
        return kind in ("int", "float", "int_or_float")
    return kind in ("str", "Path") and isinstance(value, str)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest known word as a question, or nothing.

    >>> did_you_mean("network-dimm", ["network_dim", "network_alpha"])
    "did you mean 'network_dim'?"
    """
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else ""
