"""A preset by name or path → its layers, the file it extends first.

A name is looked up in the project's ``presets/``, then the user's, then the
shipped ones; since a name holds no separator it cannot leave those folders.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lora_forge.errors import PresetError
from lora_forge.findings import Finding, error
from lora_forge.presets.keys import cut, did_you_mean, preset_leaves, printable, shown
from lora_forge.presets.yaml_reader import read_settings_file, read_value
from lora_forge.presets.yaml_scalars import NumberTooLarge, resolve_plain
from lora_forge.settings import Layer, Source, Value, Written

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")
_ENDINGS = (".yaml", ".yml")
_PACKAGE = Path(__file__).resolve().parent


class PresetEntry(NamedTuple):
    """One line of ``forge preset ls``; ``about`` and ``extends`` as the file itself writes them."""

    name: str
    path: Path
    about: str
    extends: str


def preset_folders(cwd: Path) -> tuple[Path, ...]:
    """Where names are looked up, first match first: project, user, shipped."""
    from platformdirs import user_config_path

    return cwd / "presets", user_config_path("lora_forge") / "presets", shipped_folder()


def shipped_folder() -> Path:
    """Inside the wheel; in a source checkout the presets lie at its root."""
    packaged = _PACKAGE / "shipped"
    return packaged if packaged.is_dir() else _PACKAGE.parent.parent / "presets"


def load_preset_layers(name_or_path: str, *, folders: Sequence[Path], cwd: Path) -> tuple[list[Layer], list[Finding]]:
    """Read a preset and all that it extends, base first; what is wrong inside the files is a finding.

    A preset that extends its own name means the next one of that name: a
    project's ``identity`` can build on the shipped ``identity``.

    Raises:
        PresetError: where there is no such preset.
    """
    return _Chain(folders, cwd).load(_locate(name_or_path, folders=folders, base=cwd))


def find_preset(name_or_path: str, *, folders: Sequence[Path], cwd: Path) -> Path:
    """The file of a preset.

    Raises:
        PresetError: where there is no such preset.
    """
    return _locate(name_or_path, folders=folders, base=cwd)


def is_name(text: str) -> bool:
    """Whether a preset can be called this: no separator, so no name leaves its folder."""
    return bool(_NAME.match(text))


def list_presets(folders: Sequence[Path]) -> list[PresetEntry]:
    """Every preset that a name can reach, sorted; of two with one name only the first found."""
    entries: dict[str, PresetEntry] = {}
    for folder in folders:
        for path in sorted(_yaml_files(folder)):
            if _NAME.match(path.stem) and path.stem not in entries:
                entries[path.stem] = _read_entry(path)
    return [entries[name] for name in sorted(entries)]


def parse_set(argument: str) -> tuple[str, Written]:
    """``a.b=c`` from ``--set``: YAML's scalars, and lists or tables in flow syntax.

    Raises:
        PresetError: where there is no ``=``, no key, no value (an unset shell variable), or one that cannot be read.

    >>> parse_set("network.rank=24")[1].value, parse_set("sampling.prompts=[a, 'b c']")[1].value
    (24, ['a', 'b c'])
    """
    key, equals, text = argument.partition("=")
    key = key.strip()
    if not equals or not key or printable(argument) != argument:
        raise PresetError(f"--set {cut(argument)!r} is not key=value.", "Write --set network.rank=16.")
    if not text.strip():
        hint = f"Write --set {key}=VALUE, or --set {key}=null to leave it to the default."
        raise PresetError(f"--set {cut(argument)!r} has no value behind its =.", hint)
    where = f"--set {key}"
    return key, Written(_set_value(text.strip(), where), Source.CLI, where)


def shown_path(path: Path, cwd: Path) -> str:
    """Relative where that is shorter to read: below the current folder; a shipped preset by its name."""
    if path.parent == shipped_folder():
        return path.name
    return printable(str(path.relative_to(cwd) if path.is_relative_to(cwd) else path))


def is_path(name_or_path: str) -> bool:
    r"""Whether a preset was given as a path: it has a separator or a YAML ending.

    >>> is_path("identity"), is_path("./identity"), is_path("mine.yaml"), is_path("..\\x")
    (False, True, True, True)
    """
    return "/" in name_or_path or "\\" in name_or_path or name_or_path.lower().endswith(_ENDINGS)


def _set_value(text: str, where: str) -> Value:
    if text[:1] in tuple("[{\"'"):
        value, findings = read_value(text, label=where)
        if findings:
            raise PresetError(f"{where}: {findings[0].message}", findings[0].hint, findings=findings)
        return value
    try:
        return resolve_plain(text)
    except NumberTooLarge as wrong:
        raise PresetError(f"{where}: {cut(text)} is too large for a number.", "Write a smaller one.") from wrong


class _Chain:
    """One walk up a chain of ``extends``, which must not come back to itself."""

    def __init__(self, folders: Sequence[Path], cwd: Path) -> None:
        self._folders = folders
        self._cwd = cwd
        self._seen: list[Path] = []
        self._findings: list[Finding] = []

    def load(self, start: Path) -> tuple[list[Layer], list[Finding]]:
        layers: list[Layer] = []
        path: Path | None = start
        while path is not None:
            self._seen.append(path.resolve())
            layer, extends = self._read(path)
            layers.insert(0, layer)
            path = self._base_of(path, extends) if extends else None
        return layers, self._findings

    def _read(self, path: Path) -> tuple[Layer, Written | None]:
        label = shown_path(path, self._cwd)
        leaves = preset_leaves() | {"extends"}
        values, findings = read_settings_file(path, source=Source.PRESET, label=label, leaves=leaves)
        self._findings += findings
        if not (values or findings or self._seen[1:]):  # as a base it would only be pointless
            hint = "Begin it with `extends: identity`, for example."
            self._findings.append(error("preset-empty", f"{label} is empty.", hint, label))
        extends = values.pop("extends", None)
        values.setdefault("name", Written(path.stem, Source.PRESET, label, "the file's own name"))
        return Layer(Source.PRESET, label, values), extends if extends and extends.value is not None else None

    def _base_of(self, path: Path, extends: Written) -> Path | None:
        if not isinstance(extends.value, str):
            hint = "Write one preset's name or path."
            self._refuse("preset-extends", f"extends is {shown(extends.value)}, not a name.", hint, extends)
            return None
        own_name = extends.value == path.stem
        passed = self._seen if own_name else []
        try:
            base = _locate(extends.value, folders=self._folders, base=path.parent, passed=passed)
        except PresetError as wrong:
            if own_name:
                self._refuse_cycle(path, extends)
            else:
                self._refuse("preset-extends", wrong.message, wrong.hint, extends)
            return None
        if base.resolve() in self._seen:
            self._refuse_cycle(base, extends)
            return None
        return base

    def _refuse_cycle(self, back_to: Path, extends: Written) -> None:
        chain = " → ".join([*(seen.name for seen in self._seen), back_to.name])
        message = f"Presets extend each other in a circle: {printable(chain)}."
        self._refuse("preset-cycle", message, "Remove one `extends:` from the circle.", extends)

    def _refuse(self, code: str, message: str, hint: str, written: Written) -> None:
        self._findings.append(error(code, message, hint, written.where))


def _locate(name_or_path: str, *, folders: Sequence[Path], base: Path, passed: Sequence[Path] = ()) -> Path:
    if is_path(name_or_path):
        return _locate_path(name_or_path, base)
    if not _NAME.match(name_or_path):
        _refuse_unknown(name_or_path, folders)
    for folder in folders:
        for ending in _ENDINGS:
            path = folder / f"{name_or_path}{ending}"
            if path.is_file() and path.resolve() not in passed:
                return path
    return _refuse_unknown(name_or_path, folders)


def _locate_path(text: str, base: Path) -> Path:
    try:
        path = base / Path(text).expanduser()
        if path.is_file():
            return path
    except (OSError, ValueError, RuntimeError) as wrong:  # NUL, too long, no such home
        raise PresetError(
            f"{cut(text)!r} is not a usable path: {cut(str(wrong))}.", "Give a preset's name or file."
        ) from wrong
    kind = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
    shown_as = printable(os.path.normpath(path))
    raise PresetError(f"The preset file {shown_as!r} {kind}.", "Give a YAML file, or a name from `forge preset ls`.")


def _refuse_unknown(name: str, folders: Sequence[Path]) -> Path:
    known = sorted({path.stem for folder in folders for path in _yaml_files(folder) if _NAME.match(path.stem)})
    hint = did_you_mean(name, known, "Presets are: " + (", ".join(known) or "none found") + ".")
    if hint.startswith("Did"):
        hint += " Presets are: " + ", ".join(known) + "."
    raise PresetError(f"There is no preset {cut(name)!r}.", hint)


def _yaml_files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix in _ENDINGS and path.is_file()]
    except OSError:
        return []


def _read_entry(path: Path) -> PresetEntry:
    leaves = preset_leaves() | {"extends"}
    values, _ = read_settings_file(path, source=Source.PRESET, label=path.name, leaves=leaves)
    about, extends = (values[key].value if key in values else None for key in ("about", "extends"))
    return PresetEntry(path.stem, path, str(about or ""), str(extends or ""))
