"""``forge init``: a commented forge.yaml for this folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli import options as o
from lora_forge.cli.output import print_plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.workflow.project_init import NewProject


def init(
    preset: o.Preset = None,
    dataset: o.Dataset = None,
    trigger: o.Trigger = None,
    family: o.Family = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the forge.yaml that is here.")] = False,
    as_json: o.AsJson = False,
) -> None:
    """Write a commented forge.yaml, filled with the dataset, trigger and models found here."""
    flags = o.given(preset=preset, dataset=dataset, trigger=trigger, family=family)

    def use_case() -> NewProject:
        from lora_forge.workflow.project_init import init_project

        return init_project(flags, os.environ, Path.cwd(), force=force)

    def as_text(project: NewProject, out: Console) -> None:
        print_plain(out, str(project.path))
        for key, value in project.filled.items():
            print_plain(out, f"  {key}: {value}")

    show(use_case, as_text, as_json=as_json)
