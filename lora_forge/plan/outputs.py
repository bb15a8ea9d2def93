"""What a run leaves: the LoRA's exact bytes, its checkpoints, and the disk all of it takes."""

from __future__ import annotations

from dataclasses import dataclass

from lora_forge.families.modules import LoraModule
from lora_forge.models.facts import ModelFacts
from lora_forge.plan.cadence import checkpoint_steps
from lora_forge.plan.disk import files_bytes
from lora_forge.plan.model import Decided, NetworkPlan, OutputsPlan, PrecisionPlan, SchedulePlan
from lora_forge.plan.network import LoraSize, lora_size
from lora_forge.presets.model import MOST_STEPS
from lora_forge.settings import Source


@dataclass(frozen=True)
class LoraFile:
    """One LoRA file: its size, and what the size was counted on."""

    size: LoraSize
    why: str


def count_files(
    network: NetworkPlan, precision: PrecisionPlan, modules: tuple[LoraModule, ...], base: ModelFacts | None
) -> LoraFile:
    origin = base.path.name if base and base.modules is not None else "the family's usual base model"
    why = f"{len(modules)} modules of {origin} at rank {network.rank.value}"
    return LoraFile(lora_size(network, precision, modules), why)


def decide_outputs(file: LoraFile, schedule: SchedulePlan, cache_bytes: int) -> OutputsPlan:
    steps, every = schedule.steps.value, schedule.checkpoint_every.value
    # a plan of more is refused (steps-too-many), and its list could take all memory before that is said
    checkpoints = checkpoint_steps(min(steps, MOST_STEPS), every)
    files = files_bytes(file.size.data, file.size.header, len(checkpoints))
    caches = f" and {cache_bytes:,} bytes of caches" if cache_bytes else ""
    return OutputsPlan(
        lora_bytes=Decided(value=file.size.data, source=Source.FAMILY, why=file.why),
        header_bytes=Decided(
            value=file.size.header, source=Source.FAMILY, why="names, shapes and metadata; an estimate"
        ),
        checkpoints=Decided(
            value=checkpoints,
            source=schedule.checkpoint_every.source,
            why=f"every {every} steps, and the final file",
        ),
        disk_bytes=Decided(
            value=files + cache_bytes, source=Source.POLICY, why=f"{len(checkpoints) + 1} LoRA files{caches}"
        ),
    )
