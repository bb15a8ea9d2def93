"""Stands in for forge in a process of its own: supervises a command, prints the outcome as JSON.

python forge_stand_in.py FOLDER GRACE_S COMMAND…
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

from lora_forge.runs.cause import cause_of
from lora_forge.runs.signals import stop_on_signals
from lora_forge.runs.supervise import supervise


def main() -> int:
    folder, grace_s, command = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    seen: list[str] = []
    with stop_on_signals() as stop, stop.noting():
        outcome = supervise(
            command,
            env=dict(os.environ),
            cwd=folder,
            log=folder / "engine.log",
            events=folder / "events.jsonl",
            on_event=lambda event: seen.append(type(event).__name__),
            stop=stop,
            grace_s=grace_s,
        )
    error = cause_of(outcome)
    result = {
        "outcome": outcome.outcome,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "last_step": outcome.last_step,
        "killed": outcome.killed,
        "wall_s": outcome.wall_s,
        "first_step_s": outcome.first_step_s,
        "saved": [event.file for event in outcome.saved],
        "events": seen,
        "error": None if error is None else {"code": error.code, "exit": error.exit_code, "message": error.message},
        "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    print(json.dumps(result))
    return 0 if error is None else error.exit_code


if __name__ == "__main__":
    sys.exit(main())
