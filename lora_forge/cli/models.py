"""``forge models``: the base models on this machine, and which of them a run would use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli.amounts import megabytes
from lora_forge.cli.options import AsJson, Family
from lora_forge.cli.output import print_plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.workflow.model_search import Report

app = typer.Typer(help="Base models: list, locate, set.", no_args_is_help=True)

More = Annotated[
    list[Path] | None, typer.Option("--in", help="Look below this folder too, as for an application's models folder.")
]


@app.command("ls")
def list_(more: More = None, as_json: AsJson = False) -> None:
    """List what lies in the Hugging Face cache and in the model folders of ComfyUI, WebUI and Forge."""

    def use_case() -> Report:
        from lora_forge.workflow.model_search import list_all

        return list_all(os.environ, Path.cwd(), more or ())

    def as_text(report: Report, out: Console) -> None:
        for model in report.content:
            what = _what(model) if model["usable"] else f"refused: {_told_of_it(str(model['refused']))}"
            print_plain(out, f"{model['path']}  {what}")
        if not report.content:
            out.print("no model file in the usual places; --in DIR looks elsewhere", highlight=False)

    show(use_case, as_text, as_json=as_json)


@app.command()
def locate(family: Family = None, more: More = None, as_json: AsJson = False) -> None:
    """Show for each file a family needs where it was named or found, and what is missing."""

    def use_case() -> Report:
        from lora_forge.workflow.model_search import locate_all

        return locate_all(family, {}, os.environ, Path.cwd(), more or ())

    def as_text(report: Report, out: Console) -> None:
        for each in report.content:
            out.print(f"[bold]{each['family']}[/]", highlight=False)
            for line in (*_file_lines(each), *_tokenizer_lines(each)):
                print_plain(out, f"  {line}")

    show(use_case, as_text, as_json=as_json)


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(help="model, clip_l, t5xxl, ae, vae or tokenizers.")],
    path: Annotated[str, typer.Argument(help="The file, or the folder of tokenizers.")],
    as_json: AsJson = False,
) -> None:
    """Remember a model file for all your projects, once its content suits the name."""

    def use_case() -> Report:
        from lora_forge.workflow.model_search import set_model

        return set_model(name.replace("-", "_"), path, Path.cwd())

    def as_text(report: Report, out: Console) -> None:
        for done in report.content:
            text = f"{done['name']} is {done['path']}, written in {done['file']}"
            print_plain(out, text)

    show(use_case, as_text, as_json=as_json)


def _told_of_it(reason: str) -> str:
    """Most reasons are what a file is or holds, and want a subject where its path does not stand before them."""
    return f"it {reason}" if reason.startswith(("is ", "holds ")) else reason


def _what(model: dict[str, object]) -> str:
    variant = f" {model['variant']}" if model["variant"] else ""
    size = model["size_bytes"]
    return f"{model['holds']}{variant}, {model['dtype']}, {megabytes(size) if isinstance(size, int) else size}"


def _file_lines(family: dict[str, object]) -> list[str]:
    files = family["files"]
    return [_file_line(file) for file in files] if isinstance(files, list) else []


def _file_line(file: dict[str, object]) -> str:
    name = f"{file['flag']:<12}"
    if file["path"]:
        what = f"  {_what(file)}" if "holds" in file else ""
        problem = f"  NOT USABLE: {_told_of_it(str(file['problem']))}" if file["problem"] else ""
        return f"{name} {file['path']} ({file['why']}){what}{problem}"
    if file["candidates"]:
        return f"{name} several fit, none is chosen"
    return f"{name} missing" if file["required"] else f"{name} not needed"


def _tokenizer_lines(family: dict[str, object]) -> list[str]:
    tokenizers = family["tokenizers"]
    lines = tokenizers if isinstance(tokenizers, list) else []
    return [f"{'tokenizer':<12} {t['name']}: {t['path'] or ''} {t['why']}".replace("  ", " ") for t in lines]
