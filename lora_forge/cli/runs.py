"""``forge runs``: what was trained here, and going on with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli.options import AsJson, folder_of_runs, invocation
from lora_forge.cli.output import TASTE, print_plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.workflow.run_history import Told
    from lora_forge.workflow.run_resuming import Result

app = typer.Typer(help="Runs: list, show, compare, resume, stop, remove, reproduce.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The run's folder name, or the beginning of its UUID.")]
Runs = Annotated[Path | None, typer.Option("--runs", help="Folder of runs; default as for forge train.")]
Grace = Annotated[float, typer.Option("--grace", help="Seconds a stopped training may take to save its state.", min=0)]
DEFAULT_GRACE_S, DEFAULT_WAIT_S = 30.0, 60.0


@app.command("ls")
def list_(runs: Runs = None, as_json: AsJson = False) -> None:
    """List every run: status, steps, loss, size, age."""

    def use_case() -> Told:
        from lora_forge.workflow.run_history import list_runs

        return list_runs(folder_of_runs(runs))

    def as_text(told: Told, out: Console) -> None:
        from lora_forge.cli.runs_view import print_list

        print_list(told, out)

    show(use_case, as_text, as_json=as_json)


@app.command("show")
def show_(run: Id, runs: Runs = None, as_json: AsJson = False) -> None:
    """Tell a run's story: attempts, steps, why each ended, what was kept."""

    def use_case() -> Told:
        from lora_forge.workflow.run_history import show_run

        return show_run(folder_of_runs(runs), run)

    def as_text(told: Told, out: Console) -> None:
        from lora_forge.cli.runs_view import print_story

        print_story(told, out)

    show(use_case, as_text, as_json=as_json)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="ID")],
    second: Annotated[str, typer.Argument(metavar="ID")],
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two runs: plan, data, environment."""

    def use_case() -> Told:
        from lora_forge.workflow.run_history import diff_runs

        return diff_runs(folder_of_runs(runs), first, second)

    def as_text(told: Told, out: Console) -> None:
        from lora_forge.cli.runs_view import print_differences

        print_differences(told, out, first, second)

    show(use_case, as_text, as_json=as_json)


@app.command()
def resume(run: Id, runs: Runs = None, grace: Grace = DEFAULT_GRACE_S, as_json: AsJson = False) -> None:
    """Go on with a run from its last sound state, exactly as it was begun."""

    def use_case() -> Result:
        from lora_forge.cli.live import LiveView
        from lora_forge.runs.shelf import find_run
        from lora_forge.workflow.run_resuming import resume_run

        folder = find_run(folder_of_runs(runs), run).folder
        return resume_run(invocation({}, None, folder), LiveView(TASTE, as_json=as_json), grace_s=grace)

    def as_text(result: Result, out: Console) -> None:
        from lora_forge.cli.run_view import print_ended

        print_ended(result, out)

    show(use_case, as_text, as_json=as_json, unsaid=lambda result: result.noticed)


@app.command()
def stop(
    run: Id,
    runs: Runs = None,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait for its end.", min=0)] = DEFAULT_WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Stop a running training cleanly from another shell: its state is kept."""

    def use_case() -> Told:
        from lora_forge.workflow.run_history import stop_run

        return stop_run(folder_of_runs(runs), run, wait_s=wait)

    def as_text(told: Told, out: Console) -> None:
        from lora_forge.cli.runs_view import print_stand

        print_stand(told, out)

    show(use_case, as_text, as_json=as_json)


@app.command()
def rm(
    run: Annotated[str, typer.Argument(metavar="ID", help="The run's whole folder name, or its whole UUID.")],
    runs: Runs = None,
    keep_lora: Annotated[bool, typer.Option("--keep-lora", help="Keep output/*.safetensors.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a run that is not running; nothing is asked."""

    def use_case() -> Told:
        from lora_forge.workflow.run_history import remove_run

        return remove_run(folder_of_runs(runs), run, keep_lora=keep_lora)

    def as_text(told: Told, out: Console) -> None:
        print_plain(out, f"removed {told.content['removed']}")
        kept = told.content["kept"]
        for path in kept if isinstance(kept, list) else []:
            print_plain(out, f"kept {path}")

    show(use_case, as_text, as_json=as_json)


@app.command()
def reproduce(
    run: Id,
    runs: Runs = None,
    start: Annotated[bool, typer.Option("--start", help="Train it anew, as a child of that run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build the same plan from a run's ledger, and say what cannot be matched."""

    def plan_again() -> Told:
        from lora_forge.workflow.run_history import reproduce_run

        return reproduce_run(invocation({}, None, None), folder_of_runs(runs), run)

    def train() -> Result:
        from lora_forge.cli.live import LiveView
        from lora_forge.workflow.run_history import train_again

        view = LiveView(TASTE, as_json=as_json)
        return train_again(invocation({}, None, None), folder_of_runs(runs), run, view)

    def plan_as_text(told: Told, out: Console) -> None:
        same = "the same plan" if told.content["matched"] else "not quite the same: see the warnings"
        print_plain(out, f"{same}; train it with: forge runs reproduce {run} --start")

    def run_as_text(result: Result, out: Console) -> None:
        from lora_forge.cli.run_view import print_ended

        print_ended(result, out)

    if start:
        show(train, run_as_text, as_json=as_json, unsaid=lambda result: result.noticed)
    show(plan_again, plan_as_text, as_json=as_json)
