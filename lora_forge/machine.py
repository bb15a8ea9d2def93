"""What this machine has: GPUs, memory, processors, free disk. Nothing here needs torch or CUDA."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_GIB = 2**30
_BF16_CAPABILITY = (8, 0)  # Ampere, the first with bf16 arithmetic


@dataclass(frozen=True)
class Gpu:
    """One CUDA device; ``vram_gib`` is all of its memory, not what is free."""

    name: str
    vram_gib: float
    bf16: bool
    capability: tuple[int, int]


@dataclass(frozen=True)
class Machine:
    """What a plan may count on; a container's limits are already applied."""

    gpus: tuple[Gpu, ...]
    ram_gib: float
    cpu_count: int
    disk_free_gib: float | None


def probe_machine(run_root: Path, *, env: Mapping[str, str] | None = None, system_root: Path = Path("/")) -> Machine:
    """Look at the machine as the engine's process would see it, and never fail.

    ``env`` stands in for the environment (``CUDA_VISIBLE_DEVICES`` hides GPUs);
    ``system_root`` is where ``/sys/fs/cgroup`` is looked up. Disk is what is free
    where runs are kept, None where that cannot be asked.
    """
    visible = (os.environ if env is None else env).get("CUDA_VISIBLE_DEVICES")
    return Machine(
        gpus=_probe_gpus(visible),
        ram_gib=_ram_bytes(system_root) / _GIB,
        cpu_count=_cpu_count(system_root),
        disk_free_gib=_disk_free_gib(run_root),
    )


def _probe_gpus(visible: str | None) -> tuple[Gpu, ...]:
    """Ask the driver's own library; without a driver there is no GPU."""
    if (visible is not None and not visible.strip()) or not _has_driver():
        return ()
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        handles = list(_handles(pynvml, visible))
        return tuple(gpu for handle in handles if (gpu := _read_gpu(pynvml, handle)))
    except pynvml.NVMLError:
        return ()
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _has_driver() -> bool:
    """Whether the library that pynvml would open is there, at a tenth of the cost of importing pynvml."""
    import ctypes

    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return os.name != "posix"  # elsewhere it has another name: let pynvml look
    return True


def _handles(nvml: Any, visible: str | None) -> Iterator[Any]:
    """The devices that CUDA would show: its rule is to stop at the first entry that names none."""
    count = nvml.nvmlDeviceGetCount()
    if visible is None:
        yield from (nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count))
        return
    for entry in (part.strip() for part in visible.split(",")):
        handle = _handle(nvml, entry, count)
        if handle is None:
            return
        yield handle


def _handle(nvml: Any, entry: str, count: int) -> Any | None:
    if entry.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(entry)) if int(entry) < count else None
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    try:
        return nvml.nvmlDeviceGetHandleByUUID(entry.encode())
    except nvml.NVMLError:
        return _handle_by_prefix(nvml, entry, count)


def _handle_by_prefix(nvml: Any, entry: str, count: int) -> Any | None:
    """CUDA accepts the beginning of an identifier where it is unique."""
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    matching = [handle for handle in handles if _text(nvml.nvmlDeviceGetUUID(handle)).startswith(entry)]
    return matching[0] if len(matching) == 1 else None


def _read_gpu(nvml: Any, handle: Any) -> Gpu | None:
    """One device, or None where the driver has lost it."""
    try:
        name = _text(nvml.nvmlDeviceGetName(handle))
        vram = nvml.nvmlDeviceGetMemoryInfo(handle).total
        capability = _capability(nvml, handle)
    except nvml.NVMLError:
        return None
    return Gpu(name, vram / _GIB, capability >= _BF16_CAPABILITY, capability)


def _capability(nvml: Any, handle: Any) -> tuple[int, int]:
    """Of the device, or for a MIG slice of the device that it is cut from."""
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        parent = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(parent)
    return int(major), int(minor)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _ram_bytes(system_root: Path) -> int:
    """Physical memory, or a container's limit where that is lower (cgroup v2, then v1)."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cgroup = system_root / "sys/fs/cgroup"
    limits = [_first_number(cgroup / "memory.max"), _first_number(cgroup / "memory/memory.limit_in_bytes")]
    return min([physical, *(limit for limit in limits if limit)])


def _cpu_count(system_root: Path) -> int:
    """The processors this process may use, or a container's share of them, rounded up."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = _cpu_share(system_root / "sys/fs/cgroup")
    return max(1, min(usable, math.ceil(share))) if share else usable


def _cpu_share(cgroup: Path) -> float | None:
    words = _words(cgroup / "cpu.max")
    if not words:
        quota, period = cgroup / "cpu/cpu.cfs_quota_us", cgroup / "cpu/cpu.cfs_period_us"
        words = [*_words(quota)[:1], *_words(period)[:1]]
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1])


def _first_number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].isdigit() else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return []


def _disk_free_gib(run_root: Path) -> float | None:
    """Free space where ``run_root`` lies or will lie; None where that cannot be asked."""
    try:
        return shutil.disk_usage(nearest_folder(run_root)).free / _GIB
    except OSError:
        return None


def nearest_folder(path: Path) -> Path:
    """The folder itself or the nearest one above it that exists."""
    whole = path.absolute()
    return next((folder for folder in (whole, *whole.parents) if folder.is_dir()), whole)
