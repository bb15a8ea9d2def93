"""``forge dataset report``: the dataset as one page to look at, to share and to print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli import options as o
from lora_forge.cli.amounts import counted, megabytes
from lora_forge.cli.output import TASTE, plain, print_plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.findings import Finding
    from lora_forge.workflow.dataset_report import ReportResult


def report(
    dataset: Annotated[
        Path | None,
        typer.Argument(help="A folder or a dataset TOML; default `dataset:` of forge.yaml.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The page; default NAME-report.html in this folder.")
    ] = None,
    preset: o.Preset = None,
    family: o.Family = None,
    trigger: o.Trigger = None,
    reg: o.Reg = None,
    settings: o.Settings = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is no report.")] = False,
    stamp: Annotated[str, typer.Option("--stamp", help="A text for the top of the page, such as a date.")] = "",
    as_json: o.AsJson = False,
) -> None:
    """Write a contact sheet with captions, crops, buckets and every finding: one HTML file, ready to print."""
    given = o.given(
        dataset=None if dataset is None else str(dataset), preset=preset, family=family, trigger=trigger, reg=reg
    )

    def use_case() -> ReportResult:
        from lora_forge.cli.look_view import LookView
        from lora_forge.workflow.dataset_report import report_dataset

        call = o.invocation(given, settings, None)
        with LookView(TASTE, silent=as_json) as view:
            return report_dataset(call, out=out, force=force, stamp=stamp, watch=view.watch)

    show(use_case, _as_text, as_json=as_json, unsaid=_errors)


def _as_text(result: ReportResult, out: Console) -> None:
    figures = f"{counted(len(result.report.cards), 'image')}, {megabytes(result.size_bytes)}"
    out.print(f"{plain(str(result.path))}  {figures}", highlight=False, soft_wrap=True)
    print_plain(out, result.report.verdict)


def _errors(result: ReportResult) -> list[Finding]:
    """The page says everything; what made the exit code is said here too."""
    return [finding for finding in result.findings if finding.severity.value == "error"]
