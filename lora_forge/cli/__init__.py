"""The face of forge: parse, call one use case, render. The only place that prints."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the ``forge`` command."""
    if "train" in sys.argv[1:]:
        from lora_forge.cli.early import main_early

        main_early(sys.argv[1:])
    from lora_forge.cli.app import run

    run()
