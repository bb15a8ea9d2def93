"""The options that ``forge plan`` and ``forge train`` share; most are also read from forge.yaml and ``FORGE_*``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.families import family_names

if TYPE_CHECKING:
    from lora_forge.settings import Value
    from lora_forge.workflow.invocation import Invocation

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Preset = Annotated[str | None, typer.Option("--preset", "-p", help="A preset's name or file.")]
Dataset = Annotated[str | None, typer.Option("--dataset", "-d", help="Folder of images and captions.")]
Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset",
        "-d",
        help="Folder of images and captions, or a dataset TOML; several times, or '{path: a, repeats: 2}'.",
        show_default=False,
    ),
]
Family = Annotated[str | None, typer.Option("--family", help=f"{', '.join(family_names())}.")]
Trigger = Annotated[str | None, typer.Option("--trigger", "-t", help="The token that calls the subject.")]
Name = Annotated[str | None, typer.Option("--name", help="Name of the LoRA file.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="Override a preset key: network.rank=24.")]
Model = Annotated[str | None, typer.Option("--model", help="Base model file.")]
ClipL = Annotated[str | None, typer.Option("--clip-l", help="CLIP-L file (FLUX).")]
T5xxl = Annotated[str | None, typer.Option("--t5xxl", help="T5-XXL file (FLUX, Chroma).")]
Ae = Annotated[str | None, typer.Option("--ae", help="Autoencoder file (FLUX, Chroma).")]
Vae = Annotated[str | None, typer.Option("--vae", help="Another VAE (SDXL, SD 1.5).")]
Tokenizers = Annotated[str | None, typer.Option("--tokenizers", help="Folder of tokenizers for offline use.")]
Reg = Annotated[str | None, typer.Option("--reg", help="Folder of regularization images.")]
Gpus = Annotated[int | None, typer.Option("--gpus", help="How many GPUs to use.", min=1)]
Vram = Annotated[int | None, typer.Option("--vram", help="Plan for a card of this many GB.", min=1)]
Prompts = Annotated[Path | None, typer.Option("--prompts", help="File of sample prompts, one a line.")]
Samples = Annotated[bool, typer.Option("--samples/--no-samples", help="Pictures at each checkpoint.")]
Validation = Annotated[
    int | None, typer.Option("--validation", help="Hold this many images out and report their loss.", min=1)
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Let the preset or forge.yaml name Python code for the engine to import.")
]
Runs = Annotated[str | None, typer.Option("--runs", help="Folder that runs are made in; default runs.")]
RunDir = Annotated[Path | None, typer.Option("--run-dir", help="Where the run lies; default runs/NAME-001.")]


def folder_of_runs(given: Path | None = None) -> Path:
    """Where runs are looked for: where ``forge train`` would make them, unless said otherwise."""
    import os

    from lora_forge.project.request import find_runs_folder

    return find_runs_folder(given, os.environ, Path.cwd())


def given(**flags: str | int | list[str] | None) -> dict[str, Value]:
    """The flags that were really given; a list of one is that one."""
    said: dict[str, Value] = {}
    for name, value in flags.items():
        if isinstance(value, list):
            said.update({name: [*value] if len(value) > 1 else value[0]} if value else {})
        elif value is not None:
            said[name] = value
    return said


def invocation(
    flags: dict[str, Value],
    settings: list[str] | None,
    run_dir: Path | None,
    prompts: Path | None = None,
    *,
    samples: bool = True,
    trust_code: bool = False,
    validation: int | None = None,
) -> Invocation:
    """What one call of forge was given, with the environment and folder it was called in."""
    import os

    from lora_forge.workflow.invocation import Invocation

    overrides = (*(settings or ()), *(() if samples else ("sampling.enabled=false",)))
    overrides += () if validation is None else (f"data.validation={validation}",)
    return Invocation(flags, overrides, dict(os.environ), Path.cwd(), run_dir, prompts=prompts, trust_code=trust_code)
