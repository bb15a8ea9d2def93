"""Whether the card, the count of cards, the processor and the disk are up to the plan."""

from __future__ import annotations

from lora_forge.families.family import Lever
from lora_forge.findings import Severity
from lora_forge.plan.choices import BY_A_PERSON
from lora_forge.plan.levers import SMALL_CARD_RANK, card_class, for_another_machine, wants_lean_optimizer
from lora_forge.plan.memory import all_of
from lora_forge.plan.model import Plan
from lora_forge.plan.optimizers import FULL_STATE
from lora_forge.plan.rule import Context, Rule

GIB = 2**30
UNITS = (("GiB", GIB), ("MiB", 2**20), ("KiB", 2**10))
SMALL_CARD_GIB = 10
DRIVER_GIB = 0.5
"""What a card may report above its nominal size."""


def _on_cpu(plan: Plan, context: Context) -> bool:
    return not context.machine.gpus and not for_another_machine(plan.vram_gib.source, context.machine)


def planned_elsewhere(plan: Plan, context: Context) -> str | None:
    if not for_another_machine(plan.vram_gib.source, context.machine):
        return None
    return f"the plan is for another machine, with a card of {plan.vram_gib.value:g} GB; this one has no CUDA GPU"


def too_many_gpus(plan: Plan, context: Context) -> str | None:
    asked, there = plan.gpus.value, len(context.machine.gpus)
    if not there or asked <= there:
        return None
    return f"{asked} GPUs are asked for, and this machine has {there}"


def cpu_processes(plan: Plan, context: Context) -> str | None:
    if plan.gpus.value == 1 or not _on_cpu(plan, context):
        return None
    return f"{plan.gpus.value} processes on the CPU: the engine cannot share a frozen model among them there"


def cpu_offload(plan: Plan, context: Context) -> str | None:
    asked = plan.engine_options.value.get("cpu_offload_checkpointing")
    if not asked or not _on_cpu(plan, context) or not context.family.offloads_checkpoints:
        return None
    return "cpu_offload_checkpointing moves checkpoints back to a card, and there is none"


def cpu_fp16(plan: Plan, context: Context) -> str | None:
    if plan.precision.mixed.value != "fp16" or not _on_cpu(plan, context):
        return None
    return "on the CPU fp16 goes without the scaling of its loss, so small gradients become 0"


def batch_large(plan: Plan, context: Context) -> str | None:
    batch, vram = plan.schedule.batch_size.value, plan.vram_gib.value
    most = context.family.batch_on_24_gib
    if most is None or vram is None or not 16 < vram < 32 or batch <= most:
        return None
    return f"batches of {batch} on {vram:g} GB; the engine's guide gives {most} for 24 GB with an fp8 base"


def _gives_less(value: object, lever: Lever) -> bool:
    """Whether a written value leaves more in memory than the lever would."""
    if isinstance(lever.value, bool):
        return value is not lever.value
    number = value if isinstance(value, int) and not isinstance(value, bool) else 0
    return number > lever.value if lever.cap else number < lever.value


def levers_overruled(plan: Plan, context: Context) -> str | None:
    overruled = []
    for key, lever in context.choices.levers.items():
        decided = context.choices.of(key)
        if decided.source in BY_A_PERSON and _gives_less(decided.value, lever):
            overruled.append(f"{key} = {decided.value} where the table says {lever.value}")
    return f"on {plan.vram_gib.value:g} GB {'; '.join(overruled)}: it may not fit" if overruled else None


def optimizer_state(plan: Plan, context: Context) -> str | None:
    name, vram = plan.optimizer.name.value, plan.vram_gib.value
    if name.lower() not in FULL_STATE or not wants_lean_optimizer(context.family, vram):
        return None
    return f"{name} keeps its whole state in 32 bits; on {vram:g} GB the engine's guide asks for an 8-bit one"


def t5_in_16_bits(plan: Plan, context: Context) -> str | None:
    vram, t5 = plan.vram_gib.value, context.models.get("t5xxl")
    if vram is None or card_class(vram) != 8 or t5 is None or t5.is_fp8:
        return None
    return f"{t5.path.name} is stored as {t5.dtype}; on {vram:g} GB the engine's guide asks for an fp8 T5"


def small_card_augments(plan: Plan, _context: Context) -> str | None:
    augment, vram = plan.augment, plan.vram_gib.value
    active = [f"augment.{name}" for name in ("color", "random_crop") if getattr(augment, name).value]
    if vram is None or vram >= SMALL_CARD_GIB or not active:
        return None
    return f"{all_of(active, 'keep')} the autoencoder on a card of {vram:g} GB, since latents cannot be cached"


def small_card_rank(plan: Plan, _context: Context) -> str | None:
    network, vram = plan.network, plan.vram_gib.value
    rank, ratio = network.rank.value, network.alpha.value / network.rank.value
    if vram is None or card_class(vram) != 8 or network.kind.value == "lora" or rank <= SMALL_CARD_RANK:
        return None
    smaller = f"rank {SMALL_CARD_RANK} with alpha {SMALL_CARD_RANK * ratio:g}"
    return f"if memory runs out on {vram:g} GB all the same: {smaller} in place of rank {rank}"


def no_fp8_small_card(plan: Plan, context: Context) -> str | None:
    vram, weights = plan.vram_gib.value, context.family.weights_gib
    if plan.precision.fp8_base.value or vram is None or vram > weights + DRIVER_GIB:
        return None
    return f"{context.family.title} in 16 bits takes {weights} GB alone; the card has {vram:g} GB"


def disk_space(plan: Plan, context: Context) -> str | None:
    free, needed = context.machine.disk_free_gib, plan.outputs.disk_bytes.value
    if free is None or needed <= free * GIB:
        return None
    return f"checkpoints and caches take about {_amount(needed)}, and {_amount(free * GIB)} are free"


def _amount(size_bytes: float) -> str:
    """In the largest unit that is there at least once.

    >>> _amount(2.5 * GIB), _amount(3_000_000), _amount(0)
    ('2.5 GiB', '2.9 MiB', '0 bytes')
    """
    for unit, size in UNITS:
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes:.0f} bytes"


ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
GUIDE = "docs/flux_train_network.md"
OPTIONS, BATCH = "engine.options", "schedule.batch_size"
NO_AUGMENT = "--set augment.color=false --set augment.random_crop=false"
FEWER = "--set schedule.checkpoint_every=N, or --runs DIR on another disk"
ALLOW = "leave it to forge, or name a larger card with --vram"

RANK_24 = f"--set network.rank={SMALL_CARD_RANK}, and alpha with it"
EIGHT_BIT = "--set optimizer.name=AdamW8bit"
HERE = "leave --vram out to plan for this machine"

MACHINE_RULES: tuple[Rule, ...] = (
    Rule("another-machine", INFO, "vram_gib", "the machine", "", planned_elsewhere, HERE),
    Rule("gpu-count", ERROR, "gpus", "the machine", "refuses", too_many_gpus, "--gpus with what is there"),
    Rule("cpu-processes", ERROR, "gpus", "tn, accelerator.prepare", "fails", cpu_processes, "--gpus 1"),
    Rule("cpu-offload", ERROR, OPTIONS, "flux_models:487", "fails", cpu_offload, "leave it out"),
    Rule(
        "cpu-fp16",
        WARNING,
        "precision.mixed",
        "accelerate, Accelerator",
        "misreads",
        cpu_fp16,
        "--set precision.mixed=bf16",
    ),
    Rule("batch-card", WARNING, BATCH, GUIDE, "obeys", batch_large, "--set schedule.batch_size=2"),
    Rule("lever-overruled", WARNING, "memory", "docs/presets.md", "obeys", levers_overruled, ALLOW),
    Rule("optimizer-state", WARNING, "optimizer.name", GUIDE, "obeys", optimizer_state, EIGHT_BIT),
    Rule("t5-fp8", WARNING, "models.t5xxl", GUIDE, "obeys", t5_in_16_bits, "--t5xxl with the e4m3fn file"),
    Rule("augment-small-card", WARNING, "augment", "docs/presets.md", "obeys", small_card_augments, NO_AUGMENT),
    Rule("rank-small-card", INFO, "network.rank", "docs/presets.md", "", small_card_rank, RANK_24),
    Rule(
        "no-fp8-card", WARNING, "precision.fp8_base", GUIDE, "obeys", no_fp8_small_card, "--set precision.fp8_base=true"
    ),
    Rule("disk-space", ERROR, "runs", "arithmetic", "fails", disk_space, FEWER),
)
