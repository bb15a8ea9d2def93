"""The demo: small models and drawn pictures, made here, and a real training on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import EngineError
from lora_forge.workflow.invocation import Invocation
from lora_forge.workflow.run_task import RunResult, Watcher
from lora_forge.workflow.run_training import start_run

if TYPE_CHECKING:
    from lora_forge.settings import Value


def run_demo(
    folder: Path, steps: int, env: Mapping[str, str], watcher: Watcher, report: Callable[[str], None]
) -> RunResult:
    """Make the demo's models and pictures, then train ``identity`` on them; nothing but steps and sampling differs.

    Raises:
        EngineError: the engine is not ready.
        ForgeError: as ``start_run``.
    """
    from lora_forge.demo.assets import prepare_demo
    from lora_forge.engine.choice import choose_engine
    from lora_forge.engine.status import engine_status
    from lora_forge.machine import probe_machine
    from lora_forge.project.request import without_requests

    home = choose_engine(env, probe_machine(folder, env=env))
    status = engine_status(home)
    if not status.usable:
        raise EngineError(f"the demo trains through the engine: {status.reason}", "forge engine install")
    folder = folder.absolute()
    report(f"making the demo's models and pictures in {folder}")
    assets = prepare_demo(folder, engine_python=home.python, engine_checkout=home.checkout)
    flags: dict[str, Value] = {
        "preset": "identity",
        "dataset": str(assets.dataset),
        "trigger": assets.trigger,
        "model": str(assets.model),
        "clip_l": str(assets.clip_l),
        "t5xxl": str(assets.t5xxl),
        "ae": str(assets.ae),
        "tokenizers": str(assets.tokenizer_cache),
        "runs": str(folder / "runs"),
    }
    only = (f"schedule.steps={steps}", "sampling.enabled=false")
    call = Invocation(flags, only, without_requests(env), folder)
    return start_run(call, watcher)
