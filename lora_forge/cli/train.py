"""``forge train``: plan, train through the real engine, verify the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli import options as o
from lora_forge.cli.output import TASTE, message, show

STOP_GRACE_S = 30.0
"""The default of ``run_task``, which is not imported for a help text."""

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.workflow.invocation import Invocation
    from lora_forge.workflow.run_resuming import Result


def train(
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Lay out the run directory; start nothing.")] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the latest unfinished run of this name, or with --run-dir; without any, begin anew.",
        ),
    ] = False,
    grace: Annotated[
        float, typer.Option("--grace", help="Seconds a stopped training may take to save its state.", min=0)
    ] = STOP_GRACE_S,
    retry_smaller: Annotated[
        bool, typer.Option("--retry-smaller", help="Where memory runs out, try again smaller, three times at most.")
    ] = False,
    as_json: o.AsJson = False,
) -> None:
    """Train a LoRA and verify it: exit 0 means that the file is what the plan said."""
    if resume and dry_run:
        raise typer.BadParameter("--resume goes on with a run; --dry-run only lays one out", param_hint="--resume")
    flags = o.given(
        preset=preset, dataset=dataset, family=family, trigger=trigger, name=name, model=model, clip_l=clip_l,
        t5xxl=t5xxl, ae=ae, vae=vae, tokenizers=tokenizers, reg=reg, gpus=gpus, vram=vram, runs=runs,
    )  # fmt: skip

    def use_case() -> Result:
        from lora_forge.cli.live import LiveView
        from lora_forge.workflow.run_resuming import resume_run
        from lora_forge.workflow.run_training import start_run

        call = o.invocation(
            flags, settings, run_dir, prompts, samples=samples, trust_code=trust_code, validation=validation
        )

        # a view of its own for each try: it holds the progress of one training
        def begin(call: Invocation) -> Result:
            return start_run(call, LiveView(TASTE, as_json=as_json), dry_run=dry_run, grace_s=grace)

        def go_on(call: Invocation) -> Result:
            return resume_run(call, LiveView(TASTE, as_json=as_json), grace_s=grace)

        if not retry_smaller:
            return (go_on if resume else begin)(call)
        from lora_forge.workflow.run_smaller import start_smaller

        return start_smaller(call, begin, go_on, message, resuming=resume)

    def as_text(result: Result, out: Console) -> None:
        from lora_forge.cli.run_view import print_ended

        print_ended(result, out)

    show(use_case, as_text, as_json=as_json, unsaid=lambda result: result.noticed)
