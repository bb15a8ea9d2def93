"""The use case behind ``forge dataset report``: measure, decide the buckets, draw, write one page."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import DatasetError, InvalidInput
from lora_forge.findings import Finding, Severity

if TYPE_CHECKING:
    from lora_forge.datasets.look import Watch
    from lora_forge.datasets.report_data import ReportData
    from lora_forge.project.request import Request
    from lora_forge.workflow.dataset_report_data import Measured
    from lora_forge.workflow.invocation import Invocation

FALLBACK_PRESET = "identity"
_HEAD_BYTES = 2048


@dataclass(frozen=True)
class ReportResult:
    """Where the page lies and what it says."""

    path: Path
    size_bytes: int
    report: ReportData

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.report.findings

    @property
    def exit_code(self) -> int:
        return InvalidInput.exit_code if self.report.count(Severity.ERROR) else 0

    def data(self) -> dict[str, object]:
        report = self.report
        return {
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "verdict": report.verdict,
            "preset": report.basis.preset,
            "family": report.basis.family,
            "trigger": report.basis.trigger or None,
            "images": report.images,
            "reg_images": report.reg_images,
            "shown": len(report.cards),
            "captions": report.captions.captions,
            "buckets": len(report.buckets),
            "cropped": report.cropped,
            "much_cropped": report.much_cropped,
            "upscaled": report.upscaled,
            **{f"{severity.value}s": report.count(severity) for severity in Severity},
        }


def report_dataset(
    call: Invocation,
    *,
    out: Path | None = None,
    force: bool = False,
    stamp: str = "",
    watch: Watch | None = None,
) -> ReportResult:
    """Check the dataset as ``forge dataset check`` does, and write the page in one step.

    Raises:
        InvalidInput: there is no dataset, or the page would lie in it or replace a file that is no report.
    """
    from lora_forge.project.request import gather_request
    from lora_forge.workflow.dataset_report_data import describe

    request, _, _ = gather_request({**call.flags, "set": list(call.settings)}, call.env, call.cwd)
    target = _target(out, request, call)
    refuse_foreign(target, force=force)
    measured = _measure(call, is_fallback=request.preset is None, watch=watch)
    report = replace(describe(measured, watch), stamp=stamp)
    page = _render(report)
    _write(target, page)
    return ReportResult(target, len(page.encode()), report)


def default_path(root: Path, cwd: Path, others: Sequence[Path] = ()) -> Path:
    """Beside where forge was called, but never inside the dataset, whose ``others`` are its further folders.

    >>> default_path(Path("/data/my photos"), Path("/home/me")).as_posix()
    '/home/me/my photos-report.html'
    >>> default_path(Path("/data/photos"), Path("/data/photos/10_me")).as_posix()
    '/data/photos-report.html'
    >>> default_path(Path("/data/dataset.toml"), Path("/data/a"), [Path("/data/a")]).as_posix()
    '/data/dataset-report.html'
    """
    folders = [Path(os.path.normpath(folder)) for folder in (root, *others)]
    stem = root.stem if root.suffix.lower() == ".toml" else folders[0].name
    name = re.sub(r"[^\w .+-]", "_", stem).strip(" .") or "dataset"
    around = [folder for folder in folders if cwd == folder or folder in cwd.parents]
    folder = min(around, key=lambda each: len(each.parts)).parent if around else cwd
    return folder / f"{name}-report.html"


def refuse_foreign(path: Path, *, force: bool) -> None:
    """A report may be renewed; anything else of that name stays.

    Raises:
        DatasetError: the file is there and no report of forge's.
    """
    from lora_forge.datasets.report_html import MARK

    if force or not os.path.lexists(path):
        return
    try:
        with path.open("rb") as file:
            is_report = MARK.encode() in file.read(_HEAD_BYTES)
    except OSError:
        is_report = False
    if not is_report:
        message = f"{path} is there already and is not a report of forge's; nothing was written."
        raise DatasetError(message, "--out FILE.html for another place, or --force to replace it")


def _target(out: Path | None, request: Request, call: Invocation) -> Path:
    from lora_forge.workflow.gather_dataset import import_dataset_file

    root = request.path("dataset") or call.cwd / "dataset"
    request, _ = import_dataset_file(request, [], call, [])
    others = [Path(folder.path).resolve() for folder in request.folders]
    others += [reg.resolve()] if (reg := request.path("reg")) else []
    path = default_path(root.resolve(), call.cwd.resolve(), others)
    if out is None:
        return path
    out = call.cwd / out.expanduser()
    target = out / path.name if out.is_dir() else out
    _refuse_inside(target, [root.resolve(), *others])
    return target


def _refuse_inside(path: Path, folders: Sequence[Path]) -> None:
    """A person's folders are never written, by whatever name they are called."""
    around = path.resolve().parents
    inside = next((folder for folder in folders if folder in around), None)
    if inside is not None:
        message = f"--out {path} lies in the dataset folder {inside}, which is never written"
        raise DatasetError(message, "leave --out out, or name a place beside the folder")


def _render(report: ReportData) -> str:
    from importlib.resources import files

    from lora_forge.datasets.report_html import render_report

    package = files("lora_forge.datasets")
    style, script = (package.joinpath(name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return render_report(report, style=style, script=script)


def _write(path: Path, page: str) -> None:
    from lora_forge.presets.files import write_over

    try:
        write_over(path, page)
    except OSError as problem:
        message = f"The report {path} cannot be written: {problem.strerror or problem}."
        raise DatasetError(message, "--out FILE.html in a folder that you may write to") from problem


def _measure(call: Invocation, *, is_fallback: bool, watch: Watch | None) -> Measured:
    """What a check finds and what a plan decides; where nobody named a preset, the usual one stands in."""
    from lora_forge.workflow.dataset_check import check_asked
    from lora_forge.workflow.dataset_report_data import Measured
    from lora_forge.workflow.gather import gather
    from lora_forge.workflow.planning import decide

    checked = check_asked(call, watch=watch)
    if is_fallback:
        call = replace(call, flags={**call.flags, "preset": FALLBACK_PRESET})
    gathered = gather(call, purpose="there can be a report")
    if not gathered.dataset.subsets:
        problems = [finding for finding in checked.findings if finding.severity is Severity.ERROR]
        hint = "mend what is named above, or name another dataset"
        raise DatasetError("There is nothing to report on.", hint, findings=problems)
    return Measured(gathered, decide(gathered).plan, checked.findings, is_fallback)
