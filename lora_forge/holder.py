"""Who holds a lock: a process, named so that one that is gone is never taken for one that lives.

No host name is written, only a digest of the machine's id.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path


@dataclass(frozen=True)
class Holder:
    """A process: ``ticks`` is the process's start as the kernel counts it, ``since`` as people do."""

    pid: int
    ticks: int
    since: str
    boot: str
    machine: str

    def lives(self) -> bool:
        """Whether that very process runs now; a reused pid started at another tick, a reboot counts anew."""
        return self.boot == boot_id() and self.ticks == start_ticks(self.pid) and self.ticks != 0

    def is_foreign(self) -> bool:
        """Whether it may run on another machine; the same machine after a reboot is not one."""
        return self.boot != boot_id() and self.machine != machine_id()

    def as_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def myself() -> Holder:
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Holder(os.getpid(), start_ticks(os.getpid()), since, boot_id(), machine_id())


def read_json(text: bytes) -> Holder | None:
    """A holder as it was written; None where that makes no sense."""
    try:
        told = json.loads(text)
        return Holder(int(told["pid"]), int(told["ticks"]), *(str(told[key]) for key in ("since", "boot", "machine")))
    except (ValueError, KeyError, TypeError):
        return None


def start_ticks(pid: int) -> int:
    """When the process started, in ticks since boot; 0 where that cannot be known or it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    after_name = text.rpartition(")")[2].split()  # the name may hold spaces and parentheses
    return 0 if after_name[0] == "Z" else int(after_name[19])


def boot_id() -> str:
    """The kernel's name for this boot."""
    return _first_line("/proc/sys/kernel/random/boot_id")


def machine_id() -> str:
    """The machine, as a digest that names nobody."""
    own = _first_line("/etc/machine-id") + "\0" + platform.node()
    return hashlib.sha256(b"lora_forge\0" + own.encode()).hexdigest()[:16]


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
