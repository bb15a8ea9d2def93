"""``forge dataset fix``: a prepared copy of a dataset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli.options import AsJson
from lora_forge.cli.output import TASTE, console, message, print_plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.datasets.fixing_manifest import Entry
    from lora_forge.workflow.dataset_fixing import FixResult

MOST_SHOWN = 40
REPORT_EVERY_S = 2.0

_SAYS = {
    "linked": "linked (the same file as the original)",
    "copied": "copied, unchanged",
    "written": "changed",
    "left-out": "left out",
    "edited": "kept as a person edited them",
}


def fix(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the prepared copy goes.")],
    dataset: Annotated[
        Path | None, typer.Argument(help="A folder or a dataset TOML; default `dataset:` of forge.yaml.")
    ] = None,
    background: Annotated[str, typer.Option("--background", help="Colour behind transparent pictures.")] = "white",
    lossless: Annotated[bool, typer.Option("--lossless", help="Write changed JPEGs as PNG.")] = False,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy unchanged pictures; else they are hard links, the same file.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change; write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy a dataset with everything mended that the engine would misread. The originals are only read.

    Pictures that need no change are hard links: the same file as the original, so an edit in place changes both.
    Where you mean to edit the copy, give --copy.
    """

    def use_case() -> FixResult:
        from lora_forge.workflow.dataset_fixing import fix as fix_dataset

        return fix_dataset(
            dataset,
            out,
            dict(os.environ),
            Path.cwd(),
            background=background,
            lossless=lossless,
            copy=copy,
            dry_run=dry_run,
            report=None if as_json else _Reporter(),
        )

    show(use_case, _as_text, as_json=as_json)


class _Reporter:
    """A line now and then on stderr, with the time left; no redraws, since a copy is soon over."""

    def __init__(self) -> None:
        import time

        self._began = self._last = time.monotonic()

    def __call__(self, done: int, of: int, name: str) -> None:
        import time

        now = time.monotonic()
        if not TASTE.progress or now - self._last < REPORT_EVERY_S:
            return
        self._last = now
        left = (now - self._began) / max(done, 1) * (of - done)
        message(f"{done}/{of} {name}, about {left:.0f} s left")


def _as_text(result: FixResult, out: Console) -> None:
    changed = [entry for entry in result.copy.entries if entry.changes]
    for entry in changed[:MOST_SHOWN]:
        print_plain(out, _line(entry))
    if len(changed) > MOST_SHOWN:
        out.print(f"and {len(changed) - MOST_SHOWN:,} more, all in the manifest", highlight=False)
    for name in result.copy.removed:
        print_plain(out, f"{name}: removed, its source is gone")
    counts = ", ".join(f"{count:,} {_SAYS[how]}" for how, count in result.counts.items())
    where = "nothing was written" if result.dry_run else f"in {result.out}, with forge-fix.json"
    print_plain(console(), f"{counts or 'no files'}; {where}")
    if result.file and not result.dry_run:
        print_plain(console(), f"train on it with: --dataset {result.file}")


def _line(entry: Entry) -> str:
    renamed = "" if entry.result == entry.source else f" → {entry.result}"
    return f"{entry.source}{renamed}: {'; '.join(entry.changes)}"
