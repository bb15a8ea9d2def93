"""A clock that is ``CLOCK_SHIFT_S`` off, for every Python with this folder on PYTHONPATH.

Wall clock only: file times stay the kernel's, as where a machine's clock was wrong and its file server's right.
"""

from __future__ import annotations

import os
import time

SHIFT_S = float(os.environ.get("CLOCK_SHIFT_S", "0"))
_time, _time_ns = time.time, time.time_ns

if SHIFT_S:
    time.time = lambda: _time() + SHIFT_S
    time.time_ns = lambda: _time_ns() + int(SHIFT_S * 1e9)
