"""``forge dataset split``: images that are held out of training, chosen once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli.amounts import counted
from lora_forge.cli.options import AsJson
from lora_forge.cli.output import TASTE, print_plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.workflow.dataset_changes import SplitResult


def split(
    validation: Annotated[str, typer.Option("--validation", help="How many images, or a share: 4, 10%.")],
    dataset: Annotated[
        Path | None, typer.Argument(help="A folder or a dataset TOML; default `dataset:` of forge.yaml.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Another seed chooses other images.")] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Forget what was held out before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be held out; record nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Choose images to hold out of training, and record them in the project. Images are never written or moved."""

    def use_case() -> SplitResult:
        from lora_forge.cli.look_view import LookView
        from lora_forge.workflow.dataset_changes import split as split_dataset

        with LookView(TASTE, silent=as_json) as view:
            return split_dataset(
                dataset,
                validation,
                dict(os.environ),
                Path.cwd(),
                seed=seed,
                anew=anew,
                dry_run=dry_run,
                watch=view.watch,
            )

    show(use_case, _as_text, as_json=as_json)


def _as_text(result: SplitResult, out: Console) -> None:
    if result.exit_code:  # nothing is held out, and the finding says why
        return
    held = result.held_out.split
    for image in held.chosen:
        print_plain(out, f"held out  {image.name}")
    for pair in held.look_alikes:
        print_plain(out, f"left out  {pair.name}, which looks like {pair.held}")
    done = "nothing was written" if result.dry_run else f"recorded in {result.held_out.file}"
    chosen = counted(len(held.chosen), "image")
    left = f"{chosen} held out ({held.kept} as before), {held.facts.images} left to train on; {done}"
    print_plain(out, left)
    if not result.dry_run:
        print_plain(out, f"train with: forge train --validation {len(held.chosen)}")
