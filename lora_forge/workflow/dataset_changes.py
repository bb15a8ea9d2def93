"""The use cases that make something of a dataset: a prepared copy, captions, a hold-out.

Each one is a short fold of small tasks and returns one result, which the face
prints as text or as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lora_forge.errors import DatasetError, InvalidInput
from lora_forge.findings import Finding, Severity, error, info, warning
from lora_forge.settings import Value

if TYPE_CHECKING:
    from lora_forge.datasets.facts import DatasetFacts
    from lora_forge.datasets.fixing import Copy, Report
    from lora_forge.datasets.fixing_manifest import Entry
    from lora_forge.datasets.look import Watch
    from lora_forge.project.request import Request
    from lora_forge.workflow.holdout import HeldOut

DEFAULT_EXTENSION = ".txt"
MOST_TOLD = 20


@dataclass(frozen=True)
class FixResult:
    """A prepared copy, or (``dry_run``) what one would be."""

    root: Path
    out: Path
    copy: Copy
    dry_run: bool
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        return exit_code_of(self.findings)

    def data(self) -> dict[str, object]:
        return {
            "dataset": str(self.root),
            "out": str(self.out),
            "dry_run": self.dry_run,
            "counts": dict(self.counts),
            "files": [asdict(entry) for entry in self.copy.entries],
            "removed": list(self.copy.removed),
        }

    @property
    def counts(self) -> Mapping[str, int]:
        """How many files were treated how."""
        counted: dict[str, int] = {}
        for entry in self.copy.entries:
            counted[entry.how] = counted.get(entry.how, 0) + 1
        return counted


def exit_code_of(findings: Sequence[Finding]) -> int:
    return InvalidInput.exit_code if any(each.severity is Severity.ERROR for each in findings) else 0


class Asked(NamedTuple):
    """The dataset a command is about, and the project's trigger beside it."""

    root: Path
    facts: DatasetFacts
    problems: tuple[Finding, ...]
    trigger: str | None


def asked_folder(given: Path | None, env: Mapping[str, str], cwd: Path) -> Path:
    """The one folder a command is about.

    Raises:
        DatasetError: nobody named one, or several are named.
    """
    request = _request(given, env, cwd)
    root = request.path("dataset")
    if root is None:
        raise _unnamed()
    if len(request.folders) > 1:
        message = f"the project trains on {len(request.folders)} folders"
        raise DatasetError(message, "name the one that is meant")
    if not root.is_dir():
        raise DatasetError(f"the dataset folder {root} does not exist", "give a folder of images")
    return root


def asked_facts(given: Path | None, env: Mapping[str, str], cwd: Path) -> Asked:
    """Everything that a training of this project would measure: one folder, several, or those of a dataset TOML.

    Raises:
        DatasetError: nobody named a dataset, or nothing in it can be read.
    """
    from lora_forge.workflow.gather import Invocation
    from lora_forge.workflow.gather_dataset import import_dataset_file, read_dataset

    findings: list[Finding] = []
    request = _request(given, env, cwd)
    request, _ = import_dataset_file(request, [], Invocation({}, (), env, cwd), findings)
    root = request.path("dataset")
    if root is None:
        raise _unnamed()
    facts = read_dataset(request, DEFAULT_EXTENSION, findings)
    if facts is None or not facts.images:
        raise DatasetError(f"{root} holds no images that can be read", "give another folder", findings=findings)
    return Asked(root, facts, tuple(findings), request.text("trigger"))


def _request(given: Path | None, env: Mapping[str, str], cwd: Path) -> Request:
    from lora_forge.project.request import gather_request

    flags: dict[str, Value] = {} if given is None else {"dataset": str(given)}
    request, _, _ = gather_request(flags, env, cwd)
    return request


def _unnamed() -> DatasetError:
    return DatasetError("no dataset was named", "give its folder, or `dataset:` in forge.yaml")


def fix(
    given: Path | None,
    out: Path,
    env: Mapping[str, str],
    cwd: Path,
    *,
    background: str = "white",
    lossless: bool = False,
    dry_run: bool = False,
    report: Report | None = None,
) -> FixResult:
    """Make a prepared copy of a dataset; the originals are only read.

    Raises:
        DatasetError: the folders or the colour cannot be used.
    """
    from lora_forge.datasets.fixing import fix_dataset
    from lora_forge.datasets.fixing_pixels import Wishes, parse_colour

    root = asked_folder(given, env, cwd)
    colour = parse_colour(background)
    if colour is None:
        raise DatasetError(f"--background {background!r} is no colour", "--background white, or --background '#808080'")
    wishes = Wishes(background=colour, lossless=lossless)
    copy = fix_dataset(root, cwd / out, wishes, dry_run=dry_run, report=report)
    return FixResult(root, cwd / out, copy, dry_run, tuple(_fix_findings(root, copy)))


def _fix_findings(root: Path, copy: Copy) -> list[Finding]:
    left_out = [entry for entry in copy.entries if entry.how == "left-out"]
    yours = [entry for entry in copy.entries if entry.how == "edited"]
    findings = [_left_out(root, entry) for entry in left_out[:MOST_TOLD]]
    if len(left_out) > MOST_TOLD:
        findings.append(warning("fix-left-out", f"{len(left_out) - MOST_TOLD:,} more files are left out."))
    for entry in yours[:MOST_TOLD]:
        message = f"{entry.result} was changed since it was made and is kept as it is."
        findings.append(warning("fix-edited", message, "Delete it to have it made again.", str(entry.result)))
    lossy = sum(entry.is_lossy for entry in copy.entries)
    if lossy:
        message = f"{lossy:,} JPEG images were encoded anew, at quality 95."
        findings.append(info("fix-lossy", message, "--lossless writes PNG instead."))
    if not any(entry.result for entry in copy.entries):
        findings.append(error("dataset-empty", f"Nothing in {root} can be trained on.", "Give another folder."))
    return findings


def _left_out(root: Path, entry: Entry) -> Finding:
    """Hidden files and folders' own litter are worth a note; an image or a caption that is lost is worth more."""
    tell = info if entry.reason == "it is hidden" else warning
    return tell("fix-left-out", f"{entry.source} is left out: {entry.reason}.", "", f"{root}/{entry.source}")


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
