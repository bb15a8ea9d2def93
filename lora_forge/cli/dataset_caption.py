"""``forge dataset caption``: captions from a template, a sheet, a tagger or a command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli import options as o
from lora_forge.cli.output import console, plain, print_plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.datasets.captioning import Change
    from lora_forge.workflow.dataset_captions import CaptionResult

_SAYS = {
    "new": "written",
    "changed": "changed",
    "same": "as they were",
    "kept": "kept",
    "failed": "without a caption",
}


def caption(
    dataset: Annotated[
        Path | None, typer.Argument(help="A folder or a dataset TOML; default `dataset:` of forge.yaml.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--template", help="'{trigger}, a man outdoors'; {caption}, {stem}, {folder}, {class_tokens} too."
        ),
    ] = None,
    trigger: o.Trigger = None,
    sheet: Annotated[Path | None, typer.Option("--sheet", help="Write a .csv or .md of all captions to edit.")] = None,
    read_from: Annotated[Path | None, typer.Option("--from", help="Read an edited sheet back.")] = None,
    tagger: Annotated[str | None, typer.Option("--tagger", help="wd14: the engine's tagger.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="The tagger's model folder (ONNX).")] = None,
    command: Annotated[
        str | None, typer.Option("--command", help="'prog --flag {image}'; its first line is the caption.")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds a command may take for one image.", min=0.1)
    ] = 120,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace captions that exist.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show every change; write nothing.")] = False,
    as_json: o.AsJson = False,
) -> None:
    """Write caption files, and show each change. Images are only read; what exists is kept unless --overwrite."""

    def use_case() -> CaptionResult:
        from lora_forge.workflow.dataset_captions import CaptionWishes
        from lora_forge.workflow.dataset_captions import caption as caption_dataset

        wishes = CaptionWishes(template, sheet, read_from, tagger, model, command, timeout, trigger, overwrite, dry_run)
        told = None if as_json else _tell
        return caption_dataset(dataset, wishes, dict(os.environ), Path.cwd(), told=told)

    show(use_case, _as_text, as_json=as_json)


def _tell(change: Change) -> None:
    """One change as it is made: what the caption was, and what it is. What is kept is only counted."""
    if change.action not in ("new", "changed"):
        return
    out = console()
    for mark, text in (("", change.image), ("- ", change.before), ("+ ", change.after)):
        if text is not None:
            style = {"- ": "red", "+ ": "green"}.get(mark, "bold")
            out.print(plain(_printable(f"{mark}{text}")), style=style, highlight=False, soft_wrap=True)


def _printable(text: str) -> str:
    """No control characters: a caption is somebody else's text."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _as_text(result: CaptionResult, out: Console) -> None:
    if result.sheet is not None:
        print_plain(out, f"{result.rows:,} captions in {result.sheet}")
        print_plain(out, f"read it back with: forge dataset caption --from {result.sheet.name}")
        return
    counts = ", ".join(f"{count:,} {_SAYS[action]}" for action, count in result.counts.items())
    note = "; nothing was written" if result.dry_run else ""
    print_plain(out, f"{counts or 'no captions'}{note}")
