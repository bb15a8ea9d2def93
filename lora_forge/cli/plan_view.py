"""A plan as a person reads it: what will happen, how the steps come about, how large the result is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lora_forge.cli.amounts import counted, megabytes, short
from lora_forge.cli.output import plain, print_plain, print_ragged

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from lora_forge.engine.launch import Rendered
    from lora_forge.plan.model import Decided, Plan


def print_plan(plan: Plan, out: Console) -> None:
    from rich.padding import Padding

    trigger = f", trigger [bold]{plain(str(plan.trigger.value))}[/]" if plan.trigger.value else ""
    images = counted(plan.data.images.value, "image")
    out.print(
        f"[bold cyan]{plain(plan.preset.value)}[/] on [bold]{plan.family.value}[/]: {images}{trigger}",
        highlight=False,
    )
    print_ragged(out, Padding(_sections(plan), (0, 0, 1, 2)))


def print_explained(plan: Plan, out: Console) -> None:
    """Every leaf with its source and its reason."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    table.add_column("value", no_wrap=True)
    table.add_column("", overflow="fold")
    table.add_column("source", style="cyan", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=1)
    for key, leaf in leaves(plan):
        where = f" [dim]({plain(leaf.where)})[/]" if leaf.where and leaf.where not in leaf.why else ""
        table.add_row(key, plain(_shown(key, leaf)), leaf.source.value, plain(leaf.why) + where)
    print_ragged(out, table)


def leaves(plan: Plan) -> Iterator[tuple[str, Decided[object]]]:
    """Every decided value by its dotted key, in the plan's order."""
    from lora_forge.plan.model import Decided

    for name in type(plan).model_fields:
        part = getattr(plan, name)
        if isinstance(part, Decided):
            yield name, part
            continue
        for leaf in type(part).model_fields:
            yield f"{name}.{leaf}", getattr(part, leaf)


def _sections(plan: Plan) -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for title, body in _rows(plan):
        grid.add_row(title, body)
    return grid


def _rows(plan: Plan) -> Iterator[tuple[str, RenderableType]]:
    yield "network", _network(plan)
    yield "optimizer", _optimizer(plan)
    yield "steps", _arithmetic(plan)
    yield "buckets", _buckets(plan)
    if plan.data.validation_images.value:
        yield "held out", f"{plan.data.validation_images.value} images, whose loss is told at every checkpoint"
    yield "precision", _precision(plan)
    yield "text encoder", _text_encoder(plan)
    yield "checkpoints", _checkpoints(plan)
    yield "result", _result(plan)


def _network(plan: Plan) -> str:
    network, ratio = plan.network, plan.network.alpha.value / plan.network.rank.value
    text = (
        f"{network.kind.value} rank [bold]{network.rank.value}[/], alpha {network.alpha.value:g} (alpha/rank {ratio:g})"
    )
    if network.conv_rank.value:
        text += f", conv rank {network.conv_rank.value}"
        text += f", conv alpha {network.conv_alpha.value:g}" if network.conv_alpha.value else ""
    if network.kind.value == "lokr":
        text += f", factor {network.factor.value}"
    return text + (f", dropout {network.dropout.value:g}" if network.dropout.value else "")


def _optimizer(plan: Plan) -> str:
    optimizer, warmup = plan.optimizer, plan.schedule.warmup_steps.value
    after = f", {warmup} warm-up steps" if warmup else ""
    clip = f", gradients clipped at {optimizer.max_grad_norm.value:g}" if optimizer.max_grad_norm.value else ""
    rate = f"learning rate {optimizer.learning_rate.value:g}"
    return plain(f"{optimizer.name.value}, {rate}, {optimizer.scheduler.value}{after}{clip}")


def _arithmetic(plan: Plan) -> str:
    """The sum that people do by hand and get wrong, written out."""
    schedule, data = plan.schedule, plan.data
    repeats = schedule.repeats.value
    by = counted(repeats, "repeat") if isinstance(repeats, int) else "their folders' repeats"
    samples = sum(bucket.images for bucket in data.buckets.value)
    batches = sum(bucket.batches for bucket in data.buckets.value)
    reg = f" + regularization images = {samples}" if data.reg_images.value else f" = {samples}"
    shared = f" on {plan.gpus.value} GPUs" if plan.gpus.value > 1 else ""
    accum = f", {schedule.grad_accum.value} a step" if schedule.grad_accum.value > 1 else ""
    epochs = schedule.steps.value / schedule.steps_per_epoch.value if schedule.steps_per_epoch.value else 0
    return (
        f"{counted(data.images.value, 'image')} × {by}{reg} samples in {counted(len(data.buckets.value), 'bucket')}, "
        f"batch {schedule.batch_size.value} → {counted(batches, 'batch', 'batches')}{shared}{accum} → "
        f"{counted(schedule.steps_per_epoch.value, 'step')} an epoch\n"
        f"[bold]{schedule.steps.value:,} steps[/] = {epochs:.2f} epochs; "
        f"{schedule.steps_per_image.value:.1f} steps per image, "
        f"each image seen {schedule.exposures_per_image.value:.1f} times"
    )


def _buckets(plan: Plan) -> str:
    data = plan.data
    used = "  ".join(f"{b.width}×{b.height}: {b.images}" for b in data.buckets.value)
    return (
        f"resolution {data.resolution.value}, sides {data.min_bucket.value} to {data.max_bucket.value}\n[dim]{used}[/]"
    )


def _precision(plan: Plan) -> str:
    precision, memory = plan.precision, plan.memory
    parts = [
        f"{precision.mixed.value}",
        "fp8 base model" if precision.fp8_base.value else "base model as it is",
    ]
    parts += ["gradient checkpointing"] if memory.gradient_checkpointing.value else []
    parts += ["latents cached"] if memory.cache_latents.value else []
    parts += ["text-encoder outputs cached"] if memory.cache_text_encoder_outputs.value else []
    parts += [f"{memory.blocks_to_swap.value} blocks swapped"] if memory.blocks_to_swap.value else []
    return ", ".join(parts)


def _text_encoder(plan: Plan) -> str:
    encoder, rate = plan.text_encoder, plan.optimizer.text_encoder_learning_rate.value
    if encoder.mode.value == "frozen":
        return "frozen"
    until = f" until step {encoder.switch_step.value:,}, then frozen" if encoder.switch_step.value else ""
    return f"trained at {rate:g}{until}"


def _checkpoints(plan: Plan) -> str:
    steps = plan.outputs.checkpoints.value
    every = plan.schedule.checkpoint_every.value
    pictures = len(plan.sampling.prompts.value) if plan.sampling.every.value else 0
    text = f"every {every} steps: {short([f'{step:,}' for step in steps])}" if steps else "the final file only"
    return text + (f"; {counted(pictures, 'picture')} each" if pictures and steps else "")


def _result(plan: Plan) -> str:
    size = plan.outputs.lora_bytes.value
    header = megabytes(plan.outputs.header_bytes.value)
    name = f"[bold]{plain(plan.name.value)}.safetensors[/]"
    return f"{name}, {size:,} bytes of tensors ({megabytes(size)}) and a header of about {header}"


def _shown(key: str, leaf: Decided[object]) -> str:
    if key == "data.buckets":
        return f"{len(leaf.value)} sizes"  # type: ignore[arg-type]  # the buckets leaf holds a tuple
    return _as_written(leaf.value)


def _as_written(value: object) -> str:
    """A value as YAML would hold it; texts that hold commas stand on lines of their own, else none could tell them."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_as_written(each)}" for key, each in value.items()) or "-"
    if isinstance(value, (tuple, list)):
        items = [_as_written(each) for each in value]
        return "\n".join(items) if any("," in item for item in items) else short(items) or "-"
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return "-" if value is None else str(value)


def print_rendered(rendered: Rendered, out: Console) -> None:
    """The files the engine reads and the commands that start it, ready to copy."""
    import shlex

    for title, text in (("train.toml", rendered.train_toml), ("dataset.toml", rendered.dataset_toml)):
        out.print(f"[bold]# {title}[/]")
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    out.print("[bold]# the command[/]")
    print_plain(out, shlex.join(rendered.argv))
    out.print("\n[bold]# the same without forge, from the engine's folder[/]")
    alone = shlex.join(rendered.plain_argv) if rendered.plain_argv else f"(none: {rendered.plain_argv_why})"
    print_plain(out, alone)
