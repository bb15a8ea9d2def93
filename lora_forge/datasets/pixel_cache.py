"""What was measured is kept in the user's cache, keyed by content.

A file is known again by path, size, inode and both times (the change time, unlike the
modification time, cannot be set back by ``cp -p`` or ``touch``); if one of them
differs its content is digested, and a digest that is known spares the decoding.
An entry made within the clock's grain of the file's last change is not trusted
by its times, as in git's index. A damaged cache is thrown away and made anew.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from pathlib import Path
from types import TracebackType

from lora_forge.datasets.pixels import PixelFacts

MOST_ENTRIES = 200_000
"""About 250 MB."""
_GRAIN_NS = 2_000_000_000
_COMMIT_EVERY_S = 1.0
_BUSY_S = 2.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (digest TEXT PRIMARY KEY, facts TEXT NOT NULL, used INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, digest TEXT NOT NULL);
"""
_QUICK = "SELECT facts.facts, files.stamp FROM files JOIN facts USING (digest) WHERE files.path = ?"


class PixelCache:
    """A small SQLite file, used by several threads of one process under one lock.

    Whatever the database refuses (damage, a full disk, another process) costs
    speed only: the cache then knows and keeps nothing.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._committed_s = time.monotonic()
        self._base = self._open()

    def __enter__(self) -> PixelCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def known_file(self, path: str, status: os.stat_result) -> PixelFacts | None:
        """The facts of a file that has not been touched since they were measured."""
        row = self._row(_QUICK, path)
        return _parsed(row[0]) if row and row[1] == _stamp(status) else None

    def known_content(self, digest: str) -> PixelFacts | None:
        row = self._row("SELECT facts FROM facts WHERE digest = ?", digest)
        return _parsed(row[0]) if row else None

    def keep(self, path: str, status: os.stat_result, facts: PixelFacts) -> None:
        """Remember; written to disk within a second, so that an interrupt costs little."""
        fresh = time.time_ns() - max(status.st_ctime_ns, status.st_mtime_ns) < _GRAIN_NS
        stamp = "" if fresh else _stamp(status)
        now = int(time.time())
        self._write("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (facts.digest, facts.to_text(), now))
        self._write("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (path, stamp, facts.digest))
        if time.monotonic() - self._committed_s > _COMMIT_EVERY_S:
            self._commit()

    def close(self) -> None:
        if self._base is None:
            return
        with contextlib.suppress(sqlite3.Error):
            self._prune(self._base)
        self._commit()
        self._base.close()
        self._base = None

    def _open(self) -> sqlite3.Connection | None:
        """A file that is no database, or a damaged one, is replaced; a folder that cannot be made gives no cache."""
        for _ in range(2):
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                return _connect(self._file)
            except sqlite3.OperationalError:  # locked, read-only, full: another time
                return None
            except sqlite3.DatabaseError:
                with contextlib.suppress(OSError):
                    self._file.unlink()
            except OSError:
                return None
        return None

    def _row(self, query: str, key: str) -> tuple[str, ...] | None:
        with self._lock:
            if self._base is None:
                return None
            try:
                row: tuple[str, ...] | None = self._base.execute(query, (_text(key),)).fetchone()
            except sqlite3.Error as wrong:
                self._give_up(wrong)
                return None
        return row

    def _write(self, query: str, values: tuple[str | int, ...]) -> None:
        with self._lock:
            if self._base is None:
                return
            try:
                self._base.execute(query, [_text(value) for value in values])
            except sqlite3.Error as wrong:
                self._give_up(wrong)

    def _commit(self) -> None:
        with self._lock:
            self._committed_s = time.monotonic()
            if self._base is None:
                return
            try:
                self._base.commit()
            except sqlite3.Error as wrong:
                self._give_up(wrong)

    def _give_up(self, wrong: sqlite3.Error) -> None:
        """Damage found late removes the file, so that the next time starts anew."""
        if self._base is not None:
            with contextlib.suppress(sqlite3.Error):
                self._base.close()
        self._base = None
        if not isinstance(wrong, sqlite3.OperationalError):
            with contextlib.suppress(OSError):
                self._file.unlink()

    @staticmethod
    def _prune(base: sqlite3.Connection) -> None:
        """The entries that were measured longest ago go first."""
        (count,) = base.execute("SELECT count(*) FROM facts").fetchone()
        if count > MOST_ENTRIES:
            oldest = "SELECT digest FROM facts ORDER BY used LIMIT ?"
            base.execute(f"DELETE FROM facts WHERE digest IN ({oldest})", (count - MOST_ENTRIES,))  # noqa: S608
            base.execute("DELETE FROM files WHERE digest NOT IN (SELECT digest FROM facts)")
        (paths,) = base.execute("SELECT count(*) FROM files").fetchone()
        if paths > 2 * MOST_ENTRIES:
            base.execute("DELETE FROM files WHERE rowid <= (SELECT max(rowid) FROM files) - ?", (2 * MOST_ENTRIES,))


def _connect(file: Path) -> sqlite3.Connection:
    base = sqlite3.connect(file, timeout=_BUSY_S, check_same_thread=False)
    try:
        base.execute("PRAGMA synchronous = OFF")  # a torn file is noticed and made anew: it is only a cache
        base.executescript(_SCHEMA)
        base.execute("SELECT facts, used FROM facts LIMIT 1").fetchone()
    except sqlite3.Error:
        base.close()
        raise
    return base


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _text(value: str | int) -> str | int:
    """A path may hold bytes that are no UTF-8, which SQLite would refuse."""
    return value if isinstance(value, int) else value.encode("utf-8", "surrogateescape").decode("latin-1")


def _parsed(text: str) -> PixelFacts | None:
    try:
        return PixelFacts.from_text(text)
    except (ValueError, TypeError):
        return None
