"""The file of sample prompts that ``--prompts`` names: UTF-8, one prompt a line, ``#`` begins a remark."""

from __future__ import annotations

from pathlib import Path

from lora_forge.entries import open_regular
from lora_forge.findings import Finding, error
from lora_forge.presets.keys import printable

MAX_BYTES = 1 << 20
FLAG = "--prompts"


def read_prompts(path: Path, shown: str, findings: list[Finding]) -> list[str]:
    """The prompts, less blank lines and remarks; where there is none, one finding says why."""
    named = f"the prompt file {printable(shown)}"
    try:
        text = _read_text(path)
    except (OSError, ValueError) as problem:
        findings.append(_unreadable(named, problem))
        return []
    prompts = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    if not prompts:
        hint = "write one prompt a line; leave --prompts out for forge's own, or add --no-samples for none"
        findings.append(error("prompts-empty", f"{named} holds no prompt", hint, FLAG))
    return prompts


def _read_text(path: Path) -> str:
    """The whole text; a byte order mark is no part of the first prompt."""
    with open_regular(path) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    if b"\0" in data:
        raise ValueError("it is no text, since it holds NUL bytes")
    return data.decode("utf-8").removeprefix("\ufeff")


def _unreadable(named: str, problem: OSError | ValueError) -> Finding:
    if isinstance(problem, UnicodeDecodeError):
        line = problem.object.count(b"\n", 0, problem.start) + 1
        message = f"{named} is not UTF-8: line {line} holds byte 0x{problem.object[problem.start]:02x}"
        return error("prompts-unreadable", message, "save the file as UTF-8", FLAG)
    why = str(problem)
    if isinstance(problem, OSError):
        why = "it does not exist" if isinstance(problem, FileNotFoundError) else problem.strerror or why
    hint = "give --prompts a text file in UTF-8, one prompt a line"
    return error("prompts-unreadable", f"{named} cannot be read: {why}", hint, FLAG)
