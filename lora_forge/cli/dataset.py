"""``forge dataset``: look at pictures and captions before anything else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli import dataset_caption, dataset_fix, dataset_report, dataset_split
from lora_forge.cli import options as o
from lora_forge.cli.output import TASTE, show

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.workflow.dataset_check import CheckResult

app = typer.Typer(help="Datasets: check, mend, caption, split, show.", no_args_is_help=True)

Folder = Annotated[
    Path | None,
    typer.Argument(help="A folder or a dataset TOML; default `dataset:` of forge.yaml.", show_default=False),
]

app.command("fix")(dataset_fix.fix)
app.command("caption")(dataset_caption.caption)
app.command("report")(dataset_report.report)
app.command("split")(dataset_split.split)


@app.command()
def check(
    folder: Folder = None,
    preset: o.Preset = None,
    family: o.Family = None,
    trigger: o.Trigger = None,
    reg: o.Reg = None,
    settings: o.Settings = None,
    pixels: Annotated[bool, typer.Option("--pixels/--no-pixels", help="Decode and look at every image.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count too: exit 3.")] = False,
    format_: Annotated[str, typer.Option("--format", help="text, or github for annotations.")] = "text",
    as_json: o.AsJson = False,
) -> None:
    """Say what is wrong with a dataset, file by file, why it hurts and what to try. Changes nothing."""
    if format_ not in ("text", "github"):
        raise typer.BadParameter(f"{format_!r} is neither text nor github", param_hint="--format")
    dataset = None if folder is None else str(folder)
    flags = o.given(dataset=dataset, preset=preset, family=family, trigger=trigger, reg=reg)

    def use_case() -> CheckResult:
        from lora_forge.cli.look_view import LookView
        from lora_forge.workflow.dataset_check import check_asked

        with LookView(TASTE, silent=as_json or format_ == "github") as view:
            return check_asked(o.invocation(flags, settings, None), pixels=pixels, watch=view.watch, strict=strict)

    def as_text(result: CheckResult, out: Console) -> None:
        from lora_forge.cli.dataset_view import print_annotations, print_check

        if format_ == "github":
            print_annotations(result.findings, Path.cwd())
        else:
            print_check(result, out)

    show(use_case, as_text, as_json=as_json, unsaid=lambda _result: ())
