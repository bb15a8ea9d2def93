"""Sampled pictures under names a person understands: step, prompt, seed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lora_forge.errors import ForgeError
from lora_forge.findings import Finding, warning
from lora_forge.runs.commit import describe_file, sync_directory, sync_file
from lora_forge.runs.directory import AttemptDir, RunDir
from lora_forge.runs.ledger import Ledger
from lora_forge.runs.record import SAMPLES, as_json

SLUG_CHARS = 48
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
"""The last chunk of every PNG file (PNG specification, 11.2.5)."""

# train_util.py and flux_train_utils.py, sample_image_inference: name_STEP_INDEX_TIMESTAMP[_SEED].png
ENGINE_NAME = re.compile(r"_(?P<step>\d{6})_(?P<index>\d{2})_(?P<time>\d{14})(?:_(?P<seed>\d+))?\.png\Z")


def commit_samples(run: RunDir, ledger: Ledger, attempt: int, prompts: Sequence[str]) -> tuple[Finding, ...]:
    """Give the pictures of an attempt their place and record them; one that cannot be written fails no training."""
    try:
        pictures = name_samples(run, run.attempt(attempt), prompts)
        if pictures:
            for picture in pictures:
                sync_file(picture)
            sync_directory(run.samples)
            ledger.append(SAMPLES, attempt=attempt, files=as_json(describe_file(each, run.path) for each in pictures))
    except (OSError, ForgeError) as problem:
        message = f"sample pictures of attempt {attempt} are not in the ledger: {problem}"
        return (warning("samples-not-recorded", message, where=str(run.samples)),)
    return ()


def name_samples(run: RunDir, attempt: AttemptDir, prompts: Sequence[str]) -> tuple[Path, ...]:
    """Move what the engine sampled into ``samples/``; what does not look like its work stays where it is.

    Called once the engine has ended, however it ended.
    """
    moved = []
    for picture in sorted(attempt.engine_samples.glob("*.png")):
        match = ENGINE_NAME.search(picture.name)
        if match is None or not is_whole(picture):
            continue
        run.samples.mkdir(exist_ok=True)
        target = run.samples / sample_name(int(match["step"]), int(match["index"]), prompts, match["seed"])
        picture.replace(target)
        moved.append(target)
    return tuple(moved)


def is_whole(picture: Path) -> bool:
    """Whether it ends as a PNG does: one that a kill cut short is no sample."""
    with picture.open("rb") as file:
        file.seek(max(0, picture.stat().st_size - len(PNG_END)))
        return file.read() == PNG_END


def sample_name(step: int, index: int, prompts: Sequence[str], seed: str | None) -> str:
    """Name one picture so that a folder sorts by prompt, then by step: a prompt's pictures are compared.

    >>> sample_name(500, 1, ["a cat", "zvk, on a beach at sunset"], "42")
    'prompt2-zvk_on_a_beach_at_sunset-step000500-seed42.png'
    """
    words = re.sub(r"[^A-Za-z0-9]+", "_", prompts[index] if index < len(prompts) else "").strip("_")
    ending = f"-seed{seed}" if seed else ""
    return f"prompt{index + 1}-{words[:SLUG_CHARS] or 'picture'}-step{step:06d}{ending}.png"
