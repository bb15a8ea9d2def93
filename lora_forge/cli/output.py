"""The one printer: a result as text for people, or as one versioned JSON object for scripts.

Results go to stdout, messages and progress to stderr.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Protocol, TextIO, TypeVar, cast

from lora_forge.errors import ForgeError
from lora_forge.neutral import CommandFilter, json_without_commands, neutral
from lora_forge.runs.signals import StopNow, interrupted, stop_on_signals

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.segment import Segment

    from lora_forge.findings import Finding

SCHEMA_VERSION = 1
PIPE_COLUMNS = 140


@dataclass
class Taste:
    """How this call wants to be talked to; filled by the global options."""

    quiet: bool = False
    verbose: bool = False
    progress: bool = True
    color: str = "auto"


TASTE = Taste()


class Result(Protocol):
    """What every use case returns: data for JSON, findings, and the exit code they come to."""

    @property
    def findings(self) -> Sequence[Finding]: ...

    @property
    def exit_code(self) -> int: ...

    def data(self) -> object: ...


R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Facts:
    """A result that is plain data."""

    content: object
    findings: Sequence[Finding] = field(default_factory=tuple)
    exit_code: int = 0

    def data(self) -> object:
        return self.content


def show(
    use_case: Callable[[], R],
    as_text: Callable[[R, Console], None],
    *,
    as_json: bool,
    unsaid: Callable[[R], Sequence[Finding]] = lambda result: result.findings,
) -> None:
    """Run ``use_case``, print its result once, and leave with its exit code.

    ``unsaid`` are the findings that a person has not been shown on the way.
    """
    with stop_on_signals() as stop:
        try:
            result = use_case()
            stop.insist()
            with stop.noting(most=1):
                code = _tell(result, as_text, unsaid, as_json=as_json)
        except BrokenPipeError:  # whoever reads has seen enough; click leaves quietly
            raise
        except (Exception, KeyboardInterrupt, StopNow) as problem:  # noqa: BLE001  # told as what it is
            with stop.noting():
                code = _fail(StopNow(stop.signum) if stop.ending and stop.signum else problem, as_json=as_json)
        stop.settle()
    from typer import Exit  # a refusal that is told early needs none of it

    raise Exit(code)


def _tell(
    result: R, as_text: Callable[[R, Console], None], unsaid: Callable[[R], Sequence[Finding]], *, as_json: bool
) -> int:
    """Print the result; its exit code, or 1 where nobody can know that it was printed whole."""
    if as_json:
        untold = _to_stdout(lambda: print_json(result.data(), result.findings, ok=result.exit_code == 0))
    else:
        untold = _to_stdout(lambda: as_text(result, console()))
        print_findings(unsaid(result))
    if untold:
        message = f"the result could not be printed: {untold}"
        return fail(ForgeError(message, "send stdout elsewhere; what was done is done"), as_json=False)
    return result.exit_code


def _to_stdout(write: Callable[[], object]) -> str:
    """Print; why stdout did not take all of it, as on a full disk, or nothing.

    What is left in its buffer then goes nowhere, else Python would try it once
    more at the end, and turn every exit code into 120.
    """
    try:
        write()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        raise
    except OSError as problem:
        with suppress(OSError, ValueError):
            _lead_nowhere(sys.stdout)
        return problem.strerror or str(problem)
    return ""


def _fail(problem: BaseException, *, as_json: bool) -> int:
    """Whatever ended the use case has its exit code and, with ``--json``, its object on stdout."""
    if isinstance(problem, ForgeError):
        return fail(problem, as_json=as_json)
    if isinstance(problem, (StopNow, KeyboardInterrupt)):
        return fail(interrupted(getattr(problem, "signum", signal.SIGINT)), as_json=as_json)
    return _fail_unforeseen(problem, as_json=as_json)


def fail(error: ForgeError, *, as_json: bool) -> int:
    """Print an error in the form the caller wants, on stderr where stdout is full; the exit code that goes with it."""
    if as_json and not _to_stdout(lambda: print_json(None, error.findings, ok=False, error=error)):
        return error.exit_code
    print_findings(error.findings)
    out = console(stderr=True)
    out.print(f"[bold red]error[/] {plain(error.message)}", highlight=False, soft_wrap=True)
    if error.hint:
        out.print(f"  try: {plain(error.hint)}", highlight=False, soft_wrap=True)
    return error.exit_code


def _fail_unforeseen(bug: BaseException, *, as_json: bool) -> int:
    """A defect of forge's own: still one object on stdout, with the traceback on stderr."""
    Aside(sys.stderr).write(neutral("".join(traceback.format_exception(bug))))
    hint = "this is a defect in forge: please report it with the lines above"
    return fail(ForgeError(f"{type(bug).__name__}: {bug}", hint), as_json=as_json)


def print_json(data: object, findings: Iterable[Finding], *, ok: bool, error: ForgeError | None = None) -> None:
    envelope = {
        "schema_version": SCHEMA_VERSION,
        "ok": ok,
        "data": data,
        "findings": [finding.as_json() for finding in findings],
        "error": error and {"code": error.code, "message": error.message, "hint": error.hint},
    }
    text = json_without_commands(json.dumps(envelope, indent=2, ensure_ascii=not _is_utf8(sys.stdout), default=str))
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def take_any_text() -> None:
    """Let a stream write the number of what it cannot encode: no path and no table's frame ends a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _is_utf8(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


_MARKS = {"error": "[bold red]error[/]", "warning": "[yellow]warning[/]", "info": "[cyan]note[/]"}


def print_findings(findings: Iterable[Finding]) -> None:
    """Every finding on stderr, the gravest first: what, where, what to try."""
    findings = sorted(findings, key=lambda finding: list(_MARKS).index(finding.severity.value))
    findings = [f for f in findings if not (TASTE.quiet and f.severity.value != "error")]
    if not findings:
        return
    out = console(stderr=True)
    for finding in findings:
        place = f" [dim]({plain(finding.where)})[/]" if finding.where else ""
        mark = _MARKS[finding.severity.value]
        out.print(f"{mark} {plain(finding.message)}{place}", highlight=False, soft_wrap=True)
        if finding.hint:
            out.print(f"  [dim]try:[/] {plain(finding.hint)}", highlight=False, soft_wrap=True)


def message(text: str) -> None:
    """A line for people while something is under way."""
    if not TASTE.quiet:
        console(stderr=True).print(plain(text), highlight=False, soft_wrap=True)


def print_plain(out: Console, text: str) -> None:
    """A line that holds foreign text, printed as it stands: a path or a name may hold anything."""
    out.print(plain(text), highlight=False, soft_wrap=True)


def print_ragged(out: Console, table: RenderableType) -> None:
    """A table whose lines end with their last word: rich fills every line with blanks, and a log keeps them."""
    from rich.segment import Segment, Segments

    lines = out.render_lines(table, pad=False)
    ragged = (segment for line in lines for segment in (*_without_blank_end(line), Segment.line()))
    out.print(Segments(ragged), end="", soft_wrap=True)


def _without_blank_end(line: Sequence[Segment]) -> Sequence[Segment]:
    from rich.segment import Segment

    kept = list(line)
    while kept and not kept[-1].text.rstrip(" "):
        kept.pop()
    return [*kept[:-1], Segment(kept[-1].text.rstrip(" "), kept[-1].style)] if kept else kept


def console(*, stderr: bool = False) -> Console:
    """A rich console that obeys ``--color`` and ``NO_COLOR``, and prints no line that a CI runner would obey."""
    from rich.console import Console

    forced = {"always": True, "never": False, "auto": None}[TASTE.color]
    no_color = True if TASTE.color == "never" else None
    raw = sys.stderr if stderr else sys.stdout
    # A pipe has no width; the usual 80 would fold what a person reads in a pager or a log.
    width = None if raw.isatty() or "COLUMNS" in os.environ else PIPE_COLUMNS
    stream = cast("IO[str]", Aside(raw) if stderr else CommandFilter(raw))
    return Console(file=stream, force_terminal=forced or None, no_color=no_color, emoji=False, width=width)


class Aside(CommandFilter):
    """stderr, where nothing depends on being heard: a reader that went away or a full disk is no failure of forge.

    From the first failed write on it leads to nowhere, else Python would try what
    is left in its buffer once more at the end, and turn exit code 0 into 120.
    """

    def write(self, text: str) -> int:
        with self._heedless():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._heedless():
            self._stream.flush()

    @contextmanager
    def _heedless(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            with suppress(OSError, ValueError):
                _lead_nowhere(self._stream)


def _lead_nowhere(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def plain(text: str) -> str:
    """Foreign text as text: no markup, no terminal control, no CI command, undecodable bytes as escapes."""
    from rich.markup import escape

    return escape(neutral(text).encode("utf-8", "backslashreplace").decode())
