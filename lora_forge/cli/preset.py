"""``forge preset``: what presets there are, what one says, whether one is sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli.options import AsJson
from lora_forge.cli.output import Facts, plain, print_plain, show

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(help="Presets: list, show, copy, check.", no_args_is_help=True)

NameOrPath = Annotated[str, typer.Argument(help="A preset's name or file.")]


@app.command("ls")
def list_(as_json: AsJson = False) -> None:
    """List every preset that a name can reach."""

    def use_case() -> Facts:
        from lora_forge.presets.loader import list_presets, preset_folders

        entries = list_presets(preset_folders(Path.cwd()))
        return Facts([{"name": e.name, "about": e.about, "extends": e.extends, "path": str(e.path)} for e in entries])

    def as_text(facts: Facts, out: Console) -> None:
        for entry in facts.content if isinstance(facts.content, list) else []:
            out.print(f"[bold]{entry['name']:<16}[/] {plain(entry['about'])}", highlight=False, soft_wrap=True)

    show(use_case, as_text, as_json=as_json)


@app.command("show")
def show_(preset: NameOrPath, as_json: AsJson = False) -> None:
    """Show a preset with everything it extends merged in, and where each value was written."""

    def use_case() -> Facts:
        return _described(preset)

    def as_text(facts: Facts, out: Console) -> None:
        for key, leaf in facts.content.items() if isinstance(facts.content, dict) else ():
            print_plain(out, f"{key:<28} {_said(leaf)}")

    show(use_case, as_text, as_json=as_json)


def _described(preset: str) -> Facts:
    from lora_forge.workflow.preset_names import describe

    return Facts(*describe(preset, Path.cwd()))


def _said(leaf: dict[str, object]) -> str:
    value = json.dumps(leaf["value"], ensure_ascii=False)
    if "overruled_by" in leaf:
        return f"by {leaf['overruled_by']} ({value} in {leaf['where']} is overruled)"
    why = f"  # {leaf['why']}" if leaf["why"] else ""
    return f"{value}{why} ({leaf['where']})"


@app.command()
def cp(
    preset: NameOrPath,
    dest: Annotated[
        str | None, typer.Argument(help="Another name, or a .yaml file; default presets/NAME.yaml.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy a preset to edit it, with its comments and a schema for your editor; never overwrites."""

    def use_case() -> Facts:
        from lora_forge.presets.copying import copy_preset

        copied = copy_preset(preset, dest, Path.cwd())
        content = {"source": str(copied.source), "path": str(copied.path), "schema": str(copied.schema)}
        return Facts(content, copied.findings)

    def as_text(facts: Facts, out: Console) -> None:
        path = facts.content["path"] if isinstance(facts.content, dict) else ""
        print_plain(out, path)

    show(use_case, as_text, as_json=as_json)


@app.command()
def validate(preset: NameOrPath, as_json: AsJson = False) -> None:
    """Check a preset: every mistake with file, line, column and what was expected.

    It is also held to the rules of a plan for its first family, as far as no dataset and no machine is needed.
    """

    def use_case() -> Facts:
        from lora_forge.workflow.preset_validation import validate_preset

        findings, exit_code = validate_preset(preset, Path.cwd())
        return Facts({"preset": preset, "valid": exit_code == 0}, findings, exit_code)

    def as_text(facts: Facts, out: Console) -> None:
        verdict = "[green]valid[/]" if facts.exit_code == 0 else "[red]not valid[/]"
        out.print(f"{plain(preset)}: {verdict}", highlight=False, soft_wrap=True)

    show(use_case, as_text, as_json=as_json)


@app.command()
def schema(as_json: AsJson = False) -> None:
    """Print the JSON Schema of a preset file, for editors."""
    del as_json  # the schema is JSON already

    from lora_forge.presets.schema import preset_schema

    typer.echo(json.dumps(preset_schema(), indent=2))
