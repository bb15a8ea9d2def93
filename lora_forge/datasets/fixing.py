"""A prepared copy of a dataset: what the engine would misread is mended, and the originals are only read.

Images that need no change are hard links, unless copies are asked for; captions
are always files of their own, since an editor that writes in place would write through a link. Every
result is written beside its place and renamed, so an interrupted copy holds
whole files alone, and the next call ends with the same bytes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lora_forge.datasets.fixing_captions import MAX_BYTES, clean_caption
from lora_forge.datasets.fixing_listing import Caption, Contents, Task, list_contents
from lora_forge.datasets.fixing_manifest import (
    COPIED,
    JOURNAL,
    LEFT_OUT,
    LINKED,
    MANIFEST,
    TEMPORARY,
    WRITTEN,
    YOURS,
    Entry,
    Ledger,
    digest_bytes,
    digest_file,
)
from lora_forge.datasets.fixing_pixels import JPEG_QUALITY, Prepared, Unusable, Wishes, prepare_image
from lora_forge.datasets.notes import printable
from lora_forge.errors import DatasetError
from lora_forge.whole_file import PENDING, pending_path, sync_file, write_whole

Report = Callable[[int, int, str], None]
"""Told before each image: how many are done, of how many, and its name."""


@dataclass(frozen=True)
class Copy:
    """What became of every file, in the order of the manifest."""

    entries: tuple[Entry, ...]
    removed: tuple[str, ...] = ()


class _Made(NamedTuple):
    """One result before it is put in place: its own bytes, or those of the source."""

    source: str
    result: str
    changes: tuple[str, ...]
    source_sha256: str
    data: bytes | None
    how: str
    is_lossy: bool = False


def fix_dataset(root: Path, out: Path, wishes: Wishes, *, dry_run: bool = False, report: Report | None = None) -> Copy:
    """Make, or go on making, the prepared copy of ``root`` in ``out``.

    Raises:
        DatasetError: ``out`` lies in ``root``, holds somebody else's files or another dataset's copy, or one of
            them cannot be used.
    """
    refuse_overlap(root, out)
    ledger = Ledger(out, _settings(wishes), root)
    refuse_foreign(out, ledger)
    try:
        contents = list_contents(root, wishes.caption_extension)
        if not dry_run:
            begin(out, ledger)
        entries = [*_Copying(root, out, wishes, ledger, dry_run).all(contents, report or _silent), *_left_out(contents)]
        if dry_run:
            return Copy(tuple(entries))
        removed = _remove_stale(out, ledger, entries)
        ledger.finish(entries)
        return Copy(tuple(entries), removed)
    except OSError as wrong:
        message = f"the prepared copy cannot be made: {wrong.strerror or wrong} ({wrong.filename})"
        raise DatasetError(message, "check the folder and the space on its disk; run it again to go on") from wrong


def refuse_overlap(root: Path, out: Path) -> None:
    """Neither folder may lie in the other, by whatever name it is called."""
    source, target = root.resolve(), out.resolve()
    if source == target or source in target.parents:
        raise DatasetError(f"--out {out} lies in the dataset, which is never written", "--out a folder beside it")
    if target in source.parents:
        raise DatasetError(f"--out {out} holds the dataset itself", "--out a folder beside it")
    if not root.is_dir():
        raise DatasetError(f"the dataset folder {root} does not exist", "give a folder of images")


class _Copying:
    def __init__(self, root: Path, out: Path, wishes: Wishes, ledger: Ledger, dry_run: bool) -> None:
        self._root, self._out, self._wishes = root, out, wishes
        self._ledger, self._dry_run = ledger, dry_run

    def all(self, contents: Contents, report: Report) -> Iterator[Entry]:
        for number, task in enumerate(contents.tasks):
            report(number, len(contents.tasks), task.source)
            for entry in self._pair(task):
                if not self._dry_run:
                    self._ledger.note(entry)
                yield entry

    def _pair(self, task: Task) -> Iterator[Entry]:
        image = self._image(task)
        yield image
        if task.caption and image.how == LEFT_OUT:
            yield Entry(task.caption.source, LEFT_OUT, reason="its image is left out")
        elif task.caption:
            yield self._caption(task.caption, task.stem + self._wishes.caption_extension)

    def _image(self, task: Task) -> Entry:
        path = self._root / task.source
        source_sha256 = digest_file(path)
        if kept := self._still_there(task, source_sha256):
            return kept
        try:
            prepared = prepare_image(path, self._wishes)
        except Unusable as wrong:
            return Entry(task.source, LEFT_OUT, reason=str(wrong), source_sha256=source_sha256)
        result = task.stem + prepared.ending
        changes = (*prepared.changes, *_lossy_note(prepared), *filter(None, (task.renamed,)))
        unchanged = COPIED if self._wishes.copy else LINKED
        how = unchanged if prepared.data is None else WRITTEN
        return self._place(_Made(task.source, result, changes, source_sha256, prepared.data, how, prepared.is_lossy))

    def _still_there(self, task: Task, source_sha256: str) -> Entry | None:
        """The result of an earlier call, whole and as it was made; it saves decoding the image."""
        entry = self._ledger.holds(task.source, source_sha256)
        if entry is None or entry.how == YOURS or (entry.how == LINKED and self._wishes.copy):
            return None
        if entry.result is None:
            return entry
        is_same_place = os.path.splitext(entry.result)[0] == task.stem  # noqa: PTH122  # a path inside the manifest
        path = self._out / entry.result
        if is_same_place and path.is_file() and digest_file(path) == entry.result_sha256:
            return entry
        return None

    def _caption(self, caption: Caption, result: str) -> Entry:
        data = _read_bounded(self._root / caption.source)
        cleaned = clean_caption(data)
        if cleaned.text is None:
            return Entry(caption.source, LEFT_OUT, reason=cleaned.reason, source_sha256=digest_bytes(data))
        changes = (*cleaned.changes, *filter(None, (caption.note,)))
        kept, how = (cleaned.data, WRITTEN) if cleaned.changes else (data, COPIED)
        return self._place(_Made(caption.source, result, changes, digest_bytes(data), kept, how))

    def _place(self, made: _Made) -> Entry:
        wanted = digest_bytes(made.data) if made.data is not None else made.source_sha256
        return Entry(
            made.source,
            self._put(made, self._out / made.result, wanted),
            made.result,
            made.changes,
            is_lossy=made.is_lossy,
            source_sha256=made.source_sha256,
            result_sha256=wanted,
        )

    def _put(self, made: _Made, target: Path, wanted: str) -> str:
        """Put a result in place, unless it is there already or a person has edited what is; say how."""
        present = digest_file(target) if target.is_file() else None
        is_link = present is not None and target.samefile(self._root / made.source)
        if present == wanted and not (is_link and made.how == COPIED):
            return COPIED if made.how == LINKED and not is_link else made.how
        if present is not None and present not in self._ledger.made(made.result):
            return YOURS
        if self._dry_run:
            return made.how
        target.parent.mkdir(parents=True, exist_ok=True)
        if made.data is None:
            return _place_unchanged(self._root / made.source, target, link=made.how == LINKED)
        write_whole(target, made.data)
        return made.how


def _lossy_note(prepared: Prepared) -> tuple[str, ...]:
    note = f"encoded anew as JPEG of quality {JPEG_QUALITY}; --lossless writes PNG"
    return (note,) if prepared.is_lossy else ()


def _place_unchanged(source: Path, target: Path, *, link: bool) -> str:
    """A hard link where one is wanted and can be made, else a copy; the temporary name makes either whole."""
    temporary = target.with_name(f"{TEMPORARY}{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    is_linked = link and _linked(source, temporary)
    if not is_linked:
        shutil.copyfile(source, temporary)
        sync_file(temporary)
    temporary.replace(target)
    return LINKED if is_linked else COPIED


def _linked(source: Path, target: Path) -> bool:
    """Not every filesystem has hard links, and none has them to another."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        return False
    return True


def _settings(wishes: Wishes) -> dict[str, str]:
    """All that decides the bytes of a result beside its source; Pillow's encoders are part of it."""
    import PIL

    return {
        "background": "#{:02x}{:02x}{:02x}".format(*wishes.background),
        "jpeg": "png" if wishes.lossless else f"quality {JPEG_QUALITY}",
        "caption_extension": wishes.caption_extension,
        "pillow": PIL.__version__,
    }


def begin(out: Path, ledger: Ledger) -> None:
    """Make the folder, sweep what an interrupted call left half-made, and open the journal."""
    out.mkdir(parents=True, exist_ok=True)
    for leftover in (*out.rglob(f"{TEMPORARY}*.tmp"), *out.rglob(f".*{PENDING}")):
        leftover.unlink(missing_ok=True)
    ledger.begin()


def refuse_foreign(out: Path, ledger: Ledger) -> None:
    """A folder that holds anything but what forge noted there is somebody's own; so is another dataset's copy."""
    if ledger.other_source is not None:
        message = f"--out {out} holds the prepared copy of {printable(ledger.other_source)}, which would be lost"
        raise DatasetError(message, "--out a folder that is new or empty")
    if ledger.exists or not out.exists():
        return
    if not out.is_dir():
        raise DatasetError(f"--out {out} is a file", "--out a folder that is new or empty")
    begun = pending_path(out / JOURNAL).name
    names = [path.name for path in out.iterdir() if not path.name.startswith(TEMPORARY) and path.name != begun]
    if names:
        message = f"--out {out} holds other files ({sorted(names)[0]}) and no {MANIFEST}"
        raise DatasetError(message, "--out a folder that is new or empty")


def _remove_stale(out: Path, ledger: Ledger, entries: list[Entry]) -> tuple[str, ...]:
    """Results of earlier calls whose source is gone; what a person has edited stays."""
    produced = [entry.result for entry in entries if entry.result]
    removed = []
    for result in ledger.stale(produced):
        path = out / PurePosixPath(result)
        inside = out.resolve() in path.resolve().parents
        if inside and path.is_file() and digest_file(path) in ledger.made(result):
            path.unlink()
            removed.append(result)
    return tuple(removed)


def _left_out(contents: Contents) -> list[Entry]:
    return [Entry(source, LEFT_OUT, reason=reason) for source, reason in contents.left_out]


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _silent(_done: int, _of: int, _name: str) -> None:
    return


__all__ = ["JOURNAL", "MANIFEST", "Copy", "Report", "begin", "fix_dataset", "refuse_foreign", "refuse_overlap"]
