"""What a prepared copy is made of: per file what changed and why, and which bytes came of it.

While a copy is under way every file is noted in a journal beside the results,
one line each; at the end the manifest takes its place. Either tells the next
call which results are its own, which still hold, and which a person has edited.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from lora_forge.whole_file import write_whole

MANIFEST = "forge-fix.json"
JOURNAL = ".forge-fix.journal"
TEMPORARY = ".forge-fix-"
SCHEMA_VERSION = 1
_CHUNK_BYTES = 1 << 20

LINKED, COPIED, WRITTEN, LEFT_OUT, YOURS = "linked", "copied", "written", "left-out", "edited"


@dataclass(frozen=True)
class Entry:
    """One file of the dataset. ``how`` is linked, copied or written, left-out, or edited: a person's, not touched.

    ``result_sha256`` is what forge made, also where a person has edited it since.
    """

    source: str
    how: str
    result: str | None = None
    changes: tuple[str, ...] = ()
    reason: str = ""
    is_lossy: bool = False
    source_sha256: str | None = None
    result_sha256: str | None = None


def digest_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def digest_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Ledger:
    """The results of earlier calls in ``out``, and the journal of this one."""

    def __init__(self, out: Path, settings: dict[str, str], source: Path) -> None:
        self._out = out
        self._settings = settings
        self._source = source.absolute()
        self._entries: dict[str, Entry] = {}
        self._digests: dict[str, set[str]] = {}
        self.exists = False
        self.other_source: str | None = None
        """What ``out`` was made from, where that is not this ledger's own source."""
        self._read()

    def holds(self, source: str, sha256: str) -> Entry | None:
        """What was made of these very bytes with these very settings, if it is noted."""
        entry = self._entries.get(source)
        return entry if entry and entry.source_sha256 == sha256 else None

    def made(self, result: str) -> set[str]:
        """Every digest that forge ever noted for this result: bytes that it may replace."""
        return self._digests.get(result, set())

    def stale(self, produced: Iterable[str]) -> list[str]:
        """Results of earlier calls that this one did not make again."""
        return sorted(self._digests.keys() - set(produced))

    def begin(self) -> None:
        """Open the journal; everything known so far goes in first, so that it may stand alone."""
        lines: list[dict[str, object]] = [{"settings": self._settings, "source": str(self._source)}]
        lines += [{"made": [result, sorted(digests)]} for result, digests in self._digests.items()]
        lines += [{"entry": asdict(entry)} for entry in self._entries.values()]
        write_whole(self._out / JOURNAL, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def note(self, entry: Entry) -> None:
        with (self._out / JOURNAL).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"entry": asdict(entry)}) + "\n")

    def finish(self, entries: Iterable[Entry]) -> None:
        """Write the manifest and let the journal go."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "source": str(self._source),
            "settings": self._settings,
            "files": [asdict(entry) for entry in entries],
        }
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        write_whole(self._out / MANIFEST, text.encode("utf-8", "backslashreplace"))
        (self._out / JOURNAL).unlink(missing_ok=True)

    def _read(self) -> None:
        """The manifest, then the journal of a call that was interrupted; a cut last line is passed over."""
        try:
            document = json.loads((self._out / MANIFEST).read_text(encoding="utf-8"))
            self.exists = True
            self._compare(document.get("source"))
            self._take_all(document.get("settings"), [{"entry": each} for each in document.get("files", [])])
        except (OSError, ValueError, AttributeError):
            pass
        try:
            lines = (self._out / JOURNAL).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return
        self.exists = True
        told = [told for line in lines if isinstance(told := _loaded(line), dict)]
        self._compare(told[0].get("source") if told else None)
        self._take_all(told[0].get("settings") if told else None, told)

    def _compare(self, source: object) -> None:
        """A folder has many names; a link to the source is the source."""
        if isinstance(source, str) and Path(source).resolve() != self._source.resolve():
            self.other_source = source

    def _take_all(self, settings: object, lines: Iterable[dict[str, object]]) -> None:
        for line in lines:
            entry = _entry(line.get("entry"))
            made = line.get("made")
            if entry is not None:
                self._take(entry, reusable=settings == self._settings)
            elif isinstance(made, list) and len(made) == 2:
                self._digests.setdefault(str(made[0]), set()).update(map(str, made[1]))

    def _take(self, entry: Entry, *, reusable: bool) -> None:
        if entry.result and entry.result_sha256:
            self._digests.setdefault(entry.result, set()).add(entry.result_sha256)
        if reusable:
            self._entries[entry.source] = entry


def _loaded(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _entry(told: object) -> Entry | None:
    if not isinstance(told, dict):
        return None
    try:
        return Entry(**{**told, "changes": tuple(told.get("changes", ()))})
    except TypeError:
        return None
