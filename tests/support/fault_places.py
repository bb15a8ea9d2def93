"""Odd places and odd clocks: paths, read-only folders, file times, a clock that is a year off, secrets."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from fault_damage import copied
from fault_tally import Reference, Tally, as_reference, resume
from fault_watching import ended, steps_taken, wait_until
from fault_world import FORGE, World

from lora_forge.runs.record import read_run

ODD_NAMES = {
    "spaces": "a run  with spaces ",
    "quotes": 'it\'s "so" `called` $HOME',
    "newline": "one\ntwo",
    "dash": "--dry-run",
    "backslash": "a\\nb",
    "unicode": "Überläufer-猫",
    "255 bytes": "x" * 255,
}
YEAR_S = 365 * 86400
SHIFTS = ((YEAR_S, -YEAR_S), (-YEAR_S, YEAR_S), (YEAR_S, 0))
SHIFTED = Path(__file__).parents[1] / "faults" / "shifted_clock"
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24


def odd_paths(world: World) -> Tally:
    """Run directories and dataset folders of every name that the filesystem takes; what is no UTF-8 is refused."""
    tally = Tally("paths: spaces, quotes, newline, dashes, 255 bytes; not UTF-8")
    for what, name in ODD_NAMES.items():
        photos, run = world.project / "odd" / name, world.project / "odd-runs" / name
        shutil.copytree(world.project / "photos", photos)
        code, told = world.forge(*world.arguments(f"--run-dir={run}", f"--dataset={photos}"))
        tally.note("" if code == 0 else f"{what}: exit {code}, {told['error']}")
    raw = os.fsencode(world.project) + b"/bad-\xff"
    process = subprocess.Popen(
        [os.fsencode(FORGE), *map(os.fsencode, world.arguments()), b"--run-dir", raw],
        cwd=world.project,
        env=world.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    code, told = ended(process)
    named = code == 3 and "bad-" in told["error"]["message"]
    tally.note("" if named else f"not UTF-8: exit {code}, {told['error']}")
    return tally


# Clocks and file times.


def clocks(world: World, reference: Reference, stopped: Path, shifts: Sequence[tuple[int, int]] = SHIFTS) -> Tally:
    """An attempt a year ahead, one a year behind, one on time; and every file of a run of one and the same time."""
    tally = Tally("clock a year ahead and behind; all file times equal")
    for first, second in shifts:
        run = world.project / "runs" / f"clock{first}{second}"
        tally.note(_across_years(world, reference, run, first, second))
    run = copied(stopped, world.project / "runs" / "same-times")
    newest = max(read_run(run).states, key=lambda state: state.step)
    for path in (run, *run.rglob("*")):
        os.utime(path, (1e9, 1e9), follow_symlinks=False)
    code, told = resume(world, run, by_id=True)
    went_on = any(f"goes on from step {newest.step} of" in finding["message"] for finding in told["findings"])
    tally.note("" if code == 0 and went_on else f"equal times: exit {code}, {told['error']}, {told['findings']}")
    tally.note(as_reference(run, reference))
    return tally


def _across_years(world: World, reference: Reference, run: Path, first: int, second: int) -> str:
    process = world.train("--run-dir", str(run), FAKE_STEP_S="0.2", **_shifted(world, first))
    wait_until(lambda: len(steps_taken(run)) >= 7, process)
    process.send_signal(signal.SIGTERM)
    code, told = ended(process)
    if code != 143:
        return f"{run.name}: exit {code}, {told['error']}"
    code, told = ended(world.train("--resume", "--run-dir", str(run), **_shifted(world, second)))
    if code:
        return f"{run.name}: exit {code}, {told['error']}"
    return as_reference(run, reference)


def _shifted(world: World, seconds: int) -> dict[str, str]:
    return {"PYTHONPATH": str(SHIFTED), "CLOCK_SHIFT_S": str(seconds)} if seconds else {}


# Folders that may not be written.


def read_only(world: World, reference: Reference, stopped: Path) -> Tally:
    """Pictures, base model and engine are only ever read; a run that cannot be written is refused in words."""
    tally = Tally("read-only pictures, base model, engine; project, run directory")
    photos, engine = world.project / "photos", world.home
    for what, folders in {"pictures": [photos], "base model": [world.root], "engine": _below(engine)}.items():
        run = world.project / f"read-only-{what.split()[0]}"
        with without_write(folders):
            code, told = _as_person(world, "--run-dir", str(run))
        tally.note(as_reference(run, reference) if code == 0 else f"{what}: exit {code}, {told['error']}")
    with without_write([world.project]):
        code, told = _as_person(world, "--run-dir", str(world.project / "denied" / "run"))
    tally.note("" if _told_where(code, told, "denied") else f"project: exit {code}, {told['error']}")
    run = copied(stopped, world.project / "runs" / "denied-001")
    with without_write(_below(run)):
        code, told = _as_person(world, "--resume", "--run-dir", str(run))
    tally.note("" if _told_where(code, told, "denied-001") else f"run: exit {code}, {told['error']}")
    code, told = resume(world, run)
    tally.note(as_reference(run, reference) if code == 0 else f"run, writable again: {code}, {told['error']}")
    return tally


def _told_where(code: int, told: dict[str, Any], name: str) -> bool:
    text = str(told["error"])
    why = "Permission denied" in text or "read-only" in text
    return code == 3 and name in text and why and "(None)" not in text


def _below(folder: Path) -> list[Path]:
    return [folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]


@contextmanager
def without_write(folders: list[Path]) -> Iterator[None]:
    before = {folder: folder.stat().st_mode for folder in folders}
    for folder in folders:
        folder.chmod(0o555)
    try:
        yield
    finally:
        for folder, mode in before.items():
            folder.chmod(mode)


def _as_person(world: World, *more: str) -> tuple[int, dict[str, Any]]:
    return ended(world.start(*world.arguments(*more), preexec_fn=give_up_override))


def give_up_override() -> None:
    """Root writes whatever the mode says; without these two capabilities it is a person like others."""
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


# Secrets.

CANARY = "canary-8c1f"
SECRETS = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "DATABASE_PASSWORD", "PYTORCH_CUDA_ALLOC_CONF_TOKEN")


def canaries(world: World) -> Tally:
    """Secrets in the environment turn up in no file, in nothing that is printed, and in no process list."""
    tally, run = Tally("canary secrets in run directory, logs, output and `ps`"), world.project / "canary"
    process = world.train("--run-dir", str(run), FAKE_STEP_S="0.1", **dict.fromkeys(SECRETS, CANARY))
    wait_until(lambda: steps_taken(run), process)
    listed = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, check=False).stdout.decode()
    seen = [line for line in (listed or _command_lines()).splitlines() if str(run) in line or "fake_engine" in line]
    assert len(seen) >= 2, "forge and the engine were looked at while they ran"
    for line in seen:
        tally.note("in the process list" if CANARY in line else "")
    out, err = process.communicate()
    tally.note("" if CANARY.encode() not in out + err else "printed")
    for path in (*run.rglob("*"), *world.home.rglob("*")):
        if path.is_file():
            tally.note(f"{path.name} holds it" if CANARY.encode() in path.read_bytes() else "")
    return tally


def _command_lines() -> str:
    return "\n".join(" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
