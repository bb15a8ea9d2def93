"""Precision on the machine at hand: bf16 where the card can, fp16 where it cannot."""

from __future__ import annotations

from typing import cast

from lora_forge.families.family import Family
from lora_forge.findings import Finding, info, warning
from lora_forge.machine import Machine
from lora_forge.plan.choices import Choices, because
from lora_forge.plan.model import Decided, PrecisionPlan
from lora_forge.settings import Source


def decide_precision(
    choices: Choices, family: Family, machine: Machine, fp8_obstacle: str | None, *, elsewhere: bool = False
) -> tuple[PrecisionPlan, list[Finding]]:
    """``fp8_obstacle`` says why the network cannot lie on an fp8 base, where it cannot.

    ``elsewhere``: the run will have a card, though this machine has none.
    """
    on_cpu = not machine.gpus and not elsewhere
    mixed, findings = _mixed(choices.of("precision.mixed"), machine, on_cpu=on_cpu)
    full = cast("Decided[bool]", choices.of("precision.full"))
    if full.value and mixed.value == "no":
        full = because(full, False, Source.MACHINE, "full half-precision needs mixed precision")
    fp8 = cast("Decided[bool]", choices.of("precision.fp8_base"))
    if fp8.value and fp8_obstacle:
        hint = "it takes twice the memory; --set network.kind=loha or lora keeps fp8"
        findings.append(warning("no-fp8-network", f"{fp8_obstacle}: the base stays in {mixed.value}", hint))
        fp8 = because(fp8, False, Source.FAMILY, fp8_obstacle)
    elif fp8.value and on_cpu and not family.fp8_runs_on_cpu:
        why = f"{family.title} cannot compute its norms in fp8 on a CPU"
        findings.append(info("no-fp8", f"{why}: the base model stays in {mixed.value}"))
        fp8 = because(fp8, False, Source.MACHINE, why)
    plan = PrecisionPlan(mixed=mixed, full=full, fp8_base=fp8, save=choices.of("precision.save"))
    return plan, findings


def _mixed(decided: Decided[object], machine: Machine, *, on_cpu: bool) -> tuple[Decided[object], list[Finding]]:
    if on_cpu:
        slow = warning(
            "no-gpu",
            "no CUDA GPU was found: the training would run on the CPU, which is very slow",
            "run it on a machine with an NVIDIA GPU; `forge demo` is made to end on a CPU",
        )
        return decided, [slow]
    old = [gpu for gpu in machine.gpus if not gpu.bf16]
    if old and decided.value == "bf16":
        why = f"{old[0].name} (compute capability {old[0].capability[0]}.{old[0].capability[1]}) has no bf16"
        note = info("no-bf16", f"{why}: fp16 is used instead, which can overflow", "watch for NaN losses")
        return because(decided, "fp16", Source.MACHINE, why), [note]
    return decided, []
