"""A checked dataset for people, as one table by kind of problem, and for GitHub, as annotations."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.cli.amounts import counted
from lora_forge.cli.output import TASTE, plain

if TYPE_CHECKING:
    from rich.console import Console

    from lora_forge.findings import Finding
    from lora_forge.workflow.dataset_check import CheckResult

SHOWN_OF_A_KIND = 8
_ORDER = ("error", "warning", "info")
_MARKS = {"error": "[bold red]error[/]", "warning": "[yellow]warning[/]", "info": "[cyan]note[/]"}
_COMMANDS = {"error": "error", "warning": "warning", "info": "notice"}
_LINE = re.compile(r"(.*?):(\d+)(?::(\d+))?", re.DOTALL)


def print_check(result: CheckResult, out: Console) -> None:
    """Gravest first; one block a kind, with its files below and what to try, said once where it is the same for all."""
    kinds: dict[str, list[Finding]] = {}
    findings = sorted(result.findings, key=lambda one: _ORDER.index(one.severity.value))
    for finding in findings:
        if not (TASTE.quiet and finding.severity.value != "error"):
            kinds.setdefault(finding.code, []).append(finding)
    for code, found in kinds.items():
        _print_kind(code, found, result.facts.root, out)
    _say(out, _summary(result))


def _print_kind(code: str, found: list[Finding], root: Path, out: Console) -> None:
    count = f" ({len(found):,})" if len(found) > 1 else ""
    _say(out, f"{_MARKS[found[0].severity.value]} [bold]{code}[/]{count}")
    shown = len(found) if TASTE.verbose else SHOWN_OF_A_KIND
    share_a_hint = len({finding.hint for finding in found}) == 1
    for finding in found[:shown]:
        place = _relative(finding.where, root)
        _say(out, f"  [dim]{plain(place)}[/]  {plain(finding.message)}" if place else f"  {plain(finding.message)}")
        if not share_a_hint:
            _try(out, finding.hint, indent=4)
    if len(found) > shown:
        _say(out, f"  [dim]and {len(found) - shown:,} more; -v before `dataset` or --json lists all[/]")
    if share_a_hint:
        _try(out, found[0].hint, indent=2)


def _try(out: Console, hint: str, *, indent: int) -> None:
    if hint:
        _say(out, f"{' ' * indent}[dim]try:[/] {plain(hint)}")


def _summary(result: CheckResult) -> str:
    counts, facts = result.counts(), result.facts
    reg = f" and {counted(facts.reg_images, 'regularization image')}" if facts.reg_images else ""
    looked = f", {len(result.pixels):,} looked at" if result.pixels else ", pixels not looked at"
    verdict = "[red]not fit to train on[/]" if result.exit_code else "[green]fit to train on[/]"
    nouns = {"error": "error", "warning": "warning", "info": "note"}
    told = ", ".join(counted(counts[severity], noun) for severity, noun in nouns.items())
    return f"{counted(facts.images, 'image')}{reg}{looked}: {told}; {verdict}"


def _relative(where: str, root: Path) -> str:
    """Below the dataset its own folder need not be said on every line."""
    return where.removeprefix(f"{root}{os.sep}")


def _say(out: Console, text: str) -> None:
    out.print(text, highlight=False, soft_wrap=True)


def print_annotations(findings: Iterable[Finding], cwd: Path) -> None:
    """One workflow command a line; nothing else goes to stdout."""
    for finding in findings:
        sys.stdout.write(annotation(finding, cwd).encode("utf-8", "backslashreplace").decode() + "\n")


def annotation(finding: Finding, cwd: Path) -> str:
    r"""A finding as GitHub reads it; foreign text stays text, whatever it holds.

    >>> from lora_forge.findings import error
    >>> annotation(error("x", "two\n::error::lines", where="a,b.png"), Path("/nowhere"))
    '::error file=a%2Cb.png,title=x::two%0A::error::lines'
    """
    file, line, column = _place(finding.where)
    file = _relative(file, cwd)
    place = [f"file={_property(file)}"] if file else []
    place += [f"line={line}"] if line else []
    place += [f"col={column}"] if column else []
    text = f"{finding.message} Try: {finding.hint}" if finding.hint else finding.message
    properties = ",".join([*place, f"title={_property(finding.code)}"])
    return f"::{_COMMANDS[finding.severity.value]} {properties}::{_data(text)}"


def _place(where: str) -> tuple[str, str, str]:
    """File, line and column; a file may be called ``a:1``, and what lies on the disk decides."""
    match = _LINE.fullmatch(where)
    if match is None or os.path.lexists(where):
        return where, "", ""
    file, line, column = match.groups()
    if column and os.path.lexists(f"{file}:{line}"):
        return f"{file}:{line}", column, ""
    return file, line, column or ""


def _data(text: str) -> str:
    """GitHub's escapes for a message; other line ends become spaces, so that one finding is one line."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
