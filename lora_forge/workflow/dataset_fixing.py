"""The use case behind ``forge dataset fix``: a prepared copy of one folder, of several, or of a dataset TOML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import DatasetError
from lora_forge.findings import Finding, error, info, warning
from lora_forge.workflow.dataset_changes import DEFAULT_EXTENSION, MOST_TOLD, asked_request, exit_code_of

if TYPE_CHECKING:
    from lora_forge.datasets.fixing import Copy, Report
    from lora_forge.datasets.fixing_manifest import Entry
    from lora_forge.datasets.fixing_pixels import Wishes
    from lora_forge.project.datasets import AskedFolder

FILE_NAME = "dataset.toml"


@dataclass(frozen=True)
class FixResult:
    """A prepared copy, or (``dry_run``) what one would be; ``file`` names its folders where it has several."""

    root: Path
    out: Path
    copy: Copy
    dry_run: bool
    findings: tuple[Finding, ...]
    file: Path | None = None

    @property
    def exit_code(self) -> int:
        return exit_code_of(self.findings)

    def data(self) -> dict[str, object]:
        return {
            "dataset": str(self.root),
            "out": str(self.out),
            "dataset_file": self.file and str(self.file),
            "dry_run": self.dry_run,
            "counts": dict(self.counts),
            "files": [asdict(entry) for entry in self.copy.entries],
            "removed": list(self.copy.removed),
        }

    @property
    def counts(self) -> Mapping[str, int]:
        """How many files were treated how."""
        counts: dict[str, int] = {}
        for entry in self.copy.entries:
            counts[entry.how] = counts.get(entry.how, 0) + 1
        return counts


def fix(
    given: Path | None,
    out: Path,
    env: Mapping[str, str],
    cwd: Path,
    *,
    background: str = "white",
    lossless: bool = False,
    copy: bool = False,
    dry_run: bool = False,
    report: Report | None = None,
) -> FixResult:
    """Make a prepared copy of a dataset; the originals are only read.

    Pictures that need no change are hard links to them; ``copy`` makes files of their own.

    Raises:
        DatasetError: the folders, the dataset TOML or the colour cannot be used.
    """
    from lora_forge.datasets.fixing import fix_dataset
    from lora_forge.datasets.fixing_pixels import Wishes, parse_colour
    from lora_forge.workflow.gather_dataset import is_toml

    colour = parse_colour(background)
    if colour is None:
        raise DatasetError(f"--background {background!r} is no colour", "--background white, or --background '#808080'")
    wishes = Wishes(background=colour, lossless=lossless, copy=copy)
    named, folders = _asked_folders(given, env, cwd)
    if len(folders) > 1 or is_toml(named):
        return _fix_several(named, folders, cwd / out, cwd, wishes, dry_run=dry_run, report=report)
    root, wishes = _part(folders[0], wishes)
    made = fix_dataset(root, cwd / out, wishes, dry_run=dry_run, report=report)
    return FixResult(root, cwd / out, made, dry_run, (*_fix_findings(root, made), *_linked(cwd / out, made)))


def _asked_folders(given: Path | None, env: Mapping[str, str], cwd: Path) -> tuple[Path, tuple[AskedFolder, ...]]:
    """What was named, and the folders that it comes to."""
    from lora_forge.workflow.gather_dataset import import_dataset_file
    from lora_forge.workflow.invocation import Invocation

    findings: list[Finding] = []
    request, named = asked_request(given, env, cwd)
    request, _ = import_dataset_file(request, [], Invocation({}, (), env, cwd), findings)
    if not request.folders:
        raise DatasetError(f"{named} cannot be used as a dataset", "mend what is named above", findings=findings)
    return named, request.folders


def _part(folder: AskedFolder, wishes: Wishes) -> tuple[Path, Wishes]:
    """Captions keep the ending that this folder's are read from."""
    from dataclasses import replace

    return Path(folder.path), replace(wishes, caption_extension=folder.caption_extension or DEFAULT_EXTENSION)


def _fix_several(
    named: Path,
    folders: Sequence[AskedFolder],
    out: Path,
    cwd: Path,
    wishes: Wishes,
    *,
    dry_run: bool,
    report: Report | None,
) -> FixResult:
    from lora_forge.datasets.fixing import Copy
    from lora_forge.datasets.fixing_several import Part, beneath, fix_several, part_names
    from lora_forge.workflow.gather_dataset import is_toml

    pairs = [_part(folder, wishes) for folder in folders]
    file = named.name if named.suffix.lower() == ".toml" else FILE_NAME
    names = part_names([root for root, _ in pairs], file)
    parts = [Part(root, name, own) for (root, own), name in zip(pairs, names, strict=True)]
    text = _document(named, folders, names, out.absolute(), cwd)
    source = named if is_toml(named) else None
    copies = fix_several(parts, out, (file, text), source=source, dry_run=dry_run, report=report)
    findings = [one for part, copy in zip(parts, copies[:-1], strict=True) for one in _fix_findings(part.root, copy)]
    below = [*map(beneath, copies[:-1], names), copies[-1]]
    whole = Copy(
        tuple(entry for copy in below for entry in copy.entries),
        tuple(name for copy in below for name in copy.removed),
    )
    findings += [_edited(entry) for entry in copies[-1].entries if entry.how == "edited"]
    findings += _linked(out, whole)
    return FixResult(named, out, whole, dry_run, tuple(findings), out / file)


def _document(named: Path, folders: Sequence[AskedFolder], names: Sequence[str], out: Path, cwd: Path) -> str:
    """The dataset TOML of the copy: the given one with other folders, or one that says what was said of each."""
    from lora_forge.datasets.fixing_several import repointed
    from lora_forge.datasets.importing import read_document
    from lora_forge.engine.toml_text import dump_toml
    from lora_forge.workflow.gather_dataset import is_toml

    moved = {Path(folder.path): out / name for folder, name in zip(folders, names, strict=True)}
    if is_toml(named):
        document, problem = read_document(named)
        if document is None:
            raise DatasetError(problem, "mend it, or name a folder")
        return dump_toml(repointed(document, cwd, moved))
    subsets = [_subset(folder, moved[Path(folder.path)]) for folder in folders]
    return dump_toml({"datasets": [{"subsets": subsets}]})


def _subset(folder: AskedFolder, place: Path) -> dict[str, object]:
    said = {"num_repeats": folder.repeats, "class_tokens": folder.class_tokens, "is_reg": folder.reg or None}
    said |= {"caption_extension": folder.caption_extension}
    return {"image_dir": str(place), **{key: value for key, value in said.items() if value is not None}}


def _fix_findings(root: Path, copy: Copy) -> list[Finding]:
    from lora_forge.datasets.notes import counted

    left_out = [entry for entry in copy.entries if entry.how == "left-out"]
    findings = [_left_out(root, entry) for entry in left_out[:MOST_TOLD]]
    if len(left_out) > MOST_TOLD:
        findings.append(warning("fix-left-out", f"Left out as well: {counted(len(left_out) - MOST_TOLD, 'file')}."))
    findings += [_edited(entry) for entry in copy.entries if entry.how == "edited"][:MOST_TOLD]
    lossy = sum(entry.is_lossy for entry in copy.entries)
    if lossy:
        message = f"{counted(lossy, 'JPEG image')} {'was' if lossy == 1 else 'were'} encoded anew, at quality 95."
        findings.append(info("fix-lossy", message, "--lossless writes PNG instead."))
    if not any(entry.result for entry in copy.entries):
        findings.append(error("dataset-empty", f"Nothing in {root} can be trained on.", "Give another folder."))
    return findings


def _linked(out: Path, copy: Copy) -> list[Finding]:
    """A link looks like a file of its own until somebody writes into it."""
    count = sum(entry.how == "linked" for entry in copy.entries)
    if not count:
        return []
    are = "picture is a hard link" if count == 1 else "pictures are hard links"
    message = f"{count:,} {are}, the same file as the original: an edit in place changes both."
    return [info("fix-linked", message, "--copy makes files of their own.", str(out))]


def _edited(entry: Entry) -> Finding:
    message = f"{entry.result} was changed since it was made and is kept as it is."
    return warning("fix-edited", message, "Delete it to have it made again.", str(entry.result))


def _left_out(root: Path, entry: Entry) -> Finding:
    """Hidden files and folders' own litter are worth a note; an image or a caption that is lost is worth more."""
    tell = info if entry.reason == "it is hidden" else warning
    return tell("fix-left-out", f"{entry.source} is left out: {entry.reason}.", "", f"{root}/{entry.source}")
