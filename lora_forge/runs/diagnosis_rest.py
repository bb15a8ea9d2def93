"""What is left when no cause is known by name: the engine's own words, and warnings that may explain them."""

from __future__ import annotations

from lora_forge.errors import EngineError, ForgeError, NoUsableLora
from lora_forge.runs.diagnosis_row import cause

READ_LOG = "read the end of engine.log"

LAUNCHERS = r"(?:subprocess\.)?CalledProcessError|[\w.]*ChildFailedError|SystemExit"
"""What launchers raise because the trainer failed: true, and no cause."""

LAST_CAUSES = (
    cause(
        "engine-assertion", ForgeError, "an assertion of the engine failed {where}: {said}",
        "change the setting it names; `forge plan` shows every one",
        r"^\s*AssertionError(?:: (?P<said>.+))?$",
        seen="R", source="the engine's asserts",
    ),
    cause(
        "failed", ForgeError, "the engine failed {where}: {said}", READ_LOG,
        rf"^\s*(?P<said>(?!{LAUNCHERS})(?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt)\b.*)",
        seen="R", source="Python",
    ),
    cause(
        "gpu-not-listed", EngineError, "this build of torch does not list this GPU",
        "forge engine install --cuda 12.8 (RTX 50, B200)",
        r"with CUDA capability sm_\d+ is not compatible with the current PyTorch installation",
        seen="S", source="torch/cuda/__init__.py:218", remark=True,
    ),
    cause(
        "no-images-used", NoUsableLora, "the engine left a folder out: {file}", "forge dataset check",
        r"not directory: (?P<file>.+)", r"ignore subset with image_dir='(?P<file>[^']*)'",
        seen="S", source="train_util.py:1974, 2050", remark=True,
    ),
)  # fmt: skip

OUTSIDE_THE_LOG = (
    ("silent", "1", "the engine left with an exit code and its log names no cause", READ_LOG),
    ("no-output", "7", "the engine ended well and left no LoRA", READ_LOG),
    ("no-usable-lora", "7", "the LoRA is not what the plan said", "what its finding says"),
    ("interrupted", "130, 143", "a signal to forge ended what it did", "the message names the command to go on with"),
)
"""Codes that no line of a log gives away: forge itself knows. Each with its exit code."""
