"""What to change when memory ran out: the levers a plan has left, in the order of what they cost.

Time comes before quality: recomputing, caching and swapping change no weight,
a smaller batch with as much more accumulation hardly any, fewer pixels and a
lower rank do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lora_forge.families.family import Family
from lora_forge.plan.levers import SMALL_CARD_RANK
from lora_forge.plan.memory import most_swapped
from lora_forge.plan.model import Plan
from lora_forge.settings import Source

SWAPS = (8, 16, 22, 28, 35)
"""The numbers of the engine's FLUX guide for 16, 12, 10 and 8 GB, and the most a FLUX.1 model allows."""

RESOLUTIONS = (1024, 896, 768, 640, 512)
"""Sides to step down by; below 512 nothing that these base models draw is learnt."""

LEAST_RANK = 8
FULL_ADAM = ("adamw", "adam")


@dataclass(frozen=True)
class Smaller:
    """One change that needs less memory: ``settings`` as ``--set`` takes them, and what it costs."""

    settings: tuple[str, ...]
    why: str
    costs: str

    @property
    def flags(self) -> str:
        """
        >>> Smaller(("network.rank=8", "network.alpha=4"), "", "").flags
        '--set network.rank=8 --set network.alpha=4'
        """
        return " ".join(f"--set {setting}" for setting in self.settings)


def next_smaller(plan: Plan, family: Family, blocks: tuple[int, int] | None = None) -> list[Smaller]:
    """List what would lower the GPU memory of this plan, the cheapest first.

    ``blocks`` are the base model's own (double, single) blocks, where they are
    known: they bound the block swap. A lever of several steps gives its next
    one only; asked again of the smaller plan it gives the one after.
    """
    found = [lever(plan, family) for lever in (_checkpointing, _cached_latents, _cached_captions, _fp8, _eight_bit)]
    found += [_swap(plan, family, blocks or family.blocks), _batch(plan), _resolution(plan), _rank(plan)]
    return [lever for lever in found if lever is not None]


def next_smaller_in_host(plan: Plan, blocks: tuple[int, int]) -> list[Smaller]:
    """List what would lower the machine's own memory, the cheapest first; block swap works against it."""
    return list(_host_levers(plan, blocks))


def _host_levers(plan: Plan, blocks: tuple[int, int]) -> Iterator[Smaller]:
    cached = plan.memory.cache_latents.value or plan.memory.cache_text_encoder_outputs.value
    if cached and not plan.memory.cache_to_disk.value:
        yield Smaller(("memory.cache_to_disk=true",), "the caches wait on disk, not in memory", "disk space")
    swap = plan.memory.blocks_to_swap.value or 0
    if swap and any(blocks):
        fewer = max((step for step in SWAPS if step < swap), default=0)
        yield Smaller((f"memory.blocks_to_swap={fewer}",), "swapped blocks lie in the machine's memory", "GPU memory")


def _checkpointing(plan: Plan, _family: Family) -> Smaller | None:
    if plan.memory.gradient_checkpointing.value:
        return None
    return Smaller(
        ("memory.gradient_checkpointing=true",), "activations are computed twice instead of kept", "about 30 % speed"
    )


def _cached_latents(plan: Plan, _family: Family) -> Smaller | None:
    augmented = plan.augment.color.value or plan.augment.random_crop.value
    if plan.memory.cache_latents.value or augmented:
        return None
    return Smaller(("memory.cache_latents=true",), "the autoencoder leaves the card before training", "nothing")


def _cached_captions(plan: Plan, family: Family) -> Smaller | None:
    """Only where the plan would keep the cache: changing captions and most training encoders forbid it."""
    changing = plan.captions.shuffle.value or plan.captions.dropout.value
    training = plan.text_encoder.mode.value != "frozen" and not family.caches_while_training_text_encoder
    able = family.caches_text_encoder_outputs and not changing and not training
    if plan.memory.cache_text_encoder_outputs.value or not able:
        return None
    return Smaller(
        ("memory.cache_text_encoder_outputs=true",), "the text encoders leave the card before training", "nothing"
    )


def _fp8(plan: Plan, _family: Family) -> Smaller | None:
    """Not where the machine or the network's kind had the last word: they would have it again."""
    fp8 = plan.precision.fp8_base
    if fp8.value or fp8.source in (Source.MACHINE, Source.FAMILY) or plan.precision.mixed.value == "no":
        return None
    return Smaller(("precision.fp8_base=true",), "the frozen base model takes half the memory", "hardly any quality")


def _eight_bit(plan: Plan, _family: Family) -> Smaller | None:
    if plan.optimizer.name.value.lower() not in FULL_ADAM:
        return None
    return Smaller(("optimizer.name=AdamW8bit",), "the optimizer's state takes a quarter", "hardly any quality")


def _swap(plan: Plan, family: Family, blocks: tuple[int, int]) -> Smaller | None:
    if family.max_blocks_to_swap is None:
        return None
    now = plan.memory.blocks_to_swap.value or 0
    more = next((step for step in SWAPS if step > now), now)
    allowed = most_swapped(min(more, family.max_blocks_to_swap), blocks)
    if allowed <= now:
        return None
    return Smaller((f"memory.blocks_to_swap={allowed}",), "that many blocks wait in the machine's memory", "speed")


def _batch(plan: Plan) -> Smaller | None:
    """Half the batch and twice the accumulation: a step still sees as many pictures."""
    batch, accumulated = plan.schedule.batch_size.value, plan.schedule.grad_accum.value
    if batch < 2:
        return None
    half = batch // 2
    settings = (f"schedule.batch_size={half}", f"schedule.grad_accum={accumulated * batch // half}")
    return Smaller(settings, "a step still sees as many pictures, one part after the other", "speed")


def _resolution(plan: Plan) -> Smaller | None:
    """The next side that every bucket bound allows: the engine wants min_bucket <= resolution <= max_bucket."""
    now, least = plan.data.resolution.value, plan.data.min_bucket.value
    lower = next((side for side in RESOLUTIONS if least <= side < now), None)
    if lower is None:
        return None
    return Smaller((f"data.resolution={lower}",), f"{1 - (lower / now) ** 2:.0%} fewer pixels a picture", "detail")


def _rank(plan: Plan) -> Smaller | None:
    """Half the rank at the same alpha/rank, so that the learning rate still means the same."""
    rank, alpha = plan.network.rank.value, plan.network.alpha.value
    lower = _lower_rank(plan)
    if lower < LEAST_RANK:
        return None
    settings = (f"network.rank={lower}", f"network.alpha={alpha * lower / rank:g}")
    return Smaller(settings, f"{1 - lower / rank:.0%} fewer weights to train", "what the LoRA can hold")


def _lower_rank(plan: Plan) -> int:
    """Half, but LoHa and LoKr stop at the rank that is documented for small cards before they go below it."""
    rank = plan.network.rank.value
    stops = plan.network.kind.value != "lora" and rank > SMALL_CARD_RANK
    return max(rank // 2, SMALL_CARD_RANK) if stops else rank // 2
