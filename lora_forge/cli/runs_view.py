"""Runs as a person reads them: a table, a story, a comparison."""

from __future__ import annotations

import signal
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lora_forge.cli.amounts import megabytes
from lora_forge.cli.output import plain, print_plain
from lora_forge.runs.progress import duration

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.workflow.run_history import Told

DAY_S = 86_400
STANDS = {"stopped": "was stopped", "failed": "failed", "new": "has not begun"}
"""The status where ``is`` before it makes no sentence."""
HEADER = ("run", "status", "steps", "loss", "LoRA", "begun")


def print_list(told: Told, out: Console) -> None:
    rows: Any = told.content["runs"]
    if not rows:
        print_plain(out, f"no run in {told.content['folder']}")
        return
    width = max(len(name) for name in (HEADER[0], *(row["run"] for row in rows)))
    out.print(f"[bold]{_in_columns(width, *HEADER)}[/]", highlight=False, soft_wrap=True)
    for row in rows:
        steps = "" if row["steps"] is None else f"{row['step']:,}/{row['steps']:,}"
        loss = "" if row["loss"] is None else f"{row['loss']:.3f}"
        size = "" if row["lora_bytes"] is None else megabytes(row["lora_bytes"])
        print_plain(out, _in_columns(width, row["run"], row["status"], steps, loss, size, _age(row["age_s"])))


def _in_columns(width: int, run: str, status: str, steps: str, loss: str, size: str, age: str) -> str:
    return f"{run:<{width}}  {status:<8} {steps:>13}  {loss:<10}  {size:>9}  {age}".rstrip()


def print_stand(told: Told, out: Console) -> None:
    """One run in one sentence."""
    run: Any = told.content
    where = "" if run["step"] is None else f" at step {run['step']:,} of {run['steps']:,}"
    stands = STANDS.get(run["status"], f"is {run['status']}")
    out.print(f"[bold]{plain(run['run'])}[/] {stands}{where}", highlight=False, soft_wrap=True)


def print_story(told: Told, out: Console) -> None:
    run: Any = told.content
    print_stand(told, out)
    for attempt in run["attempts"]:
        out.print(f"  {plain(_attempt(attempt))}", highlight=False, soft_wrap=True)
        for kept in (each for each in run["checkpoints"] if each["attempt"] == attempt["number"]):
            what = "the finished LoRA" if kept["final"] else f"checkpoint at step {kept['step']:,}"
            line = f"{what}: {kept['path']} ({megabytes(kept['size_bytes'])})"
            out.print(f"     {plain(line)}", highlight=False, soft_wrap=True)
    states = ", ".join(f"{state['step']:,}" for state in run["states"])
    out.print(f"  states kept at steps: {states or 'none'}", highlight=False)
    if run["status"] in ("stopped", "failed"):
        out.print(f"  go on with: forge runs resume {plain(run['run'])}", highlight=False)


def print_differences(told: Told, out: Console, first: str, second: str) -> None:
    rows = [(name, found) for name, found in told.content.items() if isinstance(found, list) and found]
    if not rows:
        out.print(f"{plain(first)} and {plain(second)} were made alike", highlight=False)
    for name, found in rows:
        out.print(f"[bold]{name}[/]", highlight=False)
        for each in found:
            line = f"{each['key']}: {each['before']!r} → {each['after']!r}"
            out.print(f"  {plain(line)}", highlight=False, soft_wrap=True)


def _attempt(attempt: Any) -> str:
    began = datetime.fromtimestamp(attempt["began"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    took = "" if attempt["ended"] is None else f" for {duration(max(0.0, attempt['ended'] - attempt['began']))}"
    steps = f"steps {attempt['from_step']:,} to {attempt['to_step']:,}"
    return f"attempt {attempt['number']}, {began}{took}: {steps}, {_end(attempt)}"


def _end(attempt: Any) -> str:
    if attempt["outcome"] == "killed":
        return "killed together with forge"
    if attempt["outcome"] == "stopped" and attempt["signal"]:
        return f"stopped by {signal.Signals(attempt['signal']).name}"
    return attempt["outcome"] if not attempt["message"] else f"{attempt['outcome']}: {attempt['message']}"


def _age(seconds: int | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds // DAY_S} d ago" if seconds >= DAY_S else f"{duration(seconds)} ago"
