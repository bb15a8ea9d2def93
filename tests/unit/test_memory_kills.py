"""The kernel's counts of kills for memory: of the own control group where there is one, else of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_forge.runs.memory_kills import memory_kills

VMSTAT = {"proc/vmstat": "nr_free_pages 12\noom_kill 7\n"}


def draw(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ({"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/memory.events": "oom 3\noom_kill 2\n"}, 2),
        ({"proc/self/cgroup": "0::/outside\n", "sys/fs/cgroup/memory.events": "oom_kill 1\n"}, 1),
        (
            {
                "proc/self/cgroup": "4:cpu,memory:/a/b\n0::/\n",
                "sys/fs/cgroup/memory/a/b/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
            },
            3,
        ),
        ({"proc/self/cgroup": "0::/\n"}, 7),
        ({}, 7),
    ],
    ids=["version 2", "a container", "version 1", "no group", "no cgroup"],
)
def test_the_nearest_count_is_read(tmp_path: Path, files: dict[str, str], kills: int) -> None:
    assert memory_kills(draw(tmp_path, {**VMSTAT, **files})) == kills


def test_a_system_that_counts_nothing_gives_no_evidence(tmp_path: Path) -> None:
    assert memory_kills(tmp_path) is None
