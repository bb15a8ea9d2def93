"""A prepared copy of several folders: one folder for each, and beside them a dataset file of the engine's.

The file says what the folders' names cannot: repeats, class tokens, which one
is for regularization. A prepared copy of a dataset TOML is that TOML with other
folders in it, so what it says about training is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lora_forge.datasets.fixing import Copy, Report, begin, fix_dataset, refuse_foreign, refuse_overlap
from lora_forge.datasets.fixing_manifest import WRITTEN, YOURS, Entry, Ledger, digest_bytes, digest_file
from lora_forge.datasets.fixing_pixels import Wishes
from lora_forge.errors import DatasetError
from lora_forge.whole_file import write_whole


class Part(NamedTuple):
    """One folder of the dataset; ``name`` is its copy's, unique among them."""

    root: Path
    name: str
    wishes: Wishes


def part_names(roots: Sequence[Path], file_name: str) -> list[str]:
    """A name for each copy: the folder's own, with a number where another has it.

    >>> part_names([Path("/a/photos"), Path("/b/photos"), Path("/b/Photos")], "dataset.toml")
    ['photos', 'photos-2', 'Photos-3']
    """
    taken, names = {file_name.casefold()}, []
    for root in roots:
        own = root.resolve().name or "photos"
        name, number = own, 2
        while name.casefold() in taken:
            name, number = f"{own}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def fix_several(
    parts: Sequence[Part],
    out: Path,
    file: tuple[str, str],
    *,
    source: Path | None = None,
    dry_run: bool = False,
    report: Report | None = None,
) -> list[Copy]:
    """Copy every part into ``out``, then write the dataset file; ``file`` is its name and text.

    ``source`` is the dataset TOML that names the parts; a list in forge.yaml may grow, and goes without.
    One copy for each part, and last that of the file itself.

    Raises:
        DatasetError: ``out`` lies in one of the folders, holds somebody else's files or another dataset's copy, or
            one of them cannot be used.
    """
    for part in parts:
        refuse_overlap(part.root, out)
    ledger = Ledger(out, {}, source or out)
    refuse_foreign(out, ledger)
    for part in parts:  # before any of them is written
        refuse_foreign(out / part.name, Ledger(out / part.name, {}, part.root))
    try:
        if not dry_run:
            begin(out, ledger)
        copies = [_copied(part, out, dry_run, report) for part in parts]
        entry = _file_entry(out / file[0], file[1].encode(), ledger)
        if not dry_run:
            _finish(out, file, entry, ledger)
    except OSError as wrong:
        message = f"the prepared copy cannot be made: {wrong.strerror or wrong} ({wrong.filename})"
        raise DatasetError(message, "check the folder and the space on its disk; run it again to go on") from wrong
    return [*copies, Copy((entry,))]


def _copied(part: Part, out: Path, dry_run: bool, report: Report | None) -> Copy:
    within = report and _within(part, report)
    return fix_dataset(part.root, out / part.name, part.wishes, dry_run=dry_run, report=within)


def repointed(document: Mapping[str, object], cwd: Path, moved: Mapping[Path, Path]) -> dict[str, object]:
    """A dataset TOML with its folders elsewhere; those that were not copied are named in full."""
    datasets = [_each_subset(dataset, cwd, moved) for dataset in _tables(document.get("datasets"))]
    return {**document, "datasets": datasets}


def _each_subset(dataset: Mapping[str, object], cwd: Path, moved: Mapping[Path, Path]) -> dict[str, object]:
    subsets = []
    for subset in _tables(dataset.get("subsets")):
        path = (cwd / Path(str(subset["image_dir"])).expanduser()).absolute() if "image_dir" in subset else None
        subsets.append({**subset, "image_dir": str(moved.get(path, path))} if path else dict(subset))
    return {**dataset, "subsets": subsets}


def _tables(value: object) -> list[Mapping[str, object]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _within(part: Part, report: Report) -> Report:
    return lambda done, of, name: report(done, of, f"{part.name}/{name}")


def _file_entry(path: Path, data: bytes, ledger: Ledger) -> Entry:
    """A file that a person has edited since stays as it is."""
    wanted = digest_bytes(data)
    present = digest_file(path) if path.is_file() else None
    is_edited = present not in (None, wanted) and present not in ledger.made(path.name)
    how = YOURS if is_edited else WRITTEN
    return Entry(path.name, how, path.name, ("names the copied folders",), result_sha256=wanted)


def _finish(out: Path, file: tuple[str, str], entry: Entry, ledger: Ledger) -> None:
    if entry.how == WRITTEN:
        ledger.note(entry)
        write_whole(out / file[0], file[1].encode())
    ledger.finish([entry])


def beneath(copy: Copy, name: str) -> Copy:
    """The same copy as it looks from the folder above, for one account of all parts."""
    entries = [
        replace(entry, source=f"{name}/{entry.source}", result=entry.result and f"{name}/{entry.result}")
        for entry in copy.entries
    ]
    return Copy(tuple(entries), tuple(f"{name}/{result}" for result in copy.removed))
