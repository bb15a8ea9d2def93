"""One world a module, and the run in it that nobody touched."""

from __future__ import annotations

import fault_cases as faults
import pytest
from fault_world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def undisturbed(world: World) -> faults.Reference:
    return faults.reference_of(world)
