"""A diagnosis and the table of symptoms, as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lora_forge.cli.output import plain, print_plain, print_ragged
from lora_forge.plan.symptoms import CANONICAL_RULE

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.plan.symptoms import Symptom
    from lora_forge.workflow.run_diagnosis import Diagnosed, Disappointing

UNRECOGNISED = {
    "not recognised": "read its last lines; nothing in it looks like an error",
    "empty": "name another log: the engine wrote nothing into this one",
    "not a text": "name the engine's log, a text file such as runs/NAME-001/engine.log",
}
"""What to try by the state of a log that told nothing."""


def print_diagnosis(result: Diagnosed, out: Console) -> None:
    found = result.diagnosis
    if found is None:
        _line(out, "", f"{result.source}: {result.state}")
        _line(out, "try", UNRECOGNISED.get(result.state, ""))
        return
    out.print(f"[bold]{plain(found.code)}[/] (exit code {found.exit_code})", highlight=False)
    _line(out, "cause", found.sentence)
    _line(out, "evidence", found.evidence)
    if found.file:
        _line(out, "file", found.file)
    _line(out, "try", found.hint)


def _line(out: Console, title: str, text: str) -> None:
    if text:
        label = f"  [bold]{title:<10}[/] " if title else ""
        out.print(f"{label}{plain(text)}", highlight=False, soft_wrap=True)


def print_symptoms(result: Disappointing, out: Console) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, pad_edge=False)
    for title in ("word", "seen", "likely cause", "try"):
        table.add_column(title)
    if result.figures:
        table.add_column("this run")
    for row in result.symptoms:
        table.add_row(row.word, row.seen, row.cause, row.remedy, *_own(row, result))
    print_ragged(out, table)
    for row in result.symptoms:
        settings = result.settings.get(row.word, row.settings)
        if settings:
            _line(out, row.word, " ".join(f"--set {setting}" for setting in settings))
    if result.hint:
        print_plain(out, result.hint)
    out.print(CANONICAL_RULE, highlight=False)


def _own(row: Symptom, result: Disappointing) -> list[str]:
    """The run's figures that bear on the row, one a line; no column where no run was given."""
    if not result.figures:
        return []
    shown = (f"{name.replace('_', ' ')} {result.figures[name]}" for name in row.figures)
    return [plain("\n".join(shown).replace("alpha per rank", "alpha/rank"))]
