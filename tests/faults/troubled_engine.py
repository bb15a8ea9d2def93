"""The fake engine in trouble: it prints what would give orders to a CI runner, or runs out of GPU memory.

``TROUBLE``: hostile (prints and dies by it), nap (waits to be looked at), empty (done, nothing saved), untidy (done,
and then a crash on its way out), or room=N (fits a batch of N with gradient checkpointing, half of that without).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import fake_engine
import toml

HOSTILE = (
    "::error file=x::pwned\n  ::add-mask::x\n##[error]pwned\na ##vso[task.setvariable]x\n"
    "\x1b[2J\x1b]0;t\x07::warning::x"
)


class TroubledEngine(fake_engine.Engine):
    def __init__(self, options: dict[str, object]) -> None:
        super().__init__(options)
        batch = toml.load(str(options["dataset_config"]))["datasets"][0]["batch_size"]
        self.size = batch * (1 if options.get("gradient_checkpointing") else 2)

    def run(self) -> int:
        trouble = os.environ["TROUBLE"]
        if trouble == "hostile":
            print(HOSTILE, flush=True)
            print(f"RuntimeError: {HOSTILE}", file=sys.stderr, flush=True)
            return self.end("failed", f"RuntimeError: {HOSTILE}")
        if trouble == "empty":
            return self.end("done", "", 0)
        if trouble == "untidy":
            super().run()
            os._exit(139)
        if trouble == "nap":
            self.events.write("phase", phase="training")
            time.sleep(1.5)
        elif self.size > int(trouble.partition("=")[2]):
            return self.end("out-of-memory", "CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().run()

    def end(self, outcome: str, message: str, code: int = 1) -> int:
        self.events.write("end", outcome=outcome, message=message, step=0, traceback_tail=[])
        return code


if __name__ == "__main__":
    fake_engine.Engine = TroubledEngine  # type: ignore[misc]
    sys.exit(fake_engine.main())
