"""Cache files: damaged ones are found by their checksums; removed only where forge made them.

A cache is made anew whenever it is missing, so nothing is lost with it.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from lora_forge.findings import Finding, info
from lora_forge.runs.directory import RunDir
from lora_forge.runs.ledger import has_ledger

CACHE_SUFFIX = ".npz"


def damaged_caches(run: RunDir) -> tuple[Path, ...]:
    """Read every cache of the run's own staging folder through; those that do not hold what they should."""
    caches = sorted(run.dataset.rglob(f"*{CACHE_SUFFIX}"))
    return tuple(path for path in caches if is_removable(run, path) and not is_whole(path))


def remove_damaged_caches(run: RunDir) -> tuple[Path, ...]:
    """Remove them, so that the next start makes them anew; what was removed."""
    removed = damaged_caches(run)
    for path in removed:
        path.unlink(missing_ok=True)
    return removed


def forget_caches(run: RunDir) -> None:
    """Remove every cache, for a run that begins anew.

    The engine draws each cached latent from the training's own generator; what is read back
    draws nothing, and all that follows would be other noise.
    """
    for path in sorted(run.dataset.rglob(f"*{CACHE_SUFFIX}")):
        if is_removable(run, path):
            path.unlink(missing_ok=True)


def cache_removed(path: Path) -> Finding:
    return info("cache-removed", f"removed {path.name}, which was damaged: it is made anew", where=str(path))


def is_removable(run: RunDir, path: Path) -> bool:
    """A cache file proper in the run's own staging folder: no link, and nothing that a link leads to.

    The folder's links lead to a person's pictures, which are never touched. Nor is a
    folder without a ledger, whose ``dataset`` may be a person's own.
    """
    if path.suffix != CACHE_SUFFIX or path.is_symlink() or not path.is_file() or not has_ledger(run.path):
        return False
    return path.resolve().is_relative_to(run.dataset.resolve())


def is_whole(path: Path) -> bool:
    """Check the archive's directory and every member's checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None and bool(archive.namelist())
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError):
        return False
