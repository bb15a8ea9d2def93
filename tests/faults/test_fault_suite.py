"""The quick cut of the fault suite: every row of ``scripts/faults``, a few of each."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_suite import QUICK, Suite

pytestmark = pytest.mark.processes

ELSEWHERE = ("real-engine",)
"""The engine tier kills the real engine: tests/engine/test_resume_run.py."""
ROWS = [row for row in Suite(Path(), QUICK).rows() if row not in ELSEWHERE]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return Suite(tmp_path_factory.mktemp("suite"), QUICK)


@pytest.mark.parametrize("row", ROWS)
def test_nothing_is_lost_doubled_or_misreported(suite: Suite, row: str) -> None:
    tally = suite.rows()[row]()
    if tally.not_tried:
        pytest.skip(f"{row} {tally.not_tried}")
    assert tally.tried
    assert tally.wrong == []
