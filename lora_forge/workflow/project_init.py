"""``forge init``: a forge.yaml filled with what lies here; every line that nothing fills is a commented example.

Prose stands behind ``# ``, an example behind a bare ``#``, so that taking the
``#`` away is all it takes to use one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import ProjectError
from lora_forge.findings import Finding, warning
from lora_forge.presets.files import write_new, write_over, yaml_text
from lora_forge.settings import Value, Written

if TYPE_CHECKING:
    from lora_forge.families.family import Family, ModelFile
    from lora_forge.models.places import Roots

DEFAULT_PRESET = "identity"
_NO_DATASET = frozenset({"presets", "runs", "reg", "regularization", "reg_images", "vendor", "node_modules"})
_MOST_FOLDERS = 50

_HEADER = """\
# forge.yaml: what `forge plan` and `forge train` use in this folder.
# A flag or a FORGE_… variable stands before a line here. Relative paths start at this file.
# To use one of the examples, take its # away.
"""
_EXAMPLES = {
    "dataset": "photos",
    "trigger": "ohwx",
    "family": "flux",
    "name": "ohwx-identity",
    "reg": "reg",
    "runs": "runs",
}
_PROSE = {
    "dataset": "The folder of images, with a .txt caption beside each.",
    "trigger": "The word that calls the subject; left out, it is read from folder names or captions.",
    "preset": "What to train: a name from `forge preset ls`, or a file of your own (`forge preset cp identity`).",
    "family": "The base model's family: {families}; left out, the preset's first.",
    "name": "The name of the LoRA file.",
    "reg": "Regularization images, for presets that train a text encoder.",
    "runs": "Where the runs are kept.",
    "gpus": "How many GPUs one run uses.",
}
_OVERRIDES = """\
# Any key of a preset, written over it; `forge preset show identity` lists them.
overrides:
  #network.rank: 24                # a larger adapter
  #schedule.steps: 2500            # optimizer steps, exactly
  #optimizer.learning_rate: 8e-5   # a little gentler
"""


@dataclass(frozen=True)
class NewProject:
    """The file that was written and what it was filled with."""

    path: Path
    filled: Mapping[str, str]
    findings: tuple[Finding, ...] = ()

    @property
    def exit_code(self) -> int:
        return 0

    def data(self) -> object:
        return {"path": str(self.path), "filled": dict(self.filled)}


def init_project(
    flags: Mapping[str, Value], env: Mapping[str, str], cwd: Path, *, force: bool = False, roots: Roots | None = None
) -> NewProject:
    """Write forge.yaml from what is given, found and located; nothing is overwritten without ``force``.

    Raises:
        ProjectError: the file is there already, or the folder cannot be written.
    """
    from lora_forge.project.request import PROJECT_FILE

    path = cwd / PROJECT_FILE
    if path.exists() and not force:
        raise _exists(path)
    filled, findings = _fill(flags, env, cwd, roots)
    text = project_text(filled, _family(filled))
    try:
        (write_over if force else write_new)(path, text)
    except FileExistsError as exists:
        raise _exists(path) from exists
    except OSError as wrong:
        raise ProjectError(f"{path} cannot be written: {wrong.strerror or wrong}", "check the folder") from wrong
    return NewProject(path, filled, tuple(findings))


def project_text(filled: Mapping[str, str], family: Family) -> str:
    """The file's text: ``filled`` as it stands, an example for all else."""
    from lora_forge.families import family_names

    lines = [_HEADER]
    for key, prose in _PROSE.items():
        value = filled.get(key)
        line = f"#{key}: {_example(key)}" if value is None else f"{key}: {yaml_text(value)}"
        lines.append(f"# {prose.format(families=', '.join(family_names()))}\n{line}\n")
    lines += [_models(filled, family), _OVERRIDES]
    return "\n".join(lines)


def _models(filled: Mapping[str, str], family: Family) -> str:
    lines = ["# Base model files; `forge models locate` shows what is found without a line here.", "models:"]
    for file in family.files:
        value = filled.get(f"models.{file.name}")
        lines.append(_model_line(file, value))
    lines.append("  #tokenizers: /models/tokenizers   # for machines without a network")
    return "\n".join(lines) + "\n"


def _model_line(file: ModelFile, value: str | None) -> str:
    if value is None:
        return f"  #{file.name}: /models/{file.name}.safetensors   # {file.about}"
    return f"  {file.name}: {yaml_text(value)}   # {file.about}"


def _example(key: str) -> str:
    return _EXAMPLES.get(key, {"preset": DEFAULT_PRESET, "gpus": "1"}.get(key, ""))


def _fill(
    flags: Mapping[str, Value], env: Mapping[str, str], cwd: Path, roots: Roots | None
) -> tuple[dict[str, str], list[Finding]]:
    """What is given comes first; what the user's own file or a variable says already needs no line here."""
    from lora_forge.project.request import gather_request

    filled = {key: str(value) for key, value in flags.items() if value is not None}
    filled.setdefault("preset", DEFAULT_PRESET)
    findings: list[Finding] = []
    if "dataset" not in filled and (found := find_dataset(cwd, findings)):
        filled["dataset"] = found
    if "trigger" not in filled and "dataset" in filled and (trigger := _find_trigger(cwd / filled["dataset"])):
        filled["trigger"] = trigger
    request, _, _ = gather_request({}, env, cwd)
    unnamed = [file for file in _family(filled).files if file.required and getattr(request, file.name) is None]
    filled.update(_locate(unnamed, env, cwd, roots, findings))
    return filled, findings


def find_dataset(cwd: Path, findings: list[Finding]) -> str | None:
    """``dataset``, or the one folder here that holds images; several are left to the person."""
    from lora_forge.project.request import DATASET_FOLDER

    if (cwd / DATASET_FOLDER).is_dir():
        return DATASET_FOLDER
    folders = sorted(
        p for p in cwd.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name not in _NO_DATASET
    )
    found = [folder.name for folder in folders[:_MOST_FOLDERS] if _has_images(folder)]
    if len(found) == 1:
        return found[0]
    what = f"several folders hold images ({', '.join(found)})" if found else "no folder here holds images"
    findings.append(warning("dataset-missing", f"{what}; `dataset:` is left as an example", "name it in forge.yaml"))
    return None


def _has_images(folder: Path) -> bool:
    """Images in the folder itself or in kohya folders (``10_name``) below it."""
    from lora_forge.datasets.listing import list_folder, parse_kohya_name

    try:
        listing = list_folder(folder, ".txt")
        below = [name for name in listing.folders if parse_kohya_name(name)]
        return bool(listing.images) or any(list_folder(folder / name, ".txt").images for name in below)
    except OSError:
        return False


def _find_trigger(dataset: Path) -> str | None:
    from lora_forge.datasets.scan import scan_dataset
    from lora_forge.datasets.trigger import find_trigger

    facts, _ = scan_dataset(dataset, caption_extension=".txt")
    written, _ = find_trigger(facts, None)
    return None if written is None else str(written.value)


def _locate(
    files: Sequence[ModelFile], env: Mapping[str, str], cwd: Path, roots: Roots | None, findings: list[Finding]
) -> dict[str, str]:
    from lora_forge.models.locating import THOROUGH, Budget, locate_models
    from lora_forge.models.places import usual_roots

    located = locate_models(files, roots or usual_roots(env, cwd), Budget(*THOROUGH))
    findings += [finding for finding in located.findings(files) if finding.code != "model-located"]
    return {f"models.{name}": _text(written) for name, written in located.written().items()}


def _text(written: Written) -> str:
    return str(written.value)


def _family(filled: Mapping[str, str]) -> Family:
    """The family that was given, else FLUX, whose files are the most to name.

    Raises:
        ProjectError: there is no such family.
    """
    from lora_forge.families import family_names, load_family
    from lora_forge.presets.keys import did_you_mean

    name = filled.get("family", _EXAMPLES["family"])
    names: Iterable[str] = family_names()
    if name not in names:
        hint = did_you_mean(name, family_names(), "Families are: " + ", ".join(family_names()) + ".")
        raise ProjectError(f"There is no family {name!r}.", hint)
    return load_family(name)


def _exists(path: Path) -> ProjectError:
    return ProjectError(f"{path} is already there.", "forge init --force writes a new one in its place")
