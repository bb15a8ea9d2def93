"""docs/diagnosis.md, written from the table of causes itself."""

from __future__ import annotations

from lora_forge.runs.diagnosis import CAUSES
from lora_forge.runs.diagnosis_rest import OUTSIDE_THE_LOG
from lora_forge.runs.diagnosis_row import Cause

HEAD = """# Why a training failed

Written by `scripts/show_diagnosis --write`; do not edit.

A run that fails ends with one of these codes (`error.code` with `--json`), its exit code, the line of the log that says
so, and one thing to try. `forge diagnose RUN` says it again later, `forge diagnose LOG` for any log of sd-scripts, of
forge or not. Codes are never renamed.

"Seen" says how sure the wording is: **R** reproduced with the engine's own Python, **S** read in the source or the
binaries of the engine or a library, **I** known from reports.

| Code | Exit | Cause | Try | Seen | Source |
| --- | --- | --- | --- | --- | --- |
"""

REST = """
## What no line of a log gives away

| Code | Exit | Cause | Try |
| --- | --- | --- | --- |
"""

TAIL = """
## Out of memory

The hint is then the next lever of the run's own plan, the cheapest first: gradient checkpointing, cached latents and
text-encoder outputs, an fp8 base, an 8-bit optimizer, block swap (8, 16, 22, 28, up to what the base model's blocks
allow), half the batch with twice the accumulation, resolution (896, 768, 640, 512), rank. For the machine's own memory:
caches on disk, fewer swapped blocks. `forge train --retry-smaller` pulls one after the other, three at most, also with
`--resume`. With a lever that bears on no number of a training (gradient checkpointing, block swap, caches on disk) the
same run goes on from its last state; with any other it is a new run that names the one before as its parent.

A trainer that was killed is out of memory only where the kernel's own count of such kills rose meanwhile
(`killed-for-memory`); a SIGKILL without that evidence is `killed`, worth a retry as it is.

## Damaged caches

`forge diagnose RUN --mend` removes the cache files that fail their own checksums, in the run's own staging folder and
nowhere else; the next start makes them anew.
"""


def document() -> str:
    rest = "".join(f"| `{code}` | {exit_code} | {what} | {hint} |\n" for code, exit_code, what, hint in OUTSIDE_THE_LOG)
    return HEAD + "".join(_row(row) for row in CAUSES) + REST + rest + TAIL


def _row(row: Cause) -> str:
    what = row.what.replace(" {where}", "").replace("{file}", "FILE").replace("{said}", "ITS TEXT")
    cells = (f"`{row.code}`", str(row.error.exit_code), what, row.hint, row.seen, row.source)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"
