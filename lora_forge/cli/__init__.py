"""The face of forge: parse, call one use case, render. The only place that prints."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from lora_forge.errors import Interrupted
from lora_forge.runs.signals import stop_on_signals


def main() -> None:
    """Entry point of the ``forge`` command; a signal is heard from here on, before anything heavy is imported.

    Once the end is told there is nothing left to stop, so a signal then changes no exit code.
    """
    argv = sys.argv[1:]
    try:
        with stop_on_signals():
            _run(argv)
    except Interrupted as problem:
        from lora_forge.cli.output import fail

        raise SystemExit(fail(problem, as_json="--json" in argv)) from problem
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_IGN)


def _run(argv: Sequence[str]) -> None:
    if "train" in argv:
        from lora_forge.cli.early import main_early

        main_early(argv)
    from lora_forge.cli.app import run

    run()
