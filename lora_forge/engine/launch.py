"""The command that trains: accelerate, the guest or the engine's own script, and the environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_forge.engine.home import EngineHome
from lora_forge.engine.options import check_options, load_options
from lora_forge.engine.render import (
    RunFiles,
    missing_models,
    prompt_document,
    train_options,
)
from lora_forge.engine.render_dataset import dataset_document
from lora_forge.engine.toml_text import dump_toml
from lora_forge.families.family import Family
from lora_forge.findings import Finding
from lora_forge.machine import Machine
from lora_forge.plan.model import Plan

GUEST = Path(__file__).resolve().parent.parent / "guest" / "train.py"
GPU_THREADS = 1
"""CPU threads a process where a GPU computes: the engine's guide."""


@dataclass(frozen=True)
class Rendered:
    """All that a run is started from. ``plain_argv`` runs the engine's own script, without forge."""

    train_toml: str
    dataset_toml: str
    prompts: str
    argv: tuple[str, ...]
    plain_argv: tuple[str, ...] | None
    plain_argv_why: str
    env: Mapping[str, str]
    findings: tuple[Finding, ...]


def render(plan: Plan, family: Family, files: RunFiles, home: EngineHome, machine: Machine) -> Rendered:
    """Render everything and check every option against the engine's own parser table.

    Raises:
        PlanError: a path or value cannot be written as TOML.
    """
    options = train_options(plan, family, files)
    findings = check_options(load_options(family.script), options)
    launcher = _launcher(plan, home, machine)
    arguments = ("--config_file", str(files.train_toml))
    two_phase = plan.text_encoder.mode.value == "two-phase"
    return Rendered(
        train_toml=_missing_note(family, files) + dump_toml(options),
        dataset_toml=dump_toml(dataset_document(plan, files)),
        prompts=json.dumps(prompt_document(plan, family), ensure_ascii=False, indent=1) + "\n",
        argv=(*launcher, str(GUEST), *arguments),
        plain_argv=None if two_phase else (*launcher, str(home.checkout / f"{family.script}.py"), *arguments),
        plain_argv_why="the engine alone cannot freeze a text encoder half-way" if two_phase else "",
        env=_environment(plan, family, home),
        findings=tuple(findings),
    )


def _missing_note(family: Family, files: RunFiles) -> str:
    flags = missing_models(family, files)
    return f"# not complete: give {', '.join(flags)}\n" if flags else ""


def _launcher(plan: Plan, home: EngineHome, machine: Machine) -> tuple[str, ...]:
    """Accelerate with every choice spelled out, so that no user-wide accelerate configuration decides."""
    gpus = plan.gpus.value
    threads = GPU_THREADS if machine.gpus else machine.cpu_count
    return (
        str(home.python),
        *("-m", "accelerate.commands.launch"),
        *("--num_machines", "1"),
        *("--num_processes", str(gpus)),
        *(("--multi_gpu",) if gpus > 1 else ()),
        *("--mixed_precision", plan.precision.mixed.value),
        *("--dynamo_backend", "no"),
        *("--num_cpu_threads_per_process", str(threads)),
    )


def _environment(plan: Plan, family: Family, home: EngineHome) -> dict[str, str]:
    """Only what forge adds; the caller's own environment stays."""
    env = {
        "FORGE_GUEST_SCRIPT": family.script,
        "FORGE_GUEST_CHECKOUT": str(home.checkout),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if plan.text_encoder.switch_step.value is not None:
        env["FORGE_GUEST_TE_STOP_STEP"] = str(plan.text_encoder.switch_step.value)
    return env
