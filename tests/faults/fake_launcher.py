"""Stands between forge and the fake engine as accelerate does: it waits, and turns every failure into exit code 1.

    python fake_launcher.py SCRIPT WORDS…

A program of its own, so that it does not import what only the trainer needs: there are thousands of runs.
``FAKE_STRACE`` (JSON: a list of words) goes before the trainer's command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys


def main() -> int:
    behind = json.loads(os.environ.get("FAKE_STRACE", "[]"))
    code = subprocess.run([*behind, sys.executable, *sys.argv[1:]], check=False).returncode
    if code == -9:
        print("subprocess.CalledProcessError: Command died with <Signals.SIGKILL: 9>.", file=sys.stderr)
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(main())
