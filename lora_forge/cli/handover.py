"""Handing over: what a person needs to know to use a finished LoRA, row by row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_forge.cli.amounts import megabytes

STRENGTHS = {"style": "0.7 to 1.0; 0.5 to 0.7 where the style is too strong"}
ANY_STRENGTH = "0.5 to 1.0"
COMPARED = (0.3, 0.6, 1.0)
"""Shares of the run whose checkpoints are worth a look beside each other."""

STEP_IN_NAME = re.compile(r"-step(\d+)$")


@dataclass(frozen=True)
class Handover:
    """A finished LoRA and what its run knows of it; ``checkpoints`` are the numbered ones."""

    lora: Path
    size_bytes: int
    steps: int
    subject: str
    trigger: str | None
    checkpoints: Sequence[Path] = ()
    samples: Path | None = None
    loss_hint: str = ""


def handover_rows(of: Handover) -> list[tuple[str, str]]:
    """Title and text of each row; what does not apply has none."""
    rows = [
        ("LoRA", f"{of.lora} ({megabytes(of.size_bytes)})"),
        ("copy it to", "models/Lora (WebUI) or models/loras (ComfyUI)"),
        ("prompt tag", _tag(of)),
        ("strength", STRENGTHS.get(of.subject, ANY_STRENGTH)),
        ("two at once", _combined(of)),
        ("compare", _compared(of)),
        ("pictures", f"{of.samples}, by prompt and step" if of.samples else ""),
        ("loss", of.loss_hint),
    ]
    return [(title, text) for title, text in rows if text]


def _tag(of: Handover) -> str:
    tag = f"<lora:{of.lora.stem}:0.8>"
    return f"{tag} with {of.trigger} in the prompt" if of.trigger else tag


def _combined(of: Handover) -> str:
    """Identity 0.8 with style 0.6, this LoRA in its own part."""
    identity, style = (
        ("<lora:IDENTITY:0.8>", f"<lora:{of.lora.stem}:0.6>")
        if of.subject == "style"
        else (f"<lora:{of.lora.stem}:0.8>", "<lora:STYLE:0.6>")
    )
    return f"{identity} {style}: an identity at 0.8, a style at 0.6"


def _compared(of: Handover) -> str:
    """The files nearest to 30, 60 and 100 % of the run; none where the last is the only one."""
    if not of.checkpoints:
        return ""
    nearest = nearest_checkpoints(of)
    shown = ", ".join(f"{path.name} ({round(100 * step / of.steps)} %)" for step, path in nearest)
    return f"{shown}; the last is not always the best"


def nearest_checkpoints(of: Handover) -> list[tuple[int, Path]]:
    """The saved file nearest to each compared share, each once, in the order of steps."""
    numbered = [(int(match[1]), path) for path in of.checkpoints if (match := STEP_IN_NAME.search(path.stem))]
    saved = [(of.steps, of.lora), *numbered]  # of two at the same step the finished one
    chosen = {min(saved, key=lambda each: abs(each[0] - share * of.steps)) for share in COMPARED}
    return sorted(chosen)
