"""``forge plan``: what will happen, exactly, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli import options as o
from lora_forge.cli.output import show

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.workflow.planning import PlanResult


def plan(
    preset: o.Preset = None,
    dataset: o.Datasets = None,
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
    validation: o.Validation = None,
    runs: o.Runs = None,
    run_dir: o.RunDir = None,
    trust_code: o.TrustCode = False,
    explain: Annotated[bool, typer.Option("--explain", help="Source and reason of every value.")] = False,
    rendered: Annotated[bool, typer.Option("--rendered", help="The TOML files and the command.")] = False,
    as_json: o.AsJson = False,
) -> None:
    """Show what would be trained: steps, buckets, size, every value and every problem. Starts nothing."""
    flags = o.given(
        preset=preset, dataset=dataset, family=family, trigger=trigger, name=name, model=model, clip_l=clip_l,
        t5xxl=t5xxl, ae=ae, vae=vae, tokenizers=tokenizers, reg=reg, gpus=gpus, vram=vram, runs=runs,
    )  # fmt: skip

    def use_case() -> PlanResult:
        from lora_forge.workflow.planning import preview_run

        return preview_run(
            o.invocation(
                flags, settings, run_dir, prompts, samples=samples, trust_code=trust_code, validation=validation
            )
        )

    def as_text(result: PlanResult, out: Console) -> None:
        from lora_forge.cli.plan_view import print_explained, print_plan, print_rendered

        if not result.planned.plan.data.images.value:
            return  # arithmetic over no image says nothing
        print_plan(result.planned.plan, out)
        if explain:
            print_explained(result.planned.plan, out)
        if rendered and result.rendered:
            print_rendered(result.rendered, out)

    show(use_case, as_text, as_json=as_json)
