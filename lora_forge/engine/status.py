"""What state the engine is in: cheaply from its stamps, or thoroughly by asking it."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lora_forge.engine.environment import environment_fault
from lora_forge.engine.home import EngineHome
from lora_forge.engine.probe import Probe, probe
from lora_forge.engine.stamps import read_checkout_stamp, read_environment_stamp, read_head
from lora_forge.errors import EngineError
from lora_forge.findings import Finding, Severity, error, warning

INSTALL = "forge engine install"


class EngineState(str, Enum):
    """``moved``: whole, but not at the commit that this forge was made for."""

    READY = "ready"
    INCOMPLETE = "incomplete"
    MISSING = "missing"
    MOVED = "moved"


class EngineStatus(BaseModel):
    """What ``forge engine status`` prints. ``reason`` is empty where the state is ready.

    ``versions``, ``cuda`` and ``device`` are known only after the engine was
    asked (``verified``): they cost an import of torch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: EngineState
    reason: str = ""
    checkout: Path
    environment: Path
    python: Path
    variant: str
    pin: str
    repository: str | None = None
    commit: str | None = None
    lock_sha256: str
    python_version: str | None = None
    torch: str | None = None
    verified: bool = False
    versions: dict[str, str] = {}
    cuda: str | None = None
    cuda_available: bool | None = None
    device: str | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether a training may start: ready, or moved on purpose."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)


def engine_status(home: EngineHome) -> EngineStatus:
    """Read stamps and ``.git/HEAD``, nothing else: no git, no import, a few small files."""
    checkout = read_checkout_stamp(home.checkout)
    environment = read_environment_stamp(home.environment)
    findings = tuple(_faults(home))
    return EngineStatus(
        state=_state(home, findings),
        reason="; ".join(finding.message for finding in findings),
        checkout=home.checkout,
        environment=home.environment,
        python=home.python,
        variant=home.variant,
        pin=home.commit,
        repository=checkout.repository if checkout else None,
        commit=read_head(home.checkout),
        lock_sha256=home.lock_sha256,
        python_version=environment.python if environment else None,
        torch=environment.torch or None if environment else None,
        findings=findings,
    )


def verify_engine(home: EngineHome) -> EngineStatus:
    """Ask git and the engine's own Python: commit, clean tree, sparse set, lock, real imports."""
    status = engine_status(home)
    if not status.usable:
        return status
    problems = _tree_problems(home, status.commit or "")
    try:
        found: Probe | None = probe(home.python, (*home.packages, *home.scripts), checkout=home.checkout)
    except EngineError as problem:
        found = None
        problems.append(error("engine-imports", problem.message, problem.hint))
    if found:
        problems += [_import_problem(*failure) for failure in found.failed.items()]
    return _verified(status, found, tuple(problems))


def _verified(status: EngineStatus, found: Probe | None, problems: tuple[Finding, ...]) -> EngineStatus:
    heard = {}
    if found:
        heard = {
            "versions": dict(sorted(found.versions.items())),
            "python_version": found.python,
            "cuda": found.cuda or None,
            "cuda_available": found.cuda_available,
            "device": found.device or None,
        }
    findings = status.findings + problems
    return status.model_copy(
        update={
            **heard,
            "verified": not problems,
            "state": EngineState.INCOMPLETE if problems else status.state,
            "reason": "; ".join(finding.message for finding in findings),
            "findings": findings,
        }
    )


def _tree_problems(home: EngineHome, commit: str) -> list[Finding]:
    from lora_forge.engine.checkout import checkout_fault
    from lora_forge.engine.worktree import require_git

    try:
        require_git()
    except EngineError as problem:
        return [error("engine-checkout", problem.message, problem.hint)]
    fault = checkout_fault(home.checkout, commit)
    return [error("engine-checkout", f"the engine's source: {fault}", INSTALL, str(home.checkout))] if fault else []


def _import_problem(module: str, problem: str) -> Finding:
    return error("engine-imports", f"{module} does not import in the engine's Python: {problem}", f"{INSTALL} --force")


def _state(home: EngineHome, findings: tuple[Finding, ...]) -> EngineState:
    if not findings:
        return EngineState.READY
    if not home.checkout.exists() and not home.environment.exists():
        return EngineState.MISSING
    moved = all(finding.code == "engine-moved" for finding in findings)
    return EngineState.MOVED if moved else EngineState.INCOMPLETE


def _faults(home: EngineHome) -> list[Finding]:
    if not home.checkout.exists() and not home.environment.exists():
        return [error("engine-missing", "the engine is not installed", INSTALL, str(home.checkout))]
    faults = list(_checkout_faults(home))
    if fault := environment_fault(home):
        faults.append(error("engine-incomplete", f"the engine is incomplete: {fault}", INSTALL, str(home.environment)))
    return faults


def _checkout_faults(home: EngineHome) -> list[Finding]:
    stamp, head, where = read_checkout_stamp(home.checkout), read_head(home.checkout), str(home.checkout)
    if stamp is None or head is None:
        fault = "its source was never finished" if home.checkout.exists() else "there is no checkout"
        return [error("engine-incomplete", f"the engine is incomplete: {fault}", INSTALL, where)]
    if head != stamp.commit:
        message = f"the engine stands at {head[:12]}, not at {stamp.commit[:12]} where it was installed"
        return [error("engine-moved", message, INSTALL, where)]
    return [moved_pin(stamp.repository, head, where)] if head != home.commit else []


def moved_pin(repository: str, commit: str, where: str = "") -> Finding:
    """A person chose another engine; forge goes on, its checks may not hold there."""
    return warning(
        "engine-moved",
        f"the engine is {repository} at {commit[:12]}, not the one that this forge was made for: "
        "its option table may not match",
        f"go back with: {INSTALL}",
        where,
    )
