"""The probe of GPU, memory, processors and disk, on machines that do not exist."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lora_forge import machine
from lora_forge.machine import Gpu, probe_machine


class FakeNvmlError(Exception):
    pass


class FakeNvml(ModuleType):
    """Three cards, as a driver would answer for them; the third has fallen off the bus."""

    NVMLError = FakeNvmlError
    cards = (("RTX 4090", 24, (8, 9)), ("T4", 16, (7, 5)), ("lost", 0, (0, 0)))

    def __init__(self, present: int = 2) -> None:
        super().__init__("pynvml")
        self.present = present
        self.open = False

    def nvmlInit(self) -> None:
        self.open = True

    def nvmlShutdown(self) -> None:
        self.open = False

    def nvmlDeviceGetCount(self) -> int:
        return self.present

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes) -> int:
        known = {b"GPU-a1-0": 0, b"GPU-b2-0": 1}
        if uuid not in known:
            raise FakeNvmlError
        return known[uuid]

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return ("GPU-a1-0", "GPU-b2-0", "GPU-b3-0")[handle]

    def nvmlDeviceGetName(self, handle: int) -> bytes | str:
        name = self.cards[handle][0]
        if name == "lost":
            raise FakeNvmlError
        return name.encode() if handle == 1 else name

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> object:
        class Info:
            total = self.cards[handle][1] * 2**30

        return Info

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return self.cards[handle][2]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(machine, "_has_driver", lambda: True)
    return fake


def names(env: dict[str, str], tmp_path: Path) -> list[str]:
    return [gpu.name for gpu in probe_machine(tmp_path, env=env).gpus]


def test_each_card_is_described_and_bf16_needs_ampere(nvml: FakeNvml, tmp_path: Path) -> None:
    assert probe_machine(tmp_path, env={}).gpus == (
        Gpu("RTX 4090", 24.0, True, (8, 9)),
        Gpu("T4", 16.0, False, (7, 5)),
    )
    assert not nvml.open


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("", []),
        (" ", []),
        ("-1", []),
        ("1", ["T4"]),
        ("1,0", ["T4", "RTX 4090"]),
        ("1,7,0", ["T4"]),
        ("none", []),
        ("GPU-b2-0", ["T4"]),
        ("GPU-a1", ["RTX 4090"]),
        ("GPU-", []),
        ("GPU-zz", []),
    ],
)
def test_hidden_cards_are_not_seen(nvml: FakeNvml, tmp_path: Path, visible: str, expected: list[str]) -> None:
    assert names({"CUDA_VISIBLE_DEVICES": visible}, tmp_path) == expected


def test_a_card_that_the_driver_has_lost_is_left_out(nvml: FakeNvml, tmp_path: Path) -> None:
    nvml.present = 3
    assert names({}, tmp_path) == ["RTX 4090", "T4"]


def test_a_driver_that_does_not_answer_means_no_card(
    nvml: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise FakeNvmlError

    monkeypatch.setattr(nvml, "nvmlInit", fail)
    assert names({}, tmp_path) == []


def test_without_a_driver_pynvml_is_not_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_has_driver", lambda: False)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert names({}, tmp_path) == []


def limit(root: Path, name: str, text: str) -> None:
    path = root / "sys/fs/cgroup" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_a_container_limit_bounds_the_memory(tmp_path: Path, name: str) -> None:
    limit(tmp_path, name, f"{2**28}\n")
    assert probe_machine(tmp_path, env={}, system_root=tmp_path).ram_gib == 0.25


@pytest.mark.parametrize("text", ["max\n", "9223372036854771712\n", "", "nonsense"])
def test_no_limit_means_all_of_the_memory(tmp_path: Path, text: str) -> None:
    limit(tmp_path, "memory.max", text)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    assert probe_machine(tmp_path, env={}, system_root=tmp_path).ram_gib == physical


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu.max": "1 0"}, 8),
        ({}, 8),
    ],
)
def test_a_share_of_processors_is_rounded_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], count: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name, text in files.items():
        limit(tmp_path, name, text)
    assert probe_machine(tmp_path, env={}, system_root=tmp_path).cpu_count == count


def test_the_disk_is_asked_where_runs_will_lie(tmp_path: Path) -> None:
    free = probe_machine(tmp_path / "not" / "yet", env={}).disk_free_gib
    assert free is not None
    assert free > 0
