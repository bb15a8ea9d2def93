"""The names that a preset calls other things by: its policy, families, optimizer, scheduler and engine options.

Judged by the written words alone, so that they are told beside every other
mistake of the file, also where no preset, and so no plan, can be made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import PresetError
from lora_forge.findings import Finding, Severity, error
from lora_forge.presets.keys import cut, did_you_mean
from lora_forge.settings import Origin, Scalar, Value

if TYPE_CHECKING:
    from lora_forge.families.family import Family


def describe(name_or_path: str, cwd: Path) -> tuple[dict[str, dict[str, Value]], tuple[Finding, ...], int]:
    """A preset laid open, everything wrong with it, and the exit code that comes to.

    Raises:
        PresetError: there is no such preset.
    """
    from lora_forge.policies import sized_keys
    from lora_forge.presets.inspect import describe_preset

    content, origins, mistakes = describe_preset(name_or_path, cwd, sized_keys)
    findings = (*mistakes, *check_families(origins), *check_policy(origins), *check_engine_names(origins))
    broken = any(finding.severity is Severity.ERROR for finding in findings)
    return content, findings, PresetError.exit_code if broken else 0


def check_policy(origins: Mapping[str, Origin]) -> Iterator[Finding]:
    """Whether there is such a policy."""
    from lora_forge.policies import policy_names

    name, where = _text("policy", origins)
    if name is not None and name not in policy_names():
        yield _unknown("policy", name, policy_names(), "Policies", where)


def check_families(origins: Mapping[str, Origin]) -> Iterator[Finding]:
    """Whether there is each of the families."""
    from lora_forge.families import family_names

    for index, name in enumerate(_families(origins)):
        if isinstance(name, str) and name not in family_names():  # what is no text is told by merge_layers
            yield family_unknown(name, origins["families"].written.place(str(index)))


def check_engine_names(origins: Mapping[str, Origin], family: Family | None = None) -> Iterator[Finding]:
    """What the engine would not know: optimizer, scheduler and options.

    The rules of a plan judge these too; this is for a preset of which there is no
    plan. Without a ``family`` an option is wrong only where none of the preset's
    families takes it.
    """
    yield from _optimizer(origins)
    yield from _scheduler(origins)
    yield from _options(origins, [family] if family else _known_families(origins))


def family_unknown(name: str, where: str) -> Finding:
    """There is no such family."""
    from lora_forge.families import family_names

    return _unknown("family", name, family_names(), "Families", where)


def option_place(option: str, origins: Mapping[str, Origin]) -> str:
    """Where an option of the engine was written, as such or by the preset key that decides it; else its own name."""
    from lora_forge.presets.trust import OWNED_OPTIONS

    options = origins.get("engine.options")
    if options and isinstance(options.written.value, dict) and option in options.written.value:
        return options.written.place(option)
    origin = origins.get(OWNED_OPTIONS.get(option, ""))
    return origin.written.where if origin else option


def _optimizer(origins: Mapping[str, Origin]) -> Iterator[Finding]:
    from lora_forge.plan.optimizers import NAMES, is_known

    name, where = _text("optimizer.name", origins)
    if name is not None and not is_known(name):
        yield _unknown("optimizer", name, NAMES, "Optimizers", where)


def _scheduler(origins: Mapping[str, Origin]) -> Iterator[Finding]:
    from lora_forge.plan.rules_schedule import USABLE_SCHEDULERS

    name, where = _text("optimizer.scheduler", origins)
    if name is not None and name not in USABLE_SCHEDULERS:
        yield _unknown("scheduler", name, USABLE_SCHEDULERS, "Schedulers", where)


def _options(origins: Mapping[str, Origin], families: Iterable[Family]) -> Iterator[Finding]:
    from lora_forge.engine.options import check_options, load_options

    origin = origins.get("engine.options")
    options = origin.written.value if origin else None
    if origin is None or not isinstance(options, dict):
        return
    tables = [load_options(script) for script in dict.fromkeys(family.script for family in families)]
    for option, value in options.items():
        faults = [check_options(table, {option: value}) for table in tables if value is not None]
        if faults and all(faults):
            first = faults[0][0]
            yield error(first.code, first.message, first.hint, origin.written.place(option))


def _known_families(origins: Mapping[str, Origin]) -> list[Family]:
    """Those of the preset; all where it names none that is known."""
    from lora_forge.families import family_names, load_family

    named = [str(name) for name in _families(origins) if name in family_names()]
    return [load_family(name) for name in named or family_names()]


def _families(origins: Mapping[str, Origin]) -> list[Scalar]:
    value = origins["families"].written.value if "families" in origins else None
    return value if isinstance(value, list) else []


def _text(key: str, origins: Mapping[str, Origin]) -> tuple[str | None, str]:
    """A key's text and its place; no text where nothing was written, or something that is none."""
    written = origins[key].written if key in origins else None
    value = written.value if written else None
    return value if isinstance(value, str) else None, written.where if written else ""


def _unknown(what: str, name: str, known: Iterable[str], plural: str, where: str) -> Finding:
    names = list(known)
    hint = did_you_mean(name, names, f"{plural} are: {', '.join(names)}.")
    return error(f"{what}-unknown", f"There is no {what} {cut(name)!r}.", hint, where)
