"""The end of a run as a person reads it: where the LoRA lies and how to use it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from lora_forge.cli.amounts import megabytes
from lora_forge.cli.handover import Handover, handover_rows
from lora_forge.cli.output import plain, print_plain
from lora_forge.plan.symptoms import CANONICAL_RULE
from lora_forge.runs.progress import duration

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from lora_forge.workflow.run_resuming import Result
    from lora_forge.workflow.run_task import RunResult


def print_ended(result: Result, out: Console) -> None:
    """A run that trained, or one that turned out to be done already."""
    from lora_forge.workflow.run_resuming import AlreadyDone

    if isinstance(result, AlreadyDone):
        out.print(f"[bold green]already done[/] after {result.steps:,} steps; nothing was started", highlight=False)
        out.print(f"  {'LoRA':<12} {plain(str(result.lora))} ({megabytes(result.size_bytes)})", soft_wrap=True)
    else:
        print_run(result, out)


def print_run(result: RunResult, out: Console) -> None:
    if result.lora is None:
        _print_laid_out(result, out)
        return
    out.print(
        f"[bold green]done[/] and verified: {result.steps:,} steps in {duration(result.wall_s)}",
        highlight=False,
    )
    for title, text in handover_rows(handover_of(result, result.lora)):
        out.print(f"  [bold]{title:<12}[/] {plain(text)}", highlight=False, soft_wrap=True)
    out.print(f"  {CANONICAL_RULE}", highlight=False, soft_wrap=True)


def handover_of(result: RunResult, lora: Path) -> Handover:
    from lora_forge.plan.symptoms import loss_hint
    from lora_forge.runs.directory import RunDir
    from lora_forge.workflow.run_diagnosis import smoothed_loss

    plan, gathered = result.plan.planned.plan, result.plan.gathered
    sampled = plan.sampling.every.value and result.checkpoints
    return Handover(
        lora=lora,
        size_bytes=result.size_bytes,
        steps=result.steps,
        subject=gathered.preset.subject,
        trigger=plan.trigger.value,
        checkpoints=result.checkpoints,
        samples=result.plan.run_dir / "samples" if sampled else None,
        loss_hint=loss_hint(gathered.family, smoothed_loss(RunDir(result.plan.run_dir))),
    )


def _print_laid_out(result: RunResult, out: Console) -> None:
    rendered = result.plan.rendered
    out.print(f"laid out in {plain(str(result.plan.run_dir))}; nothing was started", highlight=False, soft_wrap=True)
    if rendered and rendered.plain_argv:
        out.print("the engine's own command, from the engine's folder:", highlight=False)
        print_plain(out, shlex.join(rendered.plain_argv))
