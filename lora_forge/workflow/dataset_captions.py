"""The use case that writes captions: from a template, a sheet, the engine's tagger or any command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import DatasetError, ForgeError
from lora_forge.findings import Finding, Severity, error, info, warning
from lora_forge.workflow.dataset_changes import DEFAULT_EXTENSION, MOST_TOLD, asked_facts, exit_code_of

if TYPE_CHECKING:
    from lora_forge.datasets.captioning import Change, Proposal, Target


@dataclass(frozen=True)
class CaptionWishes:
    """Where captions come from (one of template, read_from, tagger, command) and what may be done with them.

    A template may stand beside a tagger or a command: its ``{caption}`` is then what they said.
    """

    template: str | None = None
    write_to: Path | None = None
    read_from: Path | None = None
    tagger: str | None = None
    model: Path | None = None
    command: str | None = None
    timeout_s: float = 120.0
    trigger: str | None = None
    overwrite: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class CaptionResult:
    """What became of each caption; ``sheet`` is the one that was written, if that was asked for."""

    root: Path
    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]
    dry_run: bool = False
    sheet: Path | None = None
    rows: int = 0

    @property
    def exit_code(self) -> int:
        """1 where a command or tagger failed on an image, 3 where the dataset or the sheet is at fault."""
        failed = any(each.code == "caption-failed" and each.severity is Severity.ERROR for each in self.findings)
        return ForgeError.exit_code if failed else exit_code_of(self.findings)

    def data(self) -> dict[str, object]:
        return {
            "dataset": str(self.root),
            "dry_run": self.dry_run,
            "sheet": self.sheet and str(self.sheet),
            "rows": self.rows,
            "counts": dict(self.counts),
            "captions": [change._asdict() for change in self.changes],
        }

    @property
    def counts(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for change in self.changes:
            counts[change.action] = counts.get(change.action, 0) + 1
        return counts


def caption(
    given: Path | None,
    wishes: CaptionWishes,
    env: Mapping[str, str],
    cwd: Path,
    *,
    told: Callable[[Change], None] | None = None,
) -> CaptionResult:
    """Write captions, or a sheet of those that are there. Images are only read.

    Raises:
        DatasetError: the dataset, the template, the command or the sheet cannot be used.
        EngineError: the tagger cannot be run.
        ForgeError: the tagger failed.
    """
    from lora_forge.datasets.captioning import apply_proposals, list_targets

    _refuse_muddle(wishes)
    root, facts, problems, named = asked_facts(given, env, cwd)
    targets, shared = list_targets(facts, DEFAULT_EXTENSION)
    findings = [*(each for each in problems if each.code == "image-unreadable"), *shared]
    if wishes.write_to is not None:
        return _write_sheet(root, targets, cwd / wishes.write_to, wishes.overwrite, findings)
    trigger = wishes.trigger or named
    proposals = _proposals(targets, wishes, trigger, env, cwd, findings)
    changes = tuple(apply_proposals(proposals, overwrite=wishes.overwrite, dry_run=wishes.dry_run, told=told))
    return CaptionResult(root, changes, (*findings, *_change_findings(changes)), wishes.dry_run)


def _refuse_muddle(wishes: CaptionWishes) -> None:
    """One source of captions, no more and no less."""
    named = {
        "--sheet": wishes.write_to,
        "--from": wishes.read_from,
        "--tagger": wishes.tagger,
        "--command": wishes.command,
    }
    chosen = [flag for flag, value in named.items() if value is not None]
    if len(chosen) > 1:
        raise DatasetError(f"{' and '.join(chosen)} cannot be combined", "give one of them")
    if not chosen and wishes.template is None:
        raise DatasetError("nothing says where the captions come from", "--template '{trigger}, a man outdoors'")
    if wishes.template is not None and chosen and chosen[0] in ("--sheet", "--from"):
        raise DatasetError(f"--template and {chosen[0]} cannot be combined", "give one of them")
    if wishes.tagger not in (None, "wd14"):
        raise DatasetError(f"there is no tagger {wishes.tagger!r}", "--tagger wd14, or --command with any other")
    if wishes.tagger and wishes.model is None:
        raise DatasetError("the tagger needs its model", "--model DIR with model.onnx and selected_tags.csv")


def _write_sheet(
    root: Path, targets: Sequence[Target], file: Path, overwrite: bool, findings: list[Finding]
) -> CaptionResult:
    """Out of the dataset's own folder, and never over a sheet that a person may have worked on."""
    from lora_forge.datasets.captioning_sheet import Row, write_sheet

    if root.resolve() in file.resolve().parents:
        raise DatasetError(f"the sheet {file} would lie among the images", "--sheet beside the folder")
    if file.exists() and not overwrite:
        raise DatasetError(f"the sheet {file} is there already", "--overwrite replaces it")
    rows = [Row(target.name, target.before or "") for target in targets]
    write_sheet(file, rows)
    return CaptionResult(root, (), tuple(findings), sheet=file, rows=len(rows))


def _proposals(
    targets: Sequence[Target],
    wishes: CaptionWishes,
    trigger: str | None,
    env: Mapping[str, str],
    cwd: Path,
    findings: list[Finding],
) -> Iterable[Proposal]:
    from lora_forge.datasets.captioning import check_template, has_caption
    from lora_forge.datasets.notes import counted

    if wishes.read_from is not None:
        return _from_sheet(targets, cwd / wishes.read_from, findings)
    if wishes.template is not None:
        check_template(wishes.template, trigger)
    if wishes.tagger is None and wishes.command is None:
        return [_filled(wishes, target, trigger, target.before) for target in targets]
    wanted = [target for target in targets if wishes.overwrite or not has_caption(target)]
    if len(wanted) < len(targets):
        kept = len(targets) - len(wanted)
        have, are = ("has", "is") if kept == 1 else ("have", "are")
        message = f"{counted(kept, 'image')} {have} a caption already and {are} not tagged."
        findings.append(info("caption-kept", message, "--overwrite tags them anew."))
    return (_through(wishes, said, trigger) for said in _tagged(wanted, wishes, env, cwd))


def _filled(wishes: CaptionWishes, target: Target, trigger: str | None, caption: str | None) -> Proposal:
    from lora_forge.datasets.captioning import fill_template

    return fill_template(wishes.template or "{caption}", target, trigger, caption)


def _through(wishes: CaptionWishes, said: Proposal, trigger: str | None) -> Proposal:
    """What a tagger said, through the template if there is one."""
    return said if said.after is None else _filled(wishes, said.target, trigger, said.after)


def _tagged(targets: Sequence[Target], wishes: CaptionWishes, env: Mapping[str, str], cwd: Path) -> Iterator[Proposal]:
    from lora_forge.datasets.captioning import Proposal

    if wishes.command is None:
        yield from _by_wd14(targets, cwd / str(wishes.model), env)
        return
    from lora_forge.datasets.captioning_command import caption_by_command, parse_command

    command = parse_command(wishes.command)
    for target in targets:
        said = caption_by_command(command, target.image, env=env, timeout_s=wishes.timeout_s)
        yield Proposal(target, said.caption, said.problem)


def _by_wd14(targets: Sequence[Target], model: Path, env: Mapping[str, str]) -> Iterator[Proposal]:
    from lora_forge.datasets.captioning_wd14 import check_tagger, tag_images
    from lora_forge.engine.choice import choose_engine
    from lora_forge.machine import probe_machine

    home = choose_engine(env, probe_machine(model, env=env))
    check_tagger(home.python, home.checkout, model, env)
    yield from tag_images(targets, home.python, home.checkout, model, env) if targets else ()


def _from_sheet(targets: Sequence[Target], file: Path, findings: list[Finding]) -> list[Proposal]:
    """Rows whose image is in the dataset; an empty cell leaves its caption alone."""
    from lora_forge.datasets.captioning import Proposal
    from lora_forge.datasets.captioning_sheet import read_sheet

    rows, problems = read_sheet(file)
    findings += problems
    by_name = {target.name: target for target in targets}
    for row in [row for row in rows if row.image not in by_name][:MOST_TOLD]:
        message = f"{row.image} is not in the dataset."
        findings.append(warning("sheet-unknown", message, "Mend the name, or drop the row.", f"{file}:{row.line}"))
    return [Proposal(by_name[row.image], row.caption) for row in rows if row.image in by_name and row.caption]


def _change_findings(changes: Sequence[Change]) -> list[Finding]:
    from lora_forge.datasets.notes import counted

    failed = [change for change in changes if change.action == "failed"]
    findings = [
        error("caption-failed", f"{change.image} gets no caption: {change.problem}.", "", change.file)
        for change in failed[:MOST_TOLD]
    ]
    if len(failed) > MOST_TOLD:
        more = counted(len(failed) - MOST_TOLD, "further image")
        findings.append(error("caption-failed", f"No caption for {more}."))
    kept = sum(change.action == "kept" for change in changes)
    if kept:
        verbs = "is there already, differs, and is kept" if kept == 1 else "are there already, differ, and are kept"
        message = f"{counted(kept, 'caption')} {verbs}."
        hint = "--overwrite replaces them; with --dry-run too it only shows how."
        findings.append(warning("caption-kept", message, hint))
    given = [change.after for change in changes if change.after and change.action != "kept"]
    if len(given) > 2 and len(set(given)) == 1:
        message = f"All {len(given)} captions are the same: {given[0]}."
        hint = "Let each say what differs: where, how, what is worn; --sheet makes that quick."
        findings.append(warning("caption-identical", message, hint))
    return findings
