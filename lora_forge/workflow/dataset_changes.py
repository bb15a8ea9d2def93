"""What the use cases that make something of a dataset share, and the one that holds images out.

Each one is a short fold of small tasks and returns one result, which the face
prints as text or as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lora_forge.errors import DatasetError, InvalidInput
from lora_forge.findings import Finding, Severity
from lora_forge.settings import Value

if TYPE_CHECKING:
    from lora_forge.datasets.facts import DatasetFacts
    from lora_forge.datasets.look import Watch
    from lora_forge.project.request import Request
    from lora_forge.workflow.holdout import HeldOut

DEFAULT_EXTENSION = ".txt"
MOST_TOLD = 20


def exit_code_of(findings: Sequence[Finding]) -> int:
    return InvalidInput.exit_code if any(each.severity is Severity.ERROR for each in findings) else 0


class Asked(NamedTuple):
    """The dataset a command is about, and the project's trigger beside it."""

    root: Path
    facts: DatasetFacts
    problems: tuple[Finding, ...]
    trigger: str | None


def asked_facts(given: Path | None, env: Mapping[str, str], cwd: Path) -> Asked:
    """Everything that a training of this project would measure: one folder, several, or those of a dataset TOML.

    Raises:
        DatasetError: nobody named a dataset, or nothing in it can be read.
    """
    from lora_forge.workflow.gather_dataset import import_dataset_file, read_dataset
    from lora_forge.workflow.invocation import Invocation

    findings: list[Finding] = []
    request, root = asked_request(given, env, cwd)
    request, _ = import_dataset_file(request, [], Invocation({}, (), env, cwd), findings)
    facts = read_dataset(request, DEFAULT_EXTENSION, findings)
    if facts is None or not facts.images:
        raise DatasetError(f"{root} holds no images that can be read", "give another folder", findings=findings)
    return Asked(root, facts, tuple(findings), request.text("trigger"))


def asked_request(given: Path | None, env: Mapping[str, str], cwd: Path) -> tuple[Request, Path]:
    """What the project says of its dataset, and where that lies; ``given`` stands before it.

    Raises:
        DatasetError: nobody names one, or the file that would cannot be read.
    """
    from lora_forge.project.request import gather_request
    from lora_forge.workflow.gather_dataset import unnamed

    flags: dict[str, Value] = {} if given is None else {"dataset": str(given)}
    request, _, findings = gather_request(flags, env, cwd)
    root = request.path("dataset")
    if root is None:
        raise unnamed(request, findings)
    return request, root


@dataclass(frozen=True)
class SplitResult:
    """A recorded hold-out, or (``dry_run``) the one that would be recorded."""

    held_out: HeldOut
    root: Path
    dry_run: bool
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        return exit_code_of(self.findings)

    def data(self) -> dict[str, object]:
        split = self.held_out.split
        return {
            "dataset": str(self.root),
            "file": str(self.held_out.file),
            "dry_run": self.dry_run,
            "seed": split.holdout.seed,
            "held_out": [image._asdict() for image in split.chosen],
            "kept": split.kept,
            "look_alikes": [pair._asdict() for pair in split.look_alikes],
            "training_images": split.facts.images,
        }


def split(
    given: Path | None,
    share: str,
    env: Mapping[str, str],
    cwd: Path,
    *,
    seed: int | None = None,
    anew: bool = False,
    dry_run: bool = False,
    watch: Watch | None = None,
) -> SplitResult:
    """Choose the images that are held out of training and record the choice in the project.

    Raises:
        DatasetError: the dataset, the share or the record cannot be used.
    """
    from lora_forge.datasets.splitting import Holdout, parse_share, write_holdout
    from lora_forge.workflow.holdout import hold_out

    root, facts, problems, _ = asked_facts(given, env, cwd)
    count = parse_share(share, facts.images)
    if count is None:
        raise DatasetError(f"--validation {share} is no number of images and no share", "--validation 4, or 10%")
    errors = tuple(problem for problem in problems if problem.severity is Severity.ERROR)
    held_out = hold_out(facts, count, cwd, env, seed=seed, anew=anew, watch=watch)
    result = SplitResult(held_out, root, dry_run, (*errors, *held_out.findings))
    if not dry_run and result.exit_code == 0:
        chosen = Holdout(held_out.split.holdout.seed, held_out.split.chosen)
        write_holdout(held_out.file, chosen, root)
    return result
