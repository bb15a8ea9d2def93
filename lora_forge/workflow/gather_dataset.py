"""The dataset of one call: folders, several of them or a TOML that names them, and what is held out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import DatasetError
from lora_forge.findings import Finding, error

if TYPE_CHECKING:
    from lora_forge.datasets.facts import DatasetFacts
    from lora_forge.presets.model import Preset
    from lora_forge.project.request import Request
    from lora_forge.settings import Layer
    from lora_forge.workflow.holdout import HeldOut
    from lora_forge.workflow.invocation import Invocation


def import_dataset_file(
    request: Request, layers: list[Layer], call: Invocation, findings: list[Finding]
) -> tuple[Request, list[Layer]]:
    """A dataset TOML of the engine's in place of a folder: its folders, and a layer below the project's own."""
    from lora_forge.datasets.importing import import_dataset, is_refused
    from lora_forge.engine.dataset_schema import check_dataset_document
    from lora_forge.project.datasets import AskedFolder, leading
    from lora_forge.project.request import PROJECT_FILE

    file = request.path("dataset")
    if file is None or not is_toml(file) or len(request.folders) != 1:
        return request, layers
    imported = import_dataset(file, call.cwd, check_dataset_document)
    findings += imported.findings
    if is_refused(imported) or not imported.sources:
        return replace(request, folders=()), layers
    place = request.folders[0].written
    folders = tuple(
        AskedFolder(
            path=str(source.path.absolute()),
            written=source.repeats or replace(place, why=f"named in {file.name}"),
            repeats=source.repeats.value if source.repeats and isinstance(source.repeats.value, int) else None,
            class_tokens=source.class_tokens,
            reg=source.is_reg,
            caption_extension=source.caption_extension,
        )
        for source in imported.sources
    )
    lower = next((n for n, layer in enumerate(layers) if layer.label in (PROJECT_FILE, "--set")), len(layers))
    request = replace(request, dataset=replace(place, value=leading(folders).path), folders=folders)
    return request, [*layers[:lower], imported.layer(str(file)), *layers[lower:]]


def unnamed(request: Request, findings: Sequence[Finding]) -> DatasetError:
    """Say why there is no dataset to look at; in a broken file it may well have been named."""
    if "dataset" in request.unsound:
        return DatasetError(
            "what should name the dataset cannot be read", "mend what is named above", findings=findings
        )
    return DatasetError("no dataset was named", "give its folder, or `dataset:` in forge.yaml", findings=findings)


def read_dataset(
    request: Request, extension: str, findings: list[Finding], *, per_file: bool = False
) -> DatasetFacts | None:
    """Measure what was named; None where nothing was. ``per_file`` is said in ``Notes``."""
    from lora_forge.datasets.scan import scan_dataset

    if len(request.folders) > 1 or any(not folder.is_plain for folder in request.folders):
        facts, problems = _scan_folders(request, extension, per_file=per_file)
        findings += problems
        return facts
    root = request.path("dataset")
    if root is not None and is_toml(root):  # and was refused when it was read
        return None
    if root is None and "dataset" in request.unsound:
        return None
    if root is None:
        hint = "--dataset DIR, `dataset:` in forge.yaml, or a folder named dataset here"
        findings.append(error("dataset-missing", "no dataset was named", hint, "dataset"))
        return None
    facts, problems = scan_dataset(root, caption_extension=extension, reg=request.path("reg"), per_file=per_file)
    findings += problems
    return facts


def hold_out_asked(preset: Preset, dataset: DatasetFacts, call: Invocation, findings: list[Finding]) -> HeldOut | None:
    """The images that ``data.validation`` asks for, as recorded or as they would be chosen."""
    from lora_forge.errors import DatasetError
    from lora_forge.workflow.holdout import hold_out

    if preset.data.validation is None or not dataset.images:
        return None
    try:
        held_out = hold_out(dataset, preset.data.validation, call.cwd, call.env, recorded=call.holdout)
    except DatasetError as wrong:
        findings.append(error("holdout-unreadable", wrong.message, wrong.hint, "data.validation"))
        return None
    findings += held_out.findings
    return held_out


def _scan_folders(request: Request, extension: str, *, per_file: bool) -> tuple[DatasetFacts, list[Finding]]:
    from lora_forge.datasets.importing import SubsetSource, scan_sources

    sources = [
        SubsetSource(
            path=Path(folder.path),
            repeats=None if folder.repeats is None else replace(folder.written, value=folder.repeats),
            class_tokens=folder.class_tokens,
            is_reg=folder.reg,
            caption_extension=folder.caption_extension,
        )
        for folder in request.folders
    ]
    return scan_sources(sources, caption_extension=extension, reg=request.path("reg"), per_file=per_file)


def is_toml(path: Path) -> bool:
    """Whether a dataset is named by a file of the engine's."""
    return path.suffix.lower() == ".toml" and path.is_file()
