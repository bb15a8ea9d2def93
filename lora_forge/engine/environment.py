"""The engine's own virtual environment, from the hashed lock that forge ships.

A virtual environment cannot be moved, so it is built in its final place; its
stamp, written last and only after the imports passed, is what makes it ready.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from lora_forge.engine.children import Ended, run_child
from lora_forge.engine.home import PYTHON_RANGE, EngineHome, suits_engine
from lora_forge.engine.probe import probe
from lora_forge.engine.stamps import (
    ENVIRONMENT_STAMP,
    EnvironmentStamp,
    read_environment_stamp,
    write_environment_stamp,
)
from lora_forge.engine.using import replacing
from lora_forge.errors import EngineError
from lora_forge.whole_file import sync_directory

Report = Callable[[str], None]
Run = Callable[[Sequence[str]], Ended]


def ensure_environment(home: EngineHome, report: Report, *, force: bool, held: int) -> None:
    """Leave a working environment behind; the caller holds ``home.environment_lock`` as ``held``.

    Every child inherits ``held``: should forge be killed, nobody else starts in
    this folder before the package installer or the imports have ended too.

    Raises:
        Locked: a training uses the environment that would have to go.
    """
    if not force and not environment_fault(home):
        return
    with replacing(home.environment):
        _build(home, report, held)
    report(f"engine environment ready in {home.environment}")


def _build(home: EngineHome, report: Report, held: int) -> None:
    run = partial(_run, cwd=home.environment.parent, report=report, held=held)
    with _writing(home.environment):
        discard(home.environment)
    create(home, run, report)
    fill(home, run, report)
    stamp = proven(home, report, held)
    with _writing(home.environment):
        write_environment_stamp(home.environment, stamp)


@contextmanager
def _writing(environment: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise EngineError(
            f"cannot build the engine's environment in {environment}: {problem.strerror or problem}",
            "check free space and permissions there, or set FORGE_HOME",
        ) from problem


def environment_fault(home: EngineHome) -> str:
    """Say why the environment is not ready, from its stamp alone; empty where it is."""
    if not home.environment.exists():
        return "there is no environment"
    stamp = read_environment_stamp(home.environment)
    if stamp is None:
        return "its environment was never finished"
    if stamp.lock_sha256 != home.lock_sha256:
        return "its environment was built from another lock"
    return "" if home.python.exists() else "its Python interpreter is gone"


def discard(environment: Path) -> None:
    """Remove an environment; the stamp goes first, so that half of one never counts as ready."""
    (environment / ENVIRONMENT_STAMP).unlink(missing_ok=True)
    if environment.exists():
        sync_directory(environment)
        shutil.rmtree(environment)


def create(home: EngineHome, run: Run, report: Report) -> None:
    """An empty environment on forge's own Python where the engine runs on it, else one that uv finds."""
    own = suits_engine(sys.version_info[:2])
    wanted = sys.executable if own else PYTHON_RANGE
    report(f"creating the engine's environment in {home.environment}")
    if uv := find_uv():
        argv = [uv, "venv", "--quiet", "--no-project", "--python", wanted, str(home.environment)]
    elif own:
        argv = [wanted, "-m", "venv", str(home.environment)]
    else:
        found = ".".join(map(str, sys.version_info[:2]))
        raise EngineError(f"the engine runs on Python 3.10 to 3.12, forge on {found}", "install uv, which finds one")
    expect_success(run(argv), "creating the engine's environment")


def fill(home: EngineHome, run: Run, report: Report) -> None:
    """Install the lock: every file by its hash, wheels only, so that nothing unlocked is run to build one."""
    report(f"installing {home.lock.name} (a first download is about 3 GB)")
    python, lock = str(home.python), str(home.lock)
    if uv := find_uv():
        argv = [uv, "pip", "install", "--python", python, "--require-hashes", "--no-build", "-r", lock]
    else:
        pip = [
            python,
            "-m",
            "pip",
            "install",
            "--no-input",
            "--progress-bar=off",
            "--disable-pip-version-check",
        ]
        argv = [*pip, "--require-hashes", "--only-binary=:all:", "-r", lock]
    expect_success(run(argv), f"installing {home.lock.name}")


def proven(home: EngineHome, report: Report, held: int) -> EnvironmentStamp:
    """Import what the engine needs; only then is there a stamp to write."""
    report(f"importing {', '.join(home.packages)}")
    found = probe(home.python, home.packages, keep_open=(held,))
    if found.failed:
        module, problem = next(iter(found.failed.items()))
        raise EngineError(f"{module} does not import in the engine's Python: {problem}", "run the install again")
    return EnvironmentStamp(home.lock_sha256, found.python, found.versions.get("torch", ""))


def find_uv() -> str | None:
    """Find uv: on the path, else the one that ``scripts/setup`` left beside forge's own environment; one that runs."""
    beside = Path(sys.prefix) / "uv" / "bin" / "uv"
    return next((uv for uv in (shutil.which("uv"), str(beside)) if uv and _runs(uv)), None)


def _runs(uv: str) -> bool:
    """A version manager may leave a shim that does not."""
    try:
        asked = subprocess.run([uv, "--version"], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except OSError:
        return False
    return asked.returncode == 0


def expect_success(ended: Ended, doing: str) -> None:
    """Turn an installer's failure into one sentence: its complaint, and the likely way out."""
    if ended.returncode == 0:
        return
    hint = next(
        (hint for sign, hint in HINTS.items() if sign.lower() in ended.tail.lower()),
        "what it printed above says more; run it again",
    )
    raise EngineError(f"{doing} failed (exit {ended.returncode}): {complaint(ended.tail)}", hint)


def complaint(tail: str) -> str:
    """What a tool said from its first error on, as one line.

    >>> complaint("Resolved 3 packages\\nerror: no wheel\\n  cause: none fits")
    'error: no wheel; cause: none fits'
    """
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    first = next((at for at, line in enumerate(lines) if "error" in line.lower()), max(len(lines) - 3, 0))
    return "; ".join(lines[first:])[:600] or "it said nothing"


HINTS = {
    "No interpreter found": "uv python install 3.12",
    "a managed Python": "uv python install 3.12",
    "No space left": "free some disk space, or set FORGE_HOME to a larger disk",
    "hash": "a package differs from the lock: check the package index in use, never skip the hashes",
    "ensurepip": "install uv, or your system's python3-venv package",
    "dns error": "check the network, the proxy and the package index in use",
    "resolve": "check the network, the proxy and the package index in use",
    "connect": "check the network, the proxy and the package index in use",
    "timed out": "check the network, the proxy and the package index in use",
}


def _run(argv: Sequence[str], *, cwd: Path, report: Report, held: int) -> Ended:
    return run_child(argv, cwd=cwd, report=lambda line: _pass_on(line, report), keep_open=(held,))


def _pass_on(line: str, report: Report) -> None:
    """Stages and downloads, not the eighty package names."""
    if line.strip() and not line.startswith((" + ", " - ", " ~ ")):
        report(line.strip())
