"""The end of a run as a person reads it: where the LoRA lies and how to use it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from lora_forge.cli.amounts import megabytes
from lora_forge.runs.progress import duration

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.workflow import RunResult


def print_run(result: RunResult, out: Console) -> None:
    if result.lora is None:
        _print_laid_out(result, out)
        return
    name = result.lora.stem
    out.print(
        f"[bold green]done[/] and verified: {result.steps:,} steps in {duration(result.wall_s)}",
        highlight=False,
    )
    rows = [
        ("LoRA", f"{result.lora} ({megabytes(result.size_bytes)})"),
        ("prompt tag", f"<lora:{name}:0.8>, strengths 0.5 to 1.0" + _with_trigger(result)),
        ("two at once", "identity 0.8 with style 0.6"),
        ("copy it to", "models/Lora (WebUI) or models/loras (ComfyUI)"),
    ]
    if result.checkpoints:
        rows.insert(
            1,
            (
                "checkpoints",
                f"{len(result.checkpoints)} in {result.lora.parent}: compare 30, 60 and 100 % of the run",
            ),
        )
    if result.plan.planned.plan.sampling.every.value and result.checkpoints:
        rows.insert(2, ("pictures", f"{result.plan.run_dir / 'samples'}, by prompt and step"))
    for title, text in rows:
        out.print(f"  [bold]{title:<12}[/] {_safe(text)}", highlight=False, soft_wrap=True)
    out.print("  If the likeness disappoints, fix the dataset first, not the optimizer.", highlight=False)


def _with_trigger(result: RunResult) -> str:
    trigger = result.plan.planned.plan.trigger.value
    return f"; the trigger is {trigger}" if trigger else ""


def _print_laid_out(result: RunResult, out: Console) -> None:
    rendered = result.plan.rendered
    out.print(f"laid out in {result.plan.run_dir}; nothing was started", highlight=False, soft_wrap=True)
    if rendered and rendered.plain_argv:
        out.print("the engine's own command, from the engine's folder:", highlight=False)
        out.print(shlex.join(rendered.plain_argv), markup=False, highlight=False, soft_wrap=True)


def _safe(text: str) -> str:
    from rich.markup import escape

    return escape(text)
