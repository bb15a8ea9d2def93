"""Files that exist twice, since the ledger may not hold them: their text names a person's folders.

The ledger holds their digest. Which of the two is sound is not a question of age.
"""

from __future__ import annotations

from pathlib import Path

from lora_forge.runs.commit import write_whole
from lora_forge.runs.identity import digest


def write_twice(path: Path, text: str) -> str:
    """Write the file and its mirror; the digest that vouches for either."""
    for copy in (path, mirror_of(path)):
        write_whole(copy, text.encode())
    return digest(text)


def sound_copy(path: Path, vouched: object) -> Path:
    """The one of the two that is as the ledger says.

    Raises:
        ValueError: neither is.
    """
    found = next((copy for copy in (path, mirror_of(path)) if _digest_of(copy) == vouched), None)
    if found is None:
        raise ValueError(f"{path.name} is not what it was when the run began, nor is its copy")
    return found


def mirror_of(path: Path) -> Path:
    """The second copy.

    >>> mirror_of(Path("run/preset.yaml")).as_posix()
    'run/.preset.mirror.yaml'
    """
    return path.with_name(f".{path.stem}.mirror{path.suffix}")


def _digest_of(path: Path) -> str | None:
    try:
        return digest(path.read_bytes())
    except OSError:
        return None
