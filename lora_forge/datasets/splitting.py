"""A hold-out: images that are kept out of training, so that the loss on them says something.

Chosen by content, not by name or place: every image has a fixed rank, the
digest of the seed and its bytes, and the first ones are taken. What was chosen
stays chosen when images are added, renamed or moved. No picture that looks like
a held-out one is trained on: it is left out of both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lora_forge.datasets.facts import DatasetFacts, ImageFacts, SubsetFacts
from lora_forge.errors import DatasetError
from lora_forge.whole_file import write_whole

if TYPE_CHECKING:
    from lora_forge.datasets.pixels import PixelFacts

DEFAULT_SEED = 42
"""The hold-out's own: another training seed must not choose other images."""
SCHEMA_VERSION = 1
ENDING = ".holdout.json"


class HeldImage(NamedTuple):
    """``digest`` decides; the name is for people."""

    digest: str
    name: str


@dataclass(frozen=True)
class Holdout:
    """The recorded choice, in the order in which it was made."""

    seed: int
    images: tuple[HeldImage, ...] = ()


class LookAlike(NamedTuple):
    """``name`` is not trained on, because it looks like the held-out ``held``."""

    name: str
    held: str


@dataclass(frozen=True)
class Split:
    """``facts`` without the ``chosen`` images, which are in ``facts.held_out``; ``missing`` could not be found.

    ``holdout`` is what to record: the chosen ones, and behind them those recorded
    before that fewer images leave no room for, so that they are the first to come back.
    """

    facts: DatasetFacts
    chosen: tuple[HeldImage, ...]
    holdout: Holdout
    look_alikes: tuple[LookAlike, ...]
    kept: int
    gone: tuple[HeldImage, ...]
    missing: int


class _Place(NamedTuple):
    """One training image: its subset, its place in it, and what it is known by."""

    subset: int
    image: int
    path: Path
    name: str
    digest: str


def split_dataset(
    facts: DatasetFacts, pixels: Mapping[Path, PixelFacts], count: int, recorded: Holdout | None = None
) -> Split:
    """Hold out ``count`` training images, those of ``recorded`` first; no subset loses its last image."""
    recorded = recorded or Holdout(DEFAULT_SEED)
    places = _places(facts, pixels)
    group_of = _groups(places, pixels)
    before = _recorded_places(places, recorded)
    choice = _Choice(places, group_of)
    for place in before:
        if len(choice.chosen) < count:
            choice.take(place)
    kept = len(choice.chosen)
    for place in _by_rank(places, group_of, recorded.seed):
        if len(choice.chosen) < count and choice.may_take(place):
            choice.take(place)
    known = {place.digest for place in places}
    chosen = tuple(HeldImage(place.digest, place.name) for place in choice.chosen)
    reserve = tuple(HeldImage(place.digest, place.name) for place in before if place not in choice.chosen)
    return Split(
        facts=_without(facts, choice),
        chosen=chosen,
        holdout=Holdout(recorded.seed, chosen + reserve),
        look_alikes=tuple(choice.look_alikes()),
        kept=kept,
        gone=tuple(image for image in recorded.images if image.digest not in known),
        missing=count - len(choice.chosen),
    )


def training_paths(facts: DatasetFacts) -> list[Path]:
    """Every image that may be held out, with its folder."""
    return [subset.folder / image.name for subset in facts.train_subsets for image in subset.images]


def parse_share(text: str, images: int) -> int | None:
    """``4`` images, or ``10%`` of them, at least one; None where it is neither.

    >>> parse_share("4", 30), parse_share("10%", 25), parse_share("1%", 25), parse_share("0", 25), parse_share("x", 25)
    (4, 3, 1, None, None)
    """
    number = text.strip().removesuffix("%").strip()
    try:
        value = float(number)
    except ValueError:
        return None
    if text.strip().endswith("%"):
        return max(1, int(images * value / 100 + 0.5)) if 0 < value < 100 else None
    return int(value) if value >= 1 and value == int(value) else None


def holdout_file(root: Path, project: Path) -> Path:
    """Where the choice is recorded: in the project folder, never among the images.

    >>> holdout_file(Path("/data/photos"), Path("/project")).as_posix()
    '/project/photos.holdout.json'
    """
    inside = root == project or root in project.parents
    return (root.parent if inside else project) / f"{root.name or 'dataset'}{ENDING}"


def read_holdout(file: Path) -> Holdout | None:
    """The recorded choice; None where there is none.

    Raises:
        DatasetError: the file cannot be read as one.
    """
    try:
        return holdout_of(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        message = f"the recorded hold-out {file} cannot be read: {wrong}"
        raise DatasetError(message, "mend or delete it; `forge dataset split` chooses anew") from wrong


def holdout_of(told: Any) -> Holdout:
    """A choice as it is written down, in its own file or in a ledger.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    images = tuple(HeldImage(str(image["digest"]), str(image["name"])) for image in told["images"])
    return Holdout(int(told["seed"]), images)


def write_holdout(file: Path, holdout: Holdout, root: Path) -> None:
    """Record a choice, whole or not at all.

    Raises:
        DatasetError: the folder cannot be written.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "dataset": str(root),
        "seed": holdout.seed,
        "images": [image._asdict() for image in holdout.images],
    }
    try:
        write_whole(file, (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode())
    except OSError as wrong:
        message = f"the hold-out cannot be recorded in {file}: {wrong.strerror or wrong}"
        raise DatasetError(message, "run it in a folder that you may write to") from wrong


class _Choice:
    """The images chosen so far, and what choosing them costs the others."""

    def __init__(self, places: Sequence[_Place], group_of: Mapping[_Place, int]) -> None:
        self.chosen: list[_Place] = []
        self._group_of = group_of
        self._members: dict[int, list[_Place]] = {}
        self._left: dict[int, int] = {}
        for place in places:
            self._members.setdefault(group_of[place], []).append(place)
            self._left[place.subset] = self._left.get(place.subset, 0) + 1

    def may_take(self, place: _Place) -> bool:
        """Whether nothing like it is held out yet, and every subset keeps an image."""
        members = self._members[self._group_of[place]]
        if any(member in self.chosen for member in members):
            return False
        taken: dict[int, int] = {}
        for member in members:
            taken[member.subset] = taken.get(member.subset, 0) + 1
        return all(self._left[subset] > count for subset, count in taken.items())

    def take(self, place: _Place) -> None:
        fresh = not any(member in self.chosen for member in self._members[self._group_of[place]])
        self.chosen.append(place)
        for member in self._members[self._group_of[place]] if fresh else ():
            self._left[member.subset] -= 1

    def look_alikes(self) -> Iterable[LookAlike]:
        for place in self.chosen:
            for member in self._members[self._group_of[place]]:
                if member not in self.chosen:
                    yield LookAlike(member.name, place.name)

    def untrained(self) -> set[_Place]:
        """All that training must not see: the chosen and their look-alikes."""
        return {member for place in self.chosen for member in self._members[self._group_of[place]]}


def _places(facts: DatasetFacts, pixels: Mapping[Path, PixelFacts]) -> list[_Place]:
    """Images that could not be read or decoded stay in training, where the checks speak of them."""
    several = len(facts.subsets) > 1
    places = []
    for number, subset in enumerate(facts.subsets):
        for index, image in enumerate(subset.images if not subset.is_reg else ()):
            path = subset.folder / image.name
            known = pixels.get(path)
            if known is not None and known.digest and not known.problem:
                name = f"{subset.folder.name}/{image.name}" if several else image.name
                places.append(_Place(number, index, path, name, known.digest))
    return places


def _groups(places: Sequence[_Place], pixels: Mapping[Path, PixelFacts]) -> dict[_Place, int]:
    """Look-alikes and copies share a number, and so do the places of one file."""
    from lora_forge.datasets.near_duplicates import copies, look_alikes

    by_path: dict[Path, list[_Place]] = {}
    for place in places:
        by_path.setdefault(place.path, []).append(place)  # a folder may be named twice
    seen = {path: pixels[path] for path in by_path}
    number = {place: index for index, twins in enumerate(by_path.values()) for place in twins}
    for group in (*look_alikes(seen), *copies(seen)):
        members = [place for path in group for place in by_path[path]]
        numbers = {number[member] for member in members}
        for place, own in number.items():
            if own in numbers:
                number[place] = min(numbers)
    return number


def _recorded_places(places: Sequence[_Place], recorded: Holdout) -> list[_Place]:
    """The recorded images that are still there, each once, in recorded order; of copies the first by name."""
    by_digest: dict[str, _Place] = {}
    for place in sorted(places, key=lambda place: place.name, reverse=True):
        by_digest[place.digest] = place
    return [by_digest[image.digest] for image in recorded.images if image.digest in by_digest]


def _by_rank(places: Sequence[_Place], group_of: Mapping[_Place, int], seed: int) -> list[_Place]:
    """Pictures that nothing looks like come first: holding them out costs training nothing else."""
    sizes: dict[int, int] = {}
    for number in group_of.values():
        sizes[number] = sizes.get(number, 0) + 1

    def rank(place: _Place) -> tuple[bool, str, str]:
        digest = hashlib.blake2b(f"{seed}:{place.digest}".encode(), digest_size=16).hexdigest()
        return sizes[group_of[place]] > 1, digest, place.name

    return sorted(places, key=rank)


def _without(facts: DatasetFacts, choice: _Choice) -> DatasetFacts:
    untrained = {(place.subset, place.image) for place in choice.untrained()}
    chosen = {(place.subset, place.image) for place in choice.chosen}
    train = [_only(subset, n, lambda at: at not in untrained) for n, subset in enumerate(facts.subsets)]
    held = [_only(subset, n, lambda at: at in chosen) for n, subset in enumerate(facts.subsets)]
    return DatasetFacts(facts.root, tuple(train), tuple(subset for subset in held if subset.images))


def _only(subset: SubsetFacts, number: int, wanted: Callable[[tuple[int, int]], bool]) -> SubsetFacts:
    images: list[ImageFacts] = [image for index, image in enumerate(subset.images) if wanted((number, index))]
    return subset._replace(images=tuple(images))
