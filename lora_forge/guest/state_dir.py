"""A state directory: there whole, or not at all, and known again as such.

``guest.json`` is written last. It names every other file with size and digest,
holds the place and the training's identity, and seals itself.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from atomic_save import PARTIAL, sync, sync_folder
from place import BadState, Identity, Place

CARD = "guest.json"
VERSION = 1
CHUNK_BYTES = 4 * 2**20
# A LoRA's own weights, optimizer and schedule; accelerate chooses the names.
REQUIRED = frozenset({"model.safetensors", "optimizer.bin", "scheduler.bin"})


def name_of(step: int) -> str:
    """Name a state directory, so that names sort by step.

    >>> name_of(500)
    'step00000500'
    """
    return f"step{step:08d}"


def commit_state(folder: Path, place: Place, identity: Identity, save: Callable[[str], None]) -> list[dict[str, Any]]:
    """Let ``save`` fill a directory and put it in its place; return its files.

    Everything is on disk before the directory gets its name. One that has the
    name already (the training came by here before) makes way only then.
    """
    target = folder / name_of(place.step)
    partial = folder / f".{target.name}{PARTIAL}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save(str(partial))
        files = _seal(partial, place, identity)
        _publish(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(str(folder))
    return files


def _seal(folder: Path, place: Place, identity: Identity) -> list[dict[str, Any]]:
    """Bring every file to disk and write the card; digests and the disk work side by side."""
    with ThreadPoolExecutor() as pool:
        files = list(pool.map(_described, sorted(folder.iterdir())))
    card: dict[str, Any] = {"version": VERSION, "place": place.to_json(), "identity": vars(identity), "files": files}
    path = folder / CARD
    path.write_text(json.dumps({**card, "seal": _seal_of(card)}))
    files.append(_described(path))
    sync_folder(str(folder))
    return files


def _described(path: Path) -> dict[str, Any]:
    sync(str(path))
    return {"name": path.name, "size_bytes": path.stat().st_size, "sha256": digest(path)}


def _publish(partial: Path, target: Path) -> None:
    earlier = target.with_name(f".{target.name}.earlier")
    shutil.rmtree(earlier, ignore_errors=True)
    if target.exists():
        target.replace(earlier)
    partial.replace(target)
    shutil.rmtree(earlier, ignore_errors=True)


def read_state(folder: Path) -> tuple[Place, Identity]:
    """Read the card and hold every file against it; no file is unpickled before that.

    Raises:
        BadState: not a state directory of this version, or not as it was saved.
    """
    card = _read_card(folder)
    try:
        place, identity = Place.from_json(card["place"]), Identity(**card["identity"])
        files = {str(file["name"]): (int(file["size_bytes"]), str(file["sha256"])) for file in card["files"]}
    except (KeyError, TypeError, ValueError) as error:
        raise BadState(f"{folder / CARD} is not a state that this version wrote: {error!r}") from error
    if missing := REQUIRED - files.keys():
        raise BadState(f"{folder / CARD} names no {', '.join(sorted(missing))}")
    for name, (size_bytes, sha256) in files.items():
        _require(folder / Path(name).name, size_bytes, sha256)
    return place, identity


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    try:
        card = json.loads(path.read_bytes())
    except OSError as error:
        raise BadState(f"{folder} holds no {CARD} that can be read: {error.strerror}") from error
    except ValueError as error:
        raise BadState(f"{path} is damaged: {error}") from error
    if not isinstance(card, dict) or card.get("version") != VERSION:
        raise BadState(f"{path} was not written by this version of the guest")
    if card.pop("seal", None) != _seal_of(card):
        raise BadState(f"{path} is damaged: its seal does not fit its content")
    return card


def _require(path: Path, size_bytes: int, sha256: str) -> None:
    try:
        found = path.stat().st_size
        intact = found == size_bytes and digest(path) == sha256
    except OSError as error:
        raise BadState(f"{path} cannot be read: {error.strerror}") from error
    if found != size_bytes:
        raise BadState(f"{path} has {found} bytes, {size_bytes} were saved")
    if not intact:
        raise BadState(f"{path} is damaged: its digest is not the one it was saved with")


def _seal_of(card: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()
