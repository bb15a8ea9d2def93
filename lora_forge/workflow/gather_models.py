"""The base-model files and tokenizers of one call: named, or found where such files usually lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.findings import Finding, error, info, warning
from lora_forge.settings import Source, Written

if TYPE_CHECKING:
    from lora_forge.families.family import Family, ModelFile
    from lora_forge.models.facts import ModelFacts
    from lora_forge.project.request import Request
    from lora_forge.workflow.invocation import Invocation


def read_models(
    request: Request, family: Family | None, call: Invocation, findings: list[Finding]
) -> tuple[dict[str, Written], dict[str, ModelFacts]]:
    """Where every model file is and what its header says; what nobody named is looked for in the usual places.

    Without a family every file that was named is read all the same: whether it is there depends on none.
    """
    from lora_forge.models.facts import read_model
    from lora_forge.models.header import InvalidModel
    from lora_forge.project.request import MODEL_KEYS

    findings += [*_unusable_tokenizers(request, family), *_unused(request, family)]
    files = family.files if family else ()
    names = [file.name for file in files] if family else MODEL_KEYS
    paths = {name: named for name in names if (named := getattr(request, name)) is not None}
    models: dict[str, ModelFacts] = {}
    for name, named in paths.items():
        try:
            models[name] = read_model(Path(str(named.value)))
        except InvalidModel as problem:
            findings.append(error("model-unusable", problem.message, problem.hint, str(named.value)))
    unnamed = [file for file in files if file.required and file.name not in paths]
    if unnamed:
        _locate(unnamed, call, paths, models, findings)
    return paths, models


def missing_tokenizers(request: Request, family: Family, call: Invocation) -> list[Finding]:
    """The engine downloads a tokenizer it does not find, which an offline machine learns too late."""
    from lora_forge.models.locating import locate_tokenizers, tokenizer_folder
    from lora_forge.models.places import usual_roots

    named, folder = request.tokenizers, request.path("tokenizers")
    if folder and not folder.is_dir():  # which was said when it was read
        return []
    places = locate_tokenizers(family.tokenizers, folder, usual_roots(call.env, call.cwd))
    missing = [place.tokenizer for place in places if place.path is None]
    if not missing:
        return []
    message = f"the engine will download tokenizers from the hub when it starts: {', '.join(missing)}"
    folders = [f"{folder or 'DIR'}/{tokenizer_folder(name)}" for name in missing]
    if folder and named:
        message = f"{folder} lacks {', '.join(map(tokenizer_folder, missing))}: {message}"
        hint = f"put their files in {' and '.join(folders)}"
        return [warning("tokenizers-missing", message, hint, named.where)]
    hint = f"offline: --tokenizers DIR, with {' and '.join(folders)}"
    offline = call.env.get("HF_HUB_OFFLINE", "0") not in ("", "0")
    return [(warning if offline else info)("tokenizers-missing", message, hint, "models.tokenizers")]


def _unusable_tokenizers(request: Request, family: Family | None) -> Iterator[Finding]:
    from lora_forge.models.locating import tokenizer_folder

    named, folder = request.tokenizers, request.path("tokenizers")
    if named is None or folder is None or folder.is_dir():
        return
    what = "is not a folder" if folder.exists() else "does not exist"
    inside = " and ".join(f"DIR/{tokenizer_folder(name)}" for name in (family.tokenizers if family else ()))
    message = f"The folder of tokenizers {folder} {what}."
    hint = f"--tokenizers DIR, with {inside}" if inside else "name a folder that is there"
    yield error("tokenizers-unusable", message, hint, named.where)


def _unused(request: Request, family: Family | None) -> Iterator[Finding]:
    """A flag or variable means this very run; a line of forge.yaml may be there for other families."""
    from lora_forge.project.request import MODEL_KEYS

    if family is None:
        return
    taken = [file.name for file in family.files]
    for key in MODEL_KEYS:
        named: Written | None = getattr(request, key)
        if named and key not in taken and named.source in (Source.CLI, Source.ENV):
            flags = ", ".join(file.flag for file in family.files)
            message = f"{named.where} {named.value} is not used: {family.title} takes {flags} alone."
            yield warning("model-unused", message, f"leave {named.where} out, or name another --family", named.where)


def _locate(
    files: list[ModelFile],
    call: Invocation,
    paths: dict[str, Written],
    models: dict[str, ModelFacts],
    findings: list[Finding],
) -> None:
    from lora_forge.models.locating import locate_models
    from lora_forge.models.places import usual_roots

    located = locate_models(files, usual_roots(call.env, call.cwd))
    paths.update(located.written())
    models.update({name: candidate.facts for name, candidate in located.chosen.items()})
    findings += located.findings(files)
