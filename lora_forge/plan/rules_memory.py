"""Precision, caches, offloading and block swap."""

from __future__ import annotations

from lora_forge.findings import Severity
from lora_forge.plan.memory import blocks_of, most_swapped, swap_fits
from lora_forge.plan.model import Plan
from lora_forge.plan.rule import Context, Rule

CHANGES_CAPTIONS = ("caption_dropout_rate", "caption_tag_dropout_rate", "token_warmup_step")
DISK_CACHES = ("cache_latents_to_disk", "cache_text_encoder_outputs_to_disk")


def swap_limit(plan: Plan, context: Context) -> str | None:
    swap, (double, single) = plan.memory.blocks_to_swap.value, blocks_of(context.family, context.models)
    if not swap or context.family.max_blocks_to_swap is None or swap_fits(swap, double, single):
        return None
    most = most_swapped(swap, (double, single))
    return f"{swap} blocks to swap are more than {most}, the most for {double} double and {single} single blocks"


def swap_and_offload(plan: Plan, _context: Context) -> str | None:
    if not plan.memory.blocks_to_swap.value or not plan.engine_options.value.get("cpu_offload_checkpointing"):
        return None
    return f"cpu_offload_checkpointing does not go with {plan.memory.blocks_to_swap.value} blocks to swap"


def offload_without_word(plan: Plan, context: Context) -> str | None:
    asked = plan.engine_options.value.get("cpu_offload_checkpointing")
    able = context.family.offloads_checkpoints or "cpu_offload_checkpointing" in context.family.inert_options
    if not asked or not plan.memory.gradient_checkpointing.value or able:
        return None
    return f"{context.family.title}'s model in the engine cannot offload its checkpoints to the CPU"


def swap_mode(plan: Plan, _context: Context) -> str | None:
    if not plan.engine_options.value.get("split_mode") or plan.memory.blocks_to_swap.value:
        return None
    return "split_mode is the old name of 18 blocks to swap, which the plan would not show"


def fp8_needs_mixed(plan: Plan, _context: Context) -> str | None:
    options = plan.engine_options.value
    fp8 = plan.precision.fp8_base.value or options.get("fp8_base") or options.get("fp8_base_unet")
    return "an fp8 base needs mixed precision fp16 or bf16" if plan.precision.mixed.value == "no" and fp8 else None


def full_needs_same(plan: Plan, _context: Context) -> str | None:
    mixed = plan.precision.mixed.value
    wrong = [name for name in ("fp16", "bf16") if plan.engine_options.value.get(f"full_{name}") and name != mixed]
    return f"full_{wrong[0]} needs mixed precision {wrong[0]}, not {mixed}" if wrong else None


def full_given_up(plan: Plan, context: Context) -> str | None:
    if plan.precision.full.value or not context.choices.value("precision.full"):
        return None
    return "precision.full needs mixed precision; weights and gradients of the LoRA stay in fp32"


def cached_captions_change(plan: Plan, _context: Context) -> str | None:
    active = [name for name in CHANGES_CAPTIONS if plan.engine_options.value.get(name)]
    if not active or not plan.memory.cache_text_encoder_outputs.value:
        return None
    return f"{' and '.join(active)} would change captions whose text-encoder outputs are cached"


def disk_cache_alone(plan: Plan, _context: Context) -> str | None:
    cached = (plan.memory.cache_latents.value, plan.memory.cache_text_encoder_outputs.value)
    asked = (plan.engine_options.value.get(name) for name in DISK_CACHES)
    wrong = [name for name, on, disk in zip(DISK_CACHES, cached, asked, strict=True) if disk and not on]
    return f"{wrong[0]} turns on a cache that this plan had to turn off" if wrong else None


def workers_persist(plan: Plan, _context: Context) -> str | None:
    options = plan.engine_options.value
    workers = options.get("max_data_loader_n_workers", 0 if plan.memory.cache_latents.value else 2)
    keeps = options.get("persistent_data_loader_workers", not plan.memory.cache_latents.value)
    return "persistent_data_loader_workers needs workers, and there are 0" if keeps and not workers else None


ERROR, WARNING = Severity.ERROR, Severity.WARNING
SWAP, OPTIONS, MIXED = "memory.blocks_to_swap", "engine.options", "precision.mixed"
BF16 = "--set precision.mixed=bf16"
NO_TE_CACHE = "--set memory.cache_text_encoder_outputs=false"
AUGMENTED = "turn off the augmentation that the plan names, or the option"
ONE = "leave one of them out"

MEMORY_RULES: tuple[Rule, ...] = (
    Rule("blocks-to-swap", ERROR, SWAP, "flux_models:972", "refuses", swap_limit, "a smaller number"),
    Rule("swap-offload", ERROR, OPTIONS, "fn:77", "refuses", swap_and_offload, ONE),
    Rule(
        "offload-unknown",
        ERROR,
        OPTIONS,
        "tn:696",
        "fails",
        offload_without_word,
        "leave cpu_offload_checkpointing out",
    ),
    Rule("split-mode", ERROR, OPTIONS, "fn:82-93", "misreads", swap_mode, "--set memory.blocks_to_swap=18"),
    Rule("fp8-mixed", ERROR, MIXED, "tn:829-839", "refuses", fp8_needs_mixed, BF16),
    Rule("full-mixed", ERROR, OPTIONS, "tn:814-825", "refuses", full_needs_same, "--set precision.full=true"),
    Rule("full-given-up", WARNING, "precision.full", "tn:814-825", "", full_given_up, BF16, judges_written=True),
    Rule("cached-captions", ERROR, OPTIONS, "fn:65, tu:1102", "refuses", cached_captions_change, NO_TE_CACHE),
    Rule("disk-cache", ERROR, OPTIONS, "tu:4424, fn:59", "refuses", disk_cache_alone, AUGMENTED),
    Rule("workers-persist", ERROR, OPTIONS, "tn:779", "refuses", workers_persist, "leave it out, or give workers"),
)
