"""Pictures that lie in a dataset's folders and are not trained on, each by its name, with the reason."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lora_forge.datasets.facts import DatasetFacts
from lora_forge.datasets.listing import Listing, list_folder

IGNORED, UNREADABLE, LOOK_ALIKE = "image-ignored", "image-unreadable", "holdout-look-alike"


class Rejected(NamedTuple):
    """``name`` is relative to the dataset, ``why`` the code of the finding that speaks of it."""

    name: str
    why: str


def rejected_images(dataset: DatasetFacts, look_alikes: Iterable[str] = ()) -> list[Rejected]:
    """List them all, where a plan's findings name a few; ``look_alikes`` are left out beside a held-out picture."""
    taken = {subset.folder / image.name for subset in (*dataset.subsets, *dataset.held_out) for image in subset.images}
    folders = dict.fromkeys((dataset.root, *(subset.folder for subset in dataset.subsets)))
    alike = set(look_alikes)
    found: list[Rejected] = []
    for folder in folders:
        for name, why in _turned_away(list_folder(folder, ".txt"), taken):
            shown = _relative(folder / name, dataset.root)
            looks = {name, f"{folder.name}/{name}"} & alike
            found.append(Rejected(shown, LOOK_ALIKE if looks else why))
    return sorted(found)


def _turned_away(listing: Listing, taken: set[Path]) -> list[tuple[str, str]]:
    unreadable = [name for name in listing.images if listing.folder / name not in taken] + listing.broken
    return [(name, IGNORED) for name in listing.unread] + [(name, UNREADABLE) for name in unreadable]


def _relative(path: Path, root: Path) -> str:
    """As seen from the dataset; of a folder elsewhere, its own name leads.

    >>> _relative(Path("/data/photos/10_x/a.png"), Path("/data/photos")), _relative(Path("/reg/a.png"), Path("/data"))
    ('10_x/a.png', 'reg/a.png')
    """
    return path.relative_to(root).as_posix() if root in path.parents else f"{path.parent.name}/{path.name}"
