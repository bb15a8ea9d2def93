"""Install the engine: its source, then its environment, each under a lock and safe to interrupt."""

from __future__ import annotations

from collections.abc import Callable

from lora_forge.engine.checkout import ensure_checkout
from lora_forge.engine.environment import ensure_environment
from lora_forge.engine.holding import holding
from lora_forge.engine.home import EngineHome
from lora_forge.engine.pin import REPOSITORY
from lora_forge.engine.status import EngineState, EngineStatus, engine_status, verify_engine

__all__ = ["EngineState", "EngineStatus", "engine_status", "install_engine", "verify_engine"]


def install_engine(
    home: EngineHome,
    *,
    repository: str = REPOSITORY,
    commit: str | None = None,
    report: Callable[[str], None],
    force: bool = False,
) -> EngineStatus:
    """Leave a good engine behind, whatever was there; what is already good is kept.

    ``commit`` defaults to the pin. Run twice at once, the second waits and then
    finds the work done; ``force`` makes both anew.

    Raises:
        Locked: a training uses what would have to be replaced.
    """
    with holding(home.checkout_lock, report):
        ensure_checkout(home, repository, commit or home.commit, report, force=force)
    with holding(home.environment_lock, report) as held:
        ensure_environment(home, report, force=force, held=held)
    return engine_status(home)
