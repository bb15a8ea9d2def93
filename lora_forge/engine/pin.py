"""Which engine forge drives: one repository, one commit, and the part of its tree that is fetched.

The option tables beside this module were read at this commit; moving it means
running ``scripts/dump_engine_options`` again.
"""

from __future__ import annotations

REPOSITORY = "https://github.com/kohya-ss/sd-scripts"
COMMIT = "48d368fa557731ad0488c07304dfeba8c07910eb"

# Windows binaries, pictures, manuals and a tokenizer that only Anima reads: no script used here opens them.
UNFETCHED = ("/bitsandbytes_windows/", "/images/", "/docs/", "/configs/qwen3_06b/")
SPARSE = ("/*", *(f"!{folder}" for folder in UNFETCHED))
