"""``forge engine``: bring sd-scripts and its Python environment, and say what state they are in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli.options import AsJson
from lora_forge.cli.output import Facts, message, print_plain, show
from lora_forge.engine.pin import COMMIT, REPOSITORY
from lora_forge.errors import EngineError

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.engine.home import EngineHome
    from lora_forge.engine.status import EngineStatus

app = typer.Typer(help="The training engine: kohya-ss/sd-scripts at one pinned commit.", no_args_is_help=True)

Cuda = Annotated[
    str | None, typer.Option("--cuda", help="12.4 (torch 2.6.0) or 12.8 (torch 2.8.0); default by the GPU.")
]


@app.command()
def install(
    repository: Annotated[
        str, typer.Option("--repository", help="Another source of the engine: the option table may not match.")
    ] = REPOSITORY,
    commit: Annotated[str, typer.Option("--commit", help="Another commit: the option table may not match.")] = COMMIT,
    cuda: Cuda = None,
    force: Annotated[bool, typer.Option("--force", help="Rebuild even what is whole.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the engine's source and build its environment; safe to interrupt and to run again."""

    def use_case() -> Facts:
        from lora_forge.engine.install import install_engine

        home = _home(cuda)
        report = (lambda _text: None) if as_json else message
        return _facts(install_engine(home, repository=repository, commit=commit, report=report, force=force))

    show(use_case, _print, as_json=as_json)


@app.command()
def status(cuda: Cuda = None, as_json: AsJson = False) -> None:
    """Say whether the engine is ready; reads stamps only."""

    def use_case() -> Facts:
        from lora_forge.engine.status import engine_status

        return _facts(engine_status(_home(cuda)))

    show(use_case, _print, as_json=as_json)


@app.command()
def verify(cuda: Cuda = None, as_json: AsJson = False) -> None:
    """Check commit, clean tree, lock and real imports in the engine's own Python."""

    def use_case() -> Facts:
        from lora_forge.engine.status import verify_engine

        return _facts(verify_engine(_home(cuda)))

    show(use_case, _print, as_json=as_json)


def _home(cuda: str | None) -> EngineHome:
    """The environment that was asked for, else the one that suits this machine."""
    from lora_forge.engine.choice import VARIANTS_BY_CUDA, choose_engine
    from lora_forge.engine.home import locate_engine
    from lora_forge.machine import probe_machine

    if cuda is None:
        return choose_engine(os.environ, probe_machine(Path.cwd()))
    if cuda not in VARIANTS_BY_CUDA:
        raise EngineError(f"there is no engine for CUDA {cuda!r}", f"--cuda {' or --cuda '.join(VARIANTS_BY_CUDA)}")
    return locate_engine(os.environ, variant=VARIANTS_BY_CUDA[cuda])


def _facts(status: EngineStatus) -> Facts:
    content = status.model_dump(mode="json", exclude={"findings"})
    return Facts(content, status.findings, 0 if status.usable else EngineError.exit_code)


def _print(facts: Facts, out: Console) -> None:
    content = facts.content
    if not isinstance(content, dict):
        return
    out.print(
        f"engine [bold]{content['state']}[/]" + (" and verified" if content["verified"] else ""),
        highlight=False,
    )
    for key in ("commit", "checkout", "environment", "python_version", "torch", "cuda", "device"):
        if content.get(key):
            print_plain(out, f"  {key.replace('_', ' '):<15} {content[key]}")
