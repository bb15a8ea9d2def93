"""``forge train``: plan, train through the real engine, verify the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli import options as o
from lora_forge.cli.output import TASTE, show

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.workflow import RunResult


def train(
    preset: o.Preset = None,
    dataset: o.Dataset = None,
    family: o.Family = None,
    trigger: o.Trigger = None,
    name: o.Name = None,
    settings: o.Settings = None,
    model: o.Model = None,
    clip_l: o.ClipL = None,
    t5xxl: o.T5xxl = None,
    ae: o.Ae = None,
    vae: o.Vae = None,
    tokenizers: o.Tokenizers = None,
    reg: o.Reg = None,
    gpus: o.Gpus = None,
    vram: o.Vram = None,
    prompts: o.Prompts = None,
    samples: o.Samples = True,
    run_dir: o.RunDir = None,
    trust_code: o.TrustCode = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Lay out the run directory; start nothing.")] = False,
    as_json: o.AsJson = False,
) -> None:
    """Train a LoRA and verify it: exit 0 means that the file is what the plan said."""
    flags = o.given(
        preset=preset, dataset=dataset, family=family, trigger=trigger, name=name, model=model, clip_l=clip_l,
        t5xxl=t5xxl, ae=ae, vae=vae, tokenizers=tokenizers, reg=reg, gpus=gpus, vram=vram,
    )  # fmt: skip

    def use_case() -> RunResult:
        from lora_forge.cli.live import LiveView
        from lora_forge.workflow import start_run

        return start_run(
            o.invocation(flags, settings, run_dir, prompts, samples=samples, trust_code=trust_code),
            LiveView(TASTE, as_json=as_json),
            dry_run=dry_run,
        )

    def as_text(result: RunResult, out: Console) -> None:
        from lora_forge.cli.run_view import print_run

        print_run(result, out)

    show(use_case, as_text, as_json=as_json, unsaid=lambda result: result.noticed)
