"""The engine, where this machine has it; a test that needs it says loudly when it has not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from installed_engine import installed_engine, lacking

from lora_forge.engine.home import locate_engine
from lora_forge.engine.pin import COMMIT
from lora_forge.engine.stamps import read_head


@pytest.fixture(scope="session")
def engine_checkout() -> Path:
    """The engine's source at the pin: ``FORGE_TEST_ENGINE``, else where ``forge engine install`` puts it."""
    named = os.environ.get("FORGE_TEST_ENGINE")
    checkout = Path(named) if named else locate_engine(os.environ).checkout
    head = read_head(checkout)
    if head != COMMIT:
        reason = f"NO ENGINE SOURCE: {checkout} is at {head}, not at {COMMIT}; run `forge engine install`"
        if named:
            pytest.fail(reason)
        lacking(reason)
    return checkout


@pytest.fixture(scope="session")
def engine_python() -> Path:
    """The engine's own Python, with torch."""
    return installed_engine().python
