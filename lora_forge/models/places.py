"""Where base models usually lie: the Hugging Face cache, and the model folders of ComfyUI, WebUI and Forge.

Folders are listed, never opened: what a file is, its header tells (``models.locating``).
Every listing is bounded, since a home folder may hold anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from lora_forge.entries import leads_to_file, leads_to_folder

Kind = Literal["base", "encoder", "autoencoder"]

SHARED_ROOTS: tuple[Path, ...] = (Path("/workspace"),)
"""Where rented machines keep what outlives them."""
MODEL_ENDINGS = (".safetensors",)
PICKLE_ENDINGS = (".ckpt", ".pt", ".pth", ".bin", ".gguf")
"""What lies beside safetensors files and is refused: the engine unpickles the first four, and cannot read the last."""

_FOLDERS: Mapping[str, Kind] = {
    "unet": "base",
    "diffusion_models": "base",
    "checkpoints": "base",
    "Stable-diffusion": "base",
    "clip": "encoder",
    "text_encoders": "encoder",
    "text_encoder": "encoder",
    "vae": "autoencoder",
    "VAE": "autoencoder",
}
_KINDS: Mapping[str, Kind] = {
    "clip_l": "encoder",
    "clip_g": "encoder",
    "t5xxl": "encoder",
    "ae": "autoencoder",
    "vae": "autoencoder",
}
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_MOST_ENTRIES = 500
_MOST_APPS = 200
_DEPTH = 2
_DIFFUSERS_INDEX = "model_index.json"


@dataclass(frozen=True)
class Roots:
    """``hubs`` are Hugging Face caches; below each of ``apps`` an application's ``models`` folder may lie.

    ``named`` are folders that a person pointed at: each may be such a ``models`` folder itself.
    """

    hubs: tuple[Path, ...] = ()
    apps: tuple[Path, ...] = ()
    named: tuple[Path, ...] = ()


class Place(NamedTuple):
    """One file (or Diffusers folder), not yet opened; ``main`` is False for a part of a Diffusers model."""

    path: Path
    origin: str
    main: bool = True


def usual_roots(env: Mapping[str, str], cwd: Path, more: Iterable[Path] = ()) -> Roots:
    """The places of this machine and user; ``more``, which a person named, stands before them."""
    named = tuple(cwd / folder for folder in more)
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    apps = [*named, cwd, cwd.parent, home, *SHARED_ROOTS]
    return Roots(hubs=(_hub(env, home),), apps=tuple(dict.fromkeys(apps)), named=named)


def list_places(roots: Roots, kind: Kind, endings: tuple[str, ...] = MODEL_ENDINGS) -> Iterator[Place]:
    """Every file that may be of ``kind``, applications first; the same file under two names comes once."""
    seen: set[str] = set()
    for place in (*_app_places(roots, kind, endings), *_hub_places(roots, kind, endings)):
        real = os.path.realpath(place.path)
        if real not in seen:
            seen.add(real)
            yield place


def kind_of(holds: Iterable[str]) -> Kind:
    """What sort of folder a model file is kept in, by the roles it may have.

    >>> kind_of(["clip_l"]), kind_of(["flux"])
    ('encoder', 'base')
    """
    return next((_KINDS[role] for role in holds if role in _KINDS), "base")


def hub_snapshots(roots: Roots) -> Iterator[tuple[str, Path]]:
    """Every model in the Hugging Face caches: its repository's name and its current files."""
    for hub in roots.hubs:
        for folder in _folders(hub, _MOST_ENTRIES):
            if folder.name.startswith("models--") and (snapshot := _snapshot(folder)):
                yield folder.name.removeprefix("models--").replace("--", "/"), snapshot


def _hub(env: Mapping[str, str], home: Path) -> Path:
    """As huggingface_hub decides it."""
    if env.get("HF_HUB_CACHE"):
        return Path(env["HF_HUB_CACHE"]).expanduser()
    cache = Path(env["XDG_CACHE_HOME"]) if env.get("XDG_CACHE_HOME") else home / ".cache"
    hugging_face = Path(env["HF_HOME"]).expanduser() if env.get("HF_HOME") else cache / "huggingface"
    return hugging_face / "hub"


def _snapshot(repository: Path) -> Path | None:
    """The revision that ``main`` names, else the newest."""
    try:
        named = repository / "snapshots" / (repository / "refs" / "main").read_text(encoding="ascii").strip()
        if named.is_dir():
            return named
    except (OSError, ValueError):
        pass
    snapshots = list(_folders(repository / "snapshots", _MOST_ENTRIES))
    return max(snapshots, key=lambda folder: folder.stat().st_mtime, default=None)


def _hub_places(roots: Roots, kind: Kind, endings: tuple[str, ...]) -> Iterator[Place]:
    for name, snapshot in hub_snapshots(roots):
        origin = f"the Hugging Face cache, {name}"
        diffusers = (snapshot / _DIFFUSERS_INDEX).exists()
        for path in _files(snapshot, endings, _DEPTH):
            yield Place(path, origin, main=path.parent == snapshot or not diffusers)
        if diffusers and kind == "base":
            yield Place(snapshot, origin, main=False)


def _app_places(roots: Roots, kind: Kind, endings: tuple[str, ...]) -> Iterator[Place]:
    for folder in (*roots.named, *(root / "models" for root in roots.apps)):
        yield from (Place(path, _origin(folder)) for path in _files(folder, endings, 0))
    for models in (*roots.named, *_models_folders(roots)):
        for folder in _folders(models, _MOST_ENTRIES):
            if _FOLDERS.get(folder.name) == kind:
                origin = f"{_origin(models)}/{folder.name}"
                yield from (Place(path, origin) for path in _files(folder, endings, _DEPTH))


def _origin(folder: Path) -> str:
    """A folder for people: ``models`` alone would not say whose."""
    return f"{folder.parent.name}/{folder.name}" if folder.name == "models" else folder.name


def _models_folders(roots: Roots) -> Iterator[Path]:
    """``models`` of each root itself and of each application folder in it."""
    for root in roots.apps:
        for folder in (root, *_folders(root, _MOST_APPS)):
            if os.path.isdir(folder / "models"):  # noqa: PTH112 — pathlib raises where nobody may look
                yield folder / "models"


def _files(folder: Path, endings: tuple[str, ...], depth: int) -> Iterator[Path]:
    """Files by ending, sorted; one shard of several is no model by itself."""
    entries = _entries(folder, _MOST_ENTRIES)
    for entry in entries:
        if entry.name.endswith(endings) and not _SHARD.search(entry.name) and leads_to_file(entry):
            yield Path(entry.path)
    if depth:
        for entry in entries:
            if not entry.name.startswith(".") and leads_to_folder(entry):
                yield from _files(Path(entry.path), endings, depth - 1)


def _folders(folder: Path, most: int) -> Iterator[Path]:
    entries = (entry for entry in _entries(folder, _MOST_ENTRIES) if not entry.name.startswith("."))
    return (Path(entry.path) for entry in islice(filter(leads_to_folder, entries), most))


def _entries(folder: Path, most: int) -> list[os.DirEntry[str]]:
    """The first ``most`` entries, sorted by name; none where the folder cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(islice(entries, most), key=lambda entry: entry.name)
    except OSError:
        return []
