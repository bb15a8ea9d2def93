"""The network module and its arguments."""

from __future__ import annotations

from lora_forge.findings import Severity
from lora_forge.plan.memory import all_of
from lora_forge.plan.model import ArgValue, Plan
from lora_forge.plan.network_args import OWN_WORD, READ, RESHAPES, kind_fault
from lora_forge.plan.rule import Context, Rule

BLOCK_CHOICES = ("all", "single", "double")
RANK_LIMIT = 1024


def _module(plan: Plan, context: Context) -> str:
    return context.family.network_modules.get(plan.network.kind.value, "")


def _written(context: Context) -> dict[str, ArgValue]:
    """What a person wrote, without what forge itself adds for LyCORIS."""
    return context.preset.network.args


def network_kind(plan: Plan, context: Context) -> str | None:
    kind = plan.network.kind.value
    if kind in context.family.network_modules:
        return None
    return f"the engine has no {kind} for {context.family.title}"


def own_words(_plan: Plan, context: Context) -> str | None:
    words = [key for key in _written(context) if key in OWN_WORD]
    return (
        f"network.args.{words[0]} is {OWN_WORD[words[0]]} in forge's words, and the plan counts by that"
        if words
        else None
    )


def reshapes(plan: Plan, context: Context) -> str | None:
    known = READ.get(_module(plan, context), {})
    active = [
        key for key, value in _written(context).items() if key in RESHAPES and key in known and value is not False
    ]
    return (
        f"{all_of(active, 'change')} the LoRA's tensors in a way that forge cannot foresee or verify"
        if active
        else None
    )


def argument_value(plan: Plan, context: Context) -> str | None:
    known = READ.get(_module(plan, context), {})
    for key, value in _written(context).items():
        if key in known and (fault := kind_fault(known[key], value)):
            return f"network.args.{key} must be {fault}, not {value!r}"
    return None


def argument_text(_plan: Plan, context: Context) -> str | None:
    wrong = [key for key in _written(context) if not key.isidentifier()]
    return f"network.args has a key {wrong[0]!r} that is no name" if wrong else None


def split_qkv(plan: Plan, context: Context) -> str | None:
    if _written(context).get("split_qkv") is not True or _module(plan, context) != "networks.lora_flux":
        return None
    return "split_qkv fails at the engine's pin (a ValueError while the LoRA is made)"


def train_blocks(plan: Plan, context: Context) -> str | None:
    value = _written(context).get("train_blocks")
    if value is None or value in BLOCK_CHOICES or _module(plan, context) != "networks.lora_flux":
        return None
    return f"train_blocks cannot be {value!r}"


def t5_cached(plan: Plan, context: Context) -> str | None:
    if not _written(context).get("train_t5xxl") or not plan.memory.cache_text_encoder_outputs.value:
        return None
    return "train_t5xxl trains T5, whose outputs are cached"


def t5_without_text_encoder(plan: Plan, context: Context) -> str | None:
    if not _written(context).get("train_t5xxl") or plan.text_encoder.mode.value != "frozen":
        return None
    return "train_t5xxl asks for T5 in training, and the text encoder is frozen"


def bypass_off(plan: Plan, _context: Context) -> str | None:
    if plan.network.kind.value == "lora" or not plan.precision.fp8_base.value:
        return None
    if plan.network.args.value.get("bypass_mode") is True:
        return None
    return f"{plan.network.kind.value} without bypass_mode cannot multiply the base model's fp8 weights"


def conv_rank_unset(plan: Plan, context: Context) -> str | None:
    network = plan.network
    inert = "network.conv_rank" in context.family.inert
    if network.kind.value == "lora" or inert or context.choices.is_written("network.conv_rank"):
        return None
    return f"{network.kind.value} trains convolutions too, and without network.conv_rank at rank {network.rank.value}"


def weights_shape(plan: Plan, _context: Context) -> str | None:
    if not plan.engine_options.value.get("dim_from_weights"):
        return None
    return "dim_from_weights takes rank and alpha from another file, whatever the plan says"


def rank_huge(plan: Plan, _context: Context) -> str | None:
    rank = plan.network.rank.value
    return None if rank <= RANK_LIMIT else f"rank {rank} is beyond what most layers of any base model have to give"


ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
ARGS, FLUX, LYCORIS = "network.args", "networks/lora_flux.py", "lycoris/kohya.py, 3.4.0"
NO_T5_CACHE = "--set memory.cache_text_encoder_outputs=false, or leave train_t5xxl out"
CONV = "--set network.conv_rank=8 --set network.conv_alpha=4"
PLAIN = "a value of that kind"
OUT = "leave it out"

NETWORK_RULES: tuple[Rule, ...] = (
    Rule("network-kind", ERROR, "network.kind", "the family", "", network_kind, "--set network.kind=lora"),
    Rule("network-own-word", ERROR, ARGS, "the plan", "obeys", own_words, "use forge's word"),
    Rule("network-reshaped", ERROR, ARGS, "the plan", "obeys", reshapes, "leave it out; the plan counts every tensor"),
    Rule("network-argument", ERROR, ARGS, f"{FLUX}, {LYCORIS}", "refuses", argument_value, PLAIN),
    Rule("network-argument-name", ERROR, ARGS, "tn:665", "ignores", argument_text, "a plain name"),
    Rule("split-qkv", ERROR, ARGS, "lora_flux:908", "refuses", split_qkv, OUT),
    Rule("train-blocks", ERROR, ARGS, "lora_flux:558", "refuses", train_blocks, "one of " + ", ".join(BLOCK_CHOICES)),
    Rule("t5-cached", ERROR, ARGS, "fn:196", "fails", t5_cached, NO_T5_CACHE),
    Rule("t5-frozen", ERROR, ARGS, "fn:196", "ignores", t5_without_text_encoder, "--set text_encoder.mode=trained"),
    Rule(
        "lycoris-fp8", ERROR, ARGS, LYCORIS, "fails", bypass_off, "leave bypass_mode to forge, or an unquantized base"
    ),
    Rule("lycoris-conv-rank", INFO, "network.conv_rank", LYCORIS, "obeys", conv_rank_unset, CONV),
    Rule("rank-from-file", ERROR, "engine.options", "tn:669", "refuses", weights_shape, "leave dim_from_weights out"),
    Rule("rank-huge", WARNING, "network.rank", "arithmetic", "obeys", rank_huge, "--set network.rank=64"),
)
