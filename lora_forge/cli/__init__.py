"""The face of forge: parse, call one use case, render. The only place that prints."""

from __future__ import annotations


def main() -> None:
    """Entry point of the ``forge`` command."""
    from lora_forge.cli.app import run

    run()
