"""The SHA-256 of every base-model file, taken while it trains anyway, and asked for when the run goes on.

Edges and size, which the first record holds, cost nothing and miss a changed middle.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lora_forge.errors import ForgeError
from lora_forge.findings import Finding, warning
from lora_forge.runs.events import Event, StepTaken
from lora_forge.runs.ledger import Ledger
from lora_forge.runs.record import MODEL, ModelHash, fold

CHUNK_BYTES = 1 << 20


class ModelHasher:
    """Hashes in a thread of its own, from the first step on: until then the engine reads the same disk."""

    def __init__(self, ledger: Ledger, paths: Mapping[str, Path]) -> None:
        known = fold(ledger.folder, ledger.records).models
        self._ledger = ledger
        self._paths = {name: path for name, path in sorted(paths.items()) if name not in known and path.is_file()}
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._work, name="model-hasher", daemon=True)
        self._findings: list[Finding] = []

    def take(self, event: Event) -> None:
        if isinstance(event, StepTaken) and self._thread.ident is None:
            self._thread.start()

    def close(self, *, wait: bool) -> tuple[Finding, ...]:
        """Wait for the work, or give it up: the next attempt does it again."""
        if not wait:
            self._given_up.set()
        if self._thread.ident is not None:
            self._thread.join()
        return tuple(self._findings)

    def _work(self) -> None:
        for name, path in self._paths.items():
            try:
                found = hash_model(path, self._given_up)
                if found is None:
                    return
                self._ledger.append(MODEL, name=name, **found._asdict())
            except (OSError, ForgeError) as problem:
                message = f"the SHA-256 of {path.name} is not in the ledger: {problem}"
                self._findings.append(warning("model-not-hashed", message, "the run itself is whole", str(path)))


@contextmanager
def hashing_models(ledger: Ledger, paths: Mapping[str, Path]) -> Iterator[ModelHasher]:
    """Hash while the block runs; whatever ends it early ends the hashing."""
    hasher = ModelHasher(ledger, paths)
    try:
        yield hasher
    finally:
        hasher.close(wait=False)


def hash_model(path: Path, given_up: threading.Event | None = None) -> ModelHash | None:
    """Read the whole file; None where that was given up."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            if given_up is not None and given_up.is_set():
                return None
            digest.update(chunk)
    return ModelHash(digest.hexdigest(), *_stamps(path))


def is_same_model(path: Path, known: ModelHash) -> bool:
    """Whether the file is the one that was hashed; read again only where its size, or a time of its, is another.

    The times are the kernel's of content and of the entry: a copy, a move to
    another disk or a restored time is read, an untouched file of 24 GB is not.
    """
    stamps = _stamps(path)
    if stamps == (known.size_bytes, known.mtime_ns, known.ctime_ns):
        return True
    found = hash_model(path) if stamps[0] == known.size_bytes else None
    return found is not None and found.sha256 == known.sha256


def _stamps(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
