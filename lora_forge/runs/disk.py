"""A disk that takes no more: the same error for the same trouble, wherever a run is written."""

from __future__ import annotations

import errno

from lora_forge.errors import ForgeError, InvalidInput

FULL = (errno.ENOSPC, errno.EDQUOT)
NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)
BROKEN = (errno.EIO, errno.ENODEV, errno.ESTALE)
FULL_CODE = "disk-full"


def unwritable(what: str, problem: OSError, hint: str) -> ForgeError:
    """A full or broken disk is nobody's mistake, exit code 1; a place that cannot be written to is, and exits 3."""
    message = f"{what} cannot be written: {reason(problem)}"
    if problem.errno in FULL:
        return ForgeError(message, f"free some space (df -h shows where); {hint}", code=FULL_CODE)
    return ForgeError(message, f"mend the disk; {hint}") if problem.errno in BROKEN else InvalidInput(message, hint)


def reason(problem: OSError) -> str:
    """What the kernel said, and of which file, where it said so.

    >>> reason(OSError(errno.ENOSPC, "No space left on device"))
    'No space left on device'
    """
    told = problem.strerror or str(problem)
    where = problem.filename2 or problem.filename  # of two names, the second was to be made
    return f"{told} ({where})" if where else told
