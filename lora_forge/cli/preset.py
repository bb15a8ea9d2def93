"""``forge preset``: what presets there are, what one says, whether one is sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli.options import AsJson
from lora_forge.cli.output import Facts, show

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(help="Presets: list, show, check.", no_args_is_help=True)

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
            out.print(f"[bold]{entry['name']:<16}[/] {entry['about']}", highlight=False, soft_wrap=True)

    show(use_case, as_text, as_json=as_json)


@app.command("show")
def show_(preset: NameOrPath, as_json: AsJson = False) -> None:
    """Show a preset with everything it extends merged in, and where each value was written."""

    def use_case() -> Facts:
        from lora_forge.presets.inspect import describe_preset

        return Facts(*describe_preset(preset, Path.cwd()))

    def as_text(facts: Facts, out: Console) -> None:
        for key, leaf in facts.content.items() if isinstance(facts.content, dict) else ():
            value = json.dumps(leaf["value"], ensure_ascii=False)
            why = f"  # {leaf['why']}" if leaf["why"] else ""
            out.print(f"{key:<28} {value}{why} ({leaf['where']})", markup=False, highlight=False, soft_wrap=True)

    show(use_case, as_text, as_json=as_json)


@app.command()
def validate(preset: NameOrPath, as_json: AsJson = False) -> None:
    """Check a preset: every mistake with file, line and what was expected."""

    def use_case() -> Facts:
        from lora_forge.presets.inspect import describe_preset

        _, findings, code = describe_preset(preset, Path.cwd())
        return Facts({"preset": preset, "valid": code == 0}, findings, code)

    def as_text(facts: Facts, out: Console) -> None:
        verdict = "[green]valid[/]" if facts.exit_code == 0 else "[red]not valid[/]"
        out.print(f"{preset}: {verdict}", highlight=False)

    show(use_case, as_text, as_json=as_json)


@app.command()
def schema(as_json: AsJson = False) -> None:
    """Print the JSON Schema of a preset file, for editors."""
    del as_json  # the schema is JSON already

    from lora_forge.presets.schema import preset_schema

    typer.echo(json.dumps(preset_schema(), indent=2))
