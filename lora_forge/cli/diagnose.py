"""``forge diagnose``: why a run or a log failed, and what a disappointing result means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_forge.cli.options import AsJson, folder_of_runs
from lora_forge.cli.output import show

if TYPE_CHECKING:
    from lora_forge.findings import Finding
    from lora_forge.workflow.run_diagnosis import Diagnosed, Disappointing


def diagnose(
    target: Annotated[str | None, typer.Argument(metavar="[RUN|LOG]", help="A run, or any log of sd-scripts.")] = None,
    symptom: Annotated[
        bool, typer.Option("--symptom", "-s", help="What a disappointing result means; WORD: nan, weak, waxy, …")
    ] = False,
    word: Annotated[str | None, typer.Argument(metavar="[WORD]", help="With --symptom: one row of its table.")] = None,
    mend: Annotated[bool, typer.Option("--mend", help="Remove the run's damaged cache files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say why a training failed, from its run directory or from any log of sd-scripts."""
    if symptom:
        asked, run = split_words(target, word, Path.cwd())
        show(lambda: _symptoms(asked, run), _print_symptoms, as_json=as_json)
    if target is None or word is not None:
        raise typer.BadParameter("name one run or log, or ask for --symptom [WORD] [RUN]", param_hint="RUN|LOG")
    show(lambda: _diagnose(target, mend), _print_diagnosis, as_json=as_json, unsaid=_unsaid)


def split_words(first: str | None, second: str | None, cwd: Path) -> tuple[str | None, str | None]:
    """Tell the word from the run, in either order: what is there is the run."""
    from lora_forge.workflow.run_diagnosis import is_run

    given = [text for text in (first, second) if text]
    runs = [text for text in given if is_run(text, cwd, folder_of_runs())]
    words = [text for text in given if text not in runs]
    return next(iter(words), None), next(iter(runs or words[1:]), None)


def _diagnose(target: str, mend: bool) -> Diagnosed:
    from lora_forge.workflow.run_diagnosis import diagnose as look

    return look(target, Path.cwd(), folder_of_runs(), mend=mend)


def _unsaid(result: Diagnosed) -> Sequence[Finding]:
    """What the printed diagnosis does not hold: its evidence is a finding too, for scripts."""
    said = result.diagnosis and result.diagnosis.code
    return [finding for finding in result.findings if finding.code != said]


def _symptoms(word: str | None, run: str | None) -> Disappointing:
    from lora_forge.workflow.run_diagnosis import symptoms

    return symptoms(word, run, Path.cwd(), folder_of_runs())


def _print_diagnosis(result: Diagnosed, out: object) -> None:
    from lora_forge.cli.diagnose_view import print_diagnosis

    print_diagnosis(result, out)  # type: ignore[arg-type]


def _print_symptoms(result: Disappointing, out: object) -> None:
    from lora_forge.cli.diagnose_view import print_symptoms

    print_symptoms(result, out)  # type: ignore[arg-type]
