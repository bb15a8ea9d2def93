"""The command tree. Command modules import nothing heavy: ``forge --help`` is as quick as its parser."""

from __future__ import annotations

import re
import sys
from typing import Annotated, NoReturn

import typer

from lora_forge import __version__
from lora_forge.cli import dataset, demo, diagnose, engine, init, models, plan, preset, runs, train
from lora_forge.cli.output import TASTE, fail, take_any_text
from lora_forge.errors import UsageProblem

_WORDS = (
    (r"Input should be greater than or equal to (\S+)", r"expected \1 or more"),
    (r"Input should be a valid integer(?:, .*)?", "expected a whole number"),
    (r"Input should be a valid number(?:, .*)?", "expected a number"),
    (r"Input should be ", "expected "),
)

app = typer.Typer(
    name="forge",
    help="Plan, run and verify LoRA trainings with kohya-ss/sd-scripts.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("plan")(plan.plan)
app.command("train")(train.train)
app.command("demo")(demo.demo)
app.command("diagnose")(diagnose.diagnose)
app.command("init")(init.init)
app.add_typer(dataset.app, name="dataset")
app.add_typer(engine.app, name="engine")
app.add_typer(preset.app, name="preset")
app.add_typer(models.app, name="models")
app.add_typer(runs.app, name="runs")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"forge {__version__}")
        raise typer.Exit


@app.callback()
def _global(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors and results only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress display.")] = False,
    color: Annotated[str, typer.Option("--color", help="auto, always or never.")] = "auto",
    _show_version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = None,
) -> None:
    if color not in ("auto", "always", "never"):
        raise typer.BadParameter(f"{color!r} is none of auto, always, never", param_hint="--color")
    TASTE.quiet, TASTE.verbose, TASTE.progress, TASTE.color = quiet, verbose, not no_progress, color


def in_forges_words(complaint: str) -> str:
    """What Typer's validator says of a number, as forge says it of one in a file.

    >>> in_forges_words("Input should be greater than or equal to 1")
    'expected 1 or more'
    >>> in_forges_words("Input should be a valid integer, unable to parse string as an integer")
    'expected a whole number'
    """
    for theirs, ours in _WORDS:
        complaint = re.sub(theirs, ours, complaint)
    return complaint


def run() -> NoReturn:
    """Parse and run; a usage error keeps the promise of ``--json`` too: one object on stdout, and exit 2."""
    take_any_text()
    try:
        raise SystemExit(app(standalone_mode=False))
    except Exception as wrong:
        if not hasattr(wrong, "format_message"):  # the parser's own errors; Typer moved their class between versions
            raise
        if hasattr(wrong, "message"):
            wrong.message = in_forges_words(str(wrong.message))
        if "--json" in sys.argv[1:]:
            context = getattr(wrong, "ctx", None)
            hint = f"{context.command_path if context else 'forge'} --help"
            raise SystemExit(fail(UsageProblem(wrong.format_message(), hint), as_json=True)) from wrong
        wrong.show()  # type: ignore[attr-defined]
        raise SystemExit(UsageProblem.exit_code) from wrong
