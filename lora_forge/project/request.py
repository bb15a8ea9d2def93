"""What a run was asked with, gathered from flags, environment, forge.yaml and the user's own file.

The first that speaks wins, in that order; each value keeps where it was written.
A relative path means the folder of the file that names it, and the current
folder where a flag or a variable names it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from lora_forge.errors import PresetError
from lora_forge.findings import Finding, error, warning
from lora_forge.presets.keys import RUN_KEYS, cut, did_you_mean, nearest, preset_leaves, shown
from lora_forge.presets.loader import is_path, parse_set, shown_path
from lora_forge.presets.yaml_reader import hides_keys, read_settings_file
from lora_forge.project.datasets import AskedFolder, leading, named_twice, read_folders
from lora_forge.project.wording import count_hint, count_problem, text_hint, text_problem
from lora_forge.settings import Layer, Scalar, Source, Value, Written

PROJECT_FILE = "forge.yaml"
DATASET_FOLDER = "dataset"
RUNS_FOLDER = "runs"
FOREIGN_VARIABLES = frozenset({"FORGE_CACHE", "FORGE_HOME"})
"""Variables that mean something elsewhere in forge; all others are checked against the list."""

MODEL_KEYS = ("model", "clip_l", "t5xxl", "ae", "vae")
_UNDER_MODELS = (*MODEL_KEYS, "tokenizers")
_PATHS = frozenset({"dataset", "reg", "runs", *_UNDER_MODELS})
_COUNTS = frozenset({"gpus", "vram"})
_OVERRIDES = "overrides."
_MOST_UNKNOWN = 50  # each costs a search for the nearest key, and a file may hold many thousands


@dataclass(frozen=True)
class Request:
    """One run as a person asked for it; None where nobody said anything.

    Paths are absolute text, so that they can be shown as they are; ``path`` and
    its companions give them their type back.
    """

    dataset: Written | None = None
    trigger: Written | None = None
    preset: Written | None = None
    family: Written | None = None
    reg: Written | None = None
    name: Written | None = None
    model: Written | None = None
    clip_l: Written | None = None
    t5xxl: Written | None = None
    ae: Written | None = None
    vae: Written | None = None
    tokenizers: Written | None = None
    runs: Written | None = None
    gpus: Written | None = None
    vram: Written | None = None
    folders: tuple[AskedFolder, ...] = ()
    """Every folder to train on; ``dataset`` is the first of them that is not for regularization."""
    unsound: frozenset[str] = field(default=frozenset(), compare=False)
    """Keys that are wrong where they are named, or may be named in a file that cannot be read: not to be missed."""

    def dataset_words(self) -> Value:
        """The dataset in words that ``--dataset`` takes."""
        words: list[Scalar] = [folder.words() for folder in self.folders]
        return self.text("dataset") if not words else words[0] if len(words) == 1 else words

    def path(self, key: str) -> Path | None:
        """The path under ``key``, or None."""
        text = self.text(key)
        return None if text is None else Path(text)

    def text(self, key: str) -> str | None:
        """The text under ``key``, or None."""
        written: Written | None = getattr(self, key)
        return None if written is None else str(written.value)

    def count(self, key: str) -> int | None:
        """The whole number under ``key``, or None."""
        written: Written | None = getattr(self, key)
        return written.value if written and isinstance(written.value, int) else None


@dataclass(frozen=True)
class _Spoken:
    """All that one place said, before types are checked; relative paths start at ``base``."""

    values: Mapping[str, Written]
    base: Path


def gather_request(
    flags: Mapping[str, Value], env: Mapping[str, str], cwd: Path, *, user_file: Path | None = None
) -> tuple[Request, list[Layer], list[Finding]]:
    """Fold every place into one request, and the overrides of preset keys into layers, lowest first.

    ``flags`` carries the request's own keys and ``set``, the list of ``--set``
    arguments. ``user_file`` stands in for the user's settings file.
    """
    user, user_layers, user_findings = _read_file(user_file or user_settings_file(), cwd)
    project, project_layers, project_findings = _read_file(cwd / PROJECT_FILE, cwd)
    set_layers, set_findings = _read_set(flags.get("set"))
    findings = [*user_findings, *project_findings, *check_environment(env), *set_findings]
    places = [_from_flags(flags, cwd), _from_environment(env, cwd), project, user]
    folders = _folders(places, findings)
    said = {key: _first(key, places, findings) for key in RUN_KEYS if key != "dataset"}
    said["dataset"] = _first_folder(folders)
    request = Request(**said, folders=folders, unsound=_unsound(said, places, [*user_findings, *project_findings]))
    return _with_dataset(request, cwd), [*user_layers, *project_layers, *set_layers], findings


def runs_folder(request: Request, cwd: Path) -> Path:
    """Where runs are made and looked for: as the request says, else ``runs`` here."""
    return request.path("runs") or cwd / RUNS_FOLDER


def find_runs_folder(given: Path | None, env: Mapping[str, str], cwd: Path) -> Path:
    """The same for a command that asks for nothing but runs; its problems are told where a plan is made."""
    return cwd / given if given else runs_folder(gather_request({}, env, cwd)[0], cwd)


def without_requests(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without what it asks of a run: the engine's place and the cache's still count."""
    return {name: text for name, text in env.items() if not name.startswith("FORGE_") or name in FOREIGN_VARIABLES}


def user_settings_file() -> Path:
    """The same keys as a project's forge.yaml, for every project of this user."""
    from platformdirs import user_config_path

    return user_config_path("lora_forge") / PROJECT_FILE


def check_environment(env: Mapping[str, str]) -> list[Finding]:
    """Warn of each ``FORGE_…`` variable that nothing reads."""
    known = {_variable(key) for key in RUN_KEYS} | FOREIGN_VARIABLES
    return [_unknown_variable(name) for name in sorted(env) if name.startswith("FORGE_") and name not in known]


def _unknown_variable(name: str) -> Finding:
    key = nearest(name.removeprefix("FORGE_"), RUN_KEYS)
    known = ", ".join(map(_variable, RUN_KEYS))
    hint = f"Did you mean {_variable(key)}?" if key else f"Known are: {known}."
    message = f"The environment variable {cut(name)} is not read by forge."
    return warning("unknown-variable", message, hint, cut(name))


def _variable(key: str) -> str:
    return f"FORGE_{key.upper()}"


def _from_flags(flags: Mapping[str, Value], cwd: Path) -> _Spoken:
    named = {key: flags[key] for key in RUN_KEYS if flags.get(key) is not None}
    values = {key: Written(value, Source.CLI, f"--{key.replace('_', '-')}") for key, value in named.items()}
    return _Spoken(values, cwd)


def _from_environment(env: Mapping[str, str], cwd: Path) -> _Spoken:
    """An empty variable is one that is not set, as a shell script means it."""
    named = {key: _variable(key) for key in RUN_KEYS if env.get(_variable(key))}
    values = {
        key: Written(_number(env[name]) if key in _COUNTS else env[name], Source.ENV, name)
        for key, name in named.items()
    }
    return _Spoken(values, cwd)


def _number(text: str) -> Value:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _read_file(path: Path, cwd: Path) -> tuple[_Spoken, list[Layer], list[Finding]]:
    """A settings file; that there is none is no problem."""
    if not os.path.lexists(path):
        return _Spoken({}, path.parent), [], []
    label = shown_path(path, cwd)
    overrides = {_OVERRIDES + key for key in preset_leaves()}
    leaves = {*_file_keys(), *overrides}
    written, findings = read_settings_file(path, source=Source.PROJECT, label=label, leaves=leaves, listed=("dataset",))
    named = {key: written[place] for place, key in _file_keys().items() if place in written}
    return _Spoken(named, path.parent), _override_layers(written, label), findings + _unknown_places(written)


def _unknown_places(written: Mapping[str, Written]) -> list[Finding]:
    known = _file_keys()
    places = [place for place in written if place not in known and not place.startswith(_OVERRIDES)]
    return [_unknown(place, written[place]) for place in places[:_MOST_UNKNOWN]]


def _file_keys() -> dict[str, str]:
    """Where each key of the request stands in the file: ``models.clip_l`` → ``clip_l``."""
    return {f"models.{key}" if key in _UNDER_MODELS else key: key for key in RUN_KEYS}


def _unknown(place: str, written: Written) -> Finding:
    if place in ("models", "overrides"):
        hint = f"Write a table: `{place}:` with keys indented below it."
        return error("project-value", f"{place} is {shown(written.value)}, not a table.", hint, written.where)
    if meant := _preset_keys(place):
        hint = f"Preset settings go under `overrides:`, as {' or '.join(_OVERRIDES + key for key in meant)}."
    else:
        hint = did_you_mean(place, list(_file_keys()), "Known are: " + ", ".join(_file_keys()) + ", overrides.")
    return error("unknown-key", f"There is no project setting {cut(place)}.", hint, written.where)


def _preset_keys(place: str) -> list[str]:
    """The preset's keys that may be meant without ``overrides:``: the very one, or those that end so, as ``steps``."""
    leaves = preset_leaves()
    return [place] if place in leaves else sorted(leaf for leaf in leaves if leaf.rpartition(".")[2] == place)


def _override_layers(written: Mapping[str, Written], label: str) -> list[Layer]:
    values = {key.removeprefix(_OVERRIDES): value for key, value in written.items() if key.startswith(_OVERRIDES)}
    return [Layer(Source.PROJECT, label, values)] if values else []


def _read_set(arguments: Value) -> tuple[list[Layer], list[Finding]]:
    values: dict[str, Written] = {}
    findings: list[Finding] = []
    for argument in arguments if isinstance(arguments, list) else []:
        try:
            key, written = parse_set(str(argument))
        except PresetError as wrong:
            findings.append(error("invalid-set", wrong.message, wrong.hint, "--set"))
        else:
            values[key] = written
    return [Layer(Source.CLI, "--set", values)] if values else [], findings


def _first(key: str, places: Iterable[_Spoken], findings: list[Finding]) -> Written | None:
    """The highest place's word; a wrong value is reported wherever it stands, also where it lost."""
    words = [
        _check(key, place.values[key], place.base, findings)
        for place in places
        if key in place.values and place.values[key].value is not None
    ]
    return next((word for word in words if word), None)


def _folders(places: Iterable[_Spoken], findings: list[Finding]) -> tuple[AskedFolder, ...]:
    """The folders of the highest place that names any; what is wrong is reported wherever it stands."""
    named = [
        [folder._replace(path=_absolute(folder.path, place.base)) for folder in folders]
        for place in places
        if (written := place.values.get("dataset")) is not None and written.value is not None
        if (folders := read_folders(written, findings))
    ]
    folders = tuple(named[0]) if named else ()
    findings += named_twice(folders)
    return folders


def _first_folder(folders: Sequence[AskedFolder]) -> Written | None:
    if not folders:
        return None
    first = leading(folders)
    return replace(first.written, value=first.path)


def _check(key: str, written: Written, base: Path, findings: list[Finding]) -> Written | None:
    value = written.value
    if problem := count_problem(value) if key in _COUNTS else text_problem(value):
        hint = count_hint(key) if key in _COUNTS else text_hint(key, value)
        message = f"{key} is {shown(value)}; expected {problem}."
        findings.append(error("project-value", message, hint, written.where))
        return None
    if key in _PATHS or (key == "preset" and is_path(str(written.value))):
        return Written(_absolute(str(written.value), base), written.source, written.where, written.why)
    return written


def _unsound(
    said: Mapping[str, Written | None], places: Iterable[_Spoken], problems: Iterable[Finding]
) -> frozenset[str]:
    missing = {key for key, written in said.items() if written is None}
    if any(hides_keys(problem) for problem in problems):
        return frozenset(missing)
    named = {key for place in places for key, written in place.values.items() if written.value is not None}
    return frozenset(missing & named)


def _absolute(text: str, base: Path) -> str:
    """Against ``base``, with ``~`` expanded; symlinks and ``..`` are left for the system to follow."""
    try:
        return str(base.absolute() / Path(text).expanduser())
    except RuntimeError:  # ~nobody: no such home
        return str(base.absolute() / text)


def _with_dataset(request: Request, cwd: Path) -> Request:
    folder = cwd / DATASET_FOLDER
    if request.dataset is not None or "dataset" in request.unsound or not folder.is_dir():
        return request
    why = "a folder of this name lies in the current folder"
    fallback = Written(str(folder.absolute()), Source.DEFAULT, DATASET_FOLDER, why)
    given = {field.name: getattr(request, field.name) for field in fields(request)}
    return Request(**{**given, "dataset": fallback})
