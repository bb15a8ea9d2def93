"""Which of the engine's environments this machine wants: by the GPU's generation, and by what is installed."""

from __future__ import annotations

from collections.abc import Mapping

from lora_forge.engine.home import EngineHome, locate_engine
from lora_forge.engine.status import engine_status
from lora_forge.machine import Machine

VARIANTS_BY_CUDA: Mapping[str, str] = {"12.4": "cu124", "12.8": "cu128"}
"""``--cuda`` → the lock: torch 2.6.0 is built for CUDA 12.4, torch 2.8.0 for 12.8."""

NEEDS_CUDA_12_8 = (10, 0)
"""Compute capability of Blackwell (RTX 50, B200): torch 2.6.0's wheels hold no code for it."""


def suited_variants(machine: Machine) -> tuple[str, ...]:
    """The environments that run on this machine, the preferred one first.

    The older one is the default: it is what the engine's own guide asks for.
    """
    if any(gpu.capability >= NEEDS_CUDA_12_8 for gpu in machine.gpus):
        return ("cu128",)
    return ("cu124", "cu128")


def choose_engine(env: Mapping[str, str], machine: Machine) -> EngineHome:
    """The first suited environment that is ready, else the preferred one, to be installed."""
    homes = [locate_engine(env, variant=variant) for variant in suited_variants(machine)]
    return next((home for home in homes if engine_status(home).usable), homes[0])
