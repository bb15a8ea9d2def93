"""Every way forge can stop, one class per kind, one exit code per class.

    ForgeError                      1   the training or the tool failed
    ├── UsageProblem                2   the command line cannot be parsed
    ├── InvalidInput                3   a preset, project file, dataset or plan is wrong
    │   ├── PresetError
    │   ├── ProjectError
    │   ├── DatasetError
    │   └── PlanError
    ├── EngineError                 4   the engine is missing, incomplete or not at its pin
    ├── OutOfMemory                 5   GPU or host
    ├── Diverged                    6   NaN or Inf
    ├── NoUsableLora                7   the engine ended without a LoRA that passes verification
    ├── Locked                     11   another process holds the run or engine directory
    ├── Transient                  33   worth a retry
    └── Interrupted          130, 143   SIGINT, SIGTERM

Codes are never renumbered, and 137 is never used: it would read as the kernel's kill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lora_forge.findings import Finding


class ForgeError(Exception):
    """What stops the program: what is wrong, where, and one thing to try.

    ``message`` names the value and its place (``file:line`` or a dotted key);
    ``hint`` is one command or edit to try; ``findings`` carries every problem
    seen at once where there are several. ``code`` says more exactly than the
    class what happened, where that is known (``docs/diagnosis.md``).
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "failed"

    def __init__(
        self, message: str, hint: str = "", *, findings: Sequence[Finding] = (), code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.findings = tuple(findings)
        if code is not None:
            self.code = code  # type: ignore[misc]  # per instance


class UsageProblem(ForgeError):
    """The parser's own complaint, for those who asked for JSON."""

    exit_code = 2
    code = "usage"


class InvalidInput(ForgeError):
    """Something a person wrote cannot be used."""

    exit_code = 3
    code = "invalid-input"


class PresetError(InvalidInput):
    code = "invalid-preset"


class ProjectError(InvalidInput):
    code = "invalid-project"


class DatasetError(InvalidInput):
    code = "invalid-dataset"


class PlanError(InvalidInput):
    code = "invalid-plan"


class EngineError(ForgeError):
    """The engine is missing, incomplete or not at its pin."""

    exit_code = 4
    code = "engine"


class OutOfMemory(ForgeError):
    """``smaller`` are the settings, as ``--set`` takes them, of the lever to try next; empty where there is none.

    ``run`` is the UUID of the run that failed and ``folder`` where it lies, where there was one.
    """

    exit_code = 5
    code = "out-of-memory"
    smaller: tuple[str, ...] = ()
    run: str | None = None
    folder: Path | None = None


class Diverged(ForgeError):
    """NaN or Inf in the loss or in the saved weights."""

    exit_code = 6
    code = "diverged"


class NoUsableLora(ForgeError):
    """The engine ended, whatever it said, without a LoRA that passes verification."""

    exit_code = 7
    code = "no-usable-lora"


class Locked(ForgeError):
    exit_code = 11
    code = "locked"


class Transient(ForgeError):
    """Nothing is wrong with the input; the same command may succeed later."""

    exit_code = 33
    code = "transient"


class Interrupted(ForgeError):
    """A signal ended the run. The exit code is 128 + ``signum``."""

    code = "interrupted"

    def __init__(self, message: str, hint: str = "", *, signum: int) -> None:
        super().__init__(message, hint)
        self.signum = signum
        self.exit_code = 128 + signum  # type: ignore[misc]  # per instance: 130 or 143
