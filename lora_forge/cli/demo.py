"""``forge demo``: the embedded default, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli.options import AsJson
from lora_forge.cli.output import TASTE, message, show

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.workflow.run_task import RunResult


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where the demo's files and run lie.")] = Path("demo"),
    steps: Annotated[int, typer.Option("--steps", help="Training steps, at least 4.", min=4)] = 4,
    as_json: AsJson = False,
) -> None:
    """Train `identity` for a few steps on a drawn dataset and a small random FLUX model, through the real engine."""

    def use_case() -> RunResult:
        import os

        from lora_forge.cli.live import LiveView
        from lora_forge.workflow.demo import run_demo

        report = (lambda _text: None) if as_json else message
        return run_demo(folder, steps, dict(os.environ), LiveView(TASTE, as_json=as_json), report)

    def as_text(result: RunResult, out: Console) -> None:
        from lora_forge.cli.run_view import print_run

        print_run(result, out)

    show(use_case, as_text, as_json=as_json, unsaid=lambda result: result.noticed)
