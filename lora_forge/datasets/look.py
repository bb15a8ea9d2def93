"""Looking at the pixels of many images: each decoded once, on every core, remembered for the next time."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lora_forge.datasets.pixel_cache import PixelCache
from lora_forge.datasets.pixels import OUT_OF_MEMORY, PixelFacts, content_digest, measure_image

_AHEAD = 4
"""Images in work for each core: enough to keep it busy, few enough to stop at once."""


MOST_IN_FLIGHT = 150_000_000
"""Pixels that all threads together hold in memory: about 900 MB if they are the coefficients of a JPEG."""


class Permits:
    """Lets images be decoded side by side as long as they fit in memory together."""

    def __init__(self, most: int = MOST_IN_FLIGHT) -> None:
        self._most, self._held, self._changed = most, 0, threading.Condition()

    @contextmanager
    def __call__(self, pixels: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + pixels <= self._most)
            self._held += pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()


class Progress(NamedTuple):
    """``left_s`` is None until something was measured to go by."""

    done: int
    total: int
    left_s: float | None


class Looked(NamedTuple):
    """``pixels`` in the order asked for; ``measured`` of them were decoded now, the others were known."""

    pixels: dict[Path, PixelFacts]
    measured: int


Watch = Callable[[Progress], None]


def recall(paths: Iterable[Path], cache: PixelCache) -> dict[Path, PixelFacts]:
    """What is known without opening a single image."""
    known: dict[Path, PixelFacts] = {}
    for path in paths:
        try:
            facts = cache.known_file(str(path.absolute()), path.stat())
        except OSError:
            continue
        if facts is not None:
            known[path] = facts
    return known


def look(paths: Sequence[Path], cache: PixelCache, *, watch: Watch | None = None, workers: int | None = None) -> Looked:
    """Measure every image, from memory where it is known; an interrupt keeps what was measured so far."""
    known = recall(paths, cache)
    todo = [path for path in paths if path not in known]
    found, measured = dict(known), 0
    began = time.monotonic()
    for done, (path, facts, fresh) in enumerate(_measured(todo, cache, workers or os.cpu_count() or 1), start=1):
        found[path] = facts
        measured += fresh
        if watch is not None:
            left_s = (time.monotonic() - began) / done * (len(todo) - done)
            watch(Progress(len(known) + done, len(paths), left_s))
    return Looked({path: found[path] for path in paths if path in found}, measured)


class _Measured(NamedTuple):
    path: Path
    facts: PixelFacts
    fresh: bool


def _measured(paths: Sequence[Path], cache: PixelCache, workers: int) -> Iterator[_Measured]:
    """Threads do: Pillow and numpy let go of the interpreter while they work, and nothing has to be sent about."""
    if not paths:
        return
    waiting, rest, permits = set[Future[_Measured]](), iter(paths), Permits()
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore")  # Pillow's remarks on damaged metadata; threads share this filter
        try:
            for path in rest:
                waiting.add(pool.submit(_measure, path, cache, permits))
                if len(waiting) >= workers * _AHEAD:
                    ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (one.result() for one in ended)
            while waiting:
                ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in ended)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _measure(path: Path, cache: PixelCache, permits: Permits) -> _Measured:
    place = str(path.absolute())
    try:
        status = path.stat()
        digest = content_digest(place)
    except OSError as wrong:
        return _Measured(path, PixelFacts("", problem=wrong.strerror or str(wrong)), False)
    facts = cache.known_content(digest)
    fresh = facts is None
    facts = facts or measure_image(place, digest, permits)
    if facts.problem != OUT_OF_MEMORY:
        cache.keep(place, status, facts)
    return _Measured(path, facts, fresh)
