"""Finding base-model files that nobody named, by what they hold.

A file is chosen only where nothing else would do as well: two fitting files are
shown, and the person says which. Headers alone are read, a bounded number of them,
and a look for telling bytes comes before the parsing, which costs a hundred times more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lora_forge.families.family import ModelFile
from lora_forge.findings import Finding, info
from lora_forge.models.facts import ModelFacts, read_model, recognise
from lora_forge.models.header import Header, InvalidModel, read_header
from lora_forge.models.places import PICKLE_ENDINGS, Kind, Place, Roots, hub_snapshots, kind_of, list_places
from lora_forge.models.suits import holds, why_unchosen, why_unusable
from lora_forge.settings import Source, Written

_MARKS: Mapping[str, tuple[bytes, ...]] = {
    "flux": (b"double_blocks.0.", b"transformer_blocks.0.attn.add_k_proj."),
    "chroma": (b"distilled_guidance_layer.",),
    "sdxl": (b"label_emb.0.0.", b"add_embedding."),
    "sd15": (b"input_blocks.0.0.", b"down_blocks.0."),
    "clip_l": (b"text_model.encoder.layers.0.",),
    "t5xxl": (b"encoder.block.0.layer.0.",),
    "ae": (b"decoder.conv_in.",),
    "vae": (b"decoder.conv_in.",),
}
"""Bytes that a header must hold to be worth parsing; a role that is not here is always parsed."""
_SAMPLES = 64
_SAMPLE_BYTES = 1024
_LENGTH_BYTES = 8
_MOST_TEXT = 4_000_000
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model")


class Candidate(NamedTuple):
    """A file that could stand in a place; ``origin`` says where it was found, for people."""

    path: Path
    origin: str
    facts: ModelFacts


@dataclass
class Budget:
    """How many headers a search may look at and parse; a plan is answered at once, a listing may take longer."""

    looks: int = 120
    parses: int = 8
    fitting: int = 2
    """How many fitting files are enough: two already mean that none is chosen."""


THOROUGH = (3000, 300, 50)
"""Looks, parses and fitting files of a search that a person asked for by name."""


@dataclass(frozen=True)
class Located:
    """For each file its one candidate, or the several that would do; what has neither was not found."""

    chosen: Mapping[str, Candidate] = field(default_factory=dict)
    several: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)
    complete: bool = True
    """False where the budget ended the search; then nothing is chosen that was not compared with all."""

    def written(self) -> dict[str, Written]:
        """The chosen paths, as if somebody had named them."""
        return {name: written_path(candidate) for name, candidate in self.chosen.items()}

    def findings(self, files: Iterable[ModelFile]) -> list[Finding]:
        by_name = {file.name: file for file in files}
        findings = [_several(by_name[name], candidates) for name, candidates in self.several.items()]
        if self.chosen:
            found = "; ".join(f"{by_name[name].flag} {one.path} ({one.origin})" for name, one in self.chosen.items())
            hint = "forge models locate shows why; name others by flag or in forge.yaml"
            findings.append(info("model-located", f"Nobody named these, so what was found is used: {found}.", hint))
        return findings


class Listed(NamedTuple):
    """One line of ``forge models ls``: what a file is, or why it is refused."""

    path: Path
    origin: str
    facts: ModelFacts | None
    refused: str


class TokenizerPlace(NamedTuple):
    """Where the engine would get a tokenizer; ``path`` is None where it would have to download it."""

    tokenizer: str
    path: Path | None
    how: str


def locate_models(files: Sequence[ModelFile], roots: Roots, budget: Budget | None = None) -> Located:
    """Look for every file of ``files`` in the usual places; what a header does not confirm is not considered."""
    budget = budget or Budget()
    if not files:
        return Located()
    chosen: dict[str, Candidate] = {}
    several: dict[str, tuple[Candidate, ...]] = {}
    places = {kind: list(list_places(roots, kind)) for kind in {kind_of(file.holds) for file in files}}
    for file in files:
        fitting = _fitting(file, places[kind_of(file.holds)], budget)
        if len(fitting) == 1 and budget.looks > 0 and budget.parses > 0:
            chosen[file.name] = fitting[0]
        elif fitting:
            several[file.name] = tuple(fitting)
    return Located(chosen, several, complete=budget.looks > 0 and budget.parses > 0)


def written_path(candidate: Candidate) -> Written:
    """A found file as a setting."""
    return Written(str(candidate.path), Source.MACHINE, candidate.origin, f"found in {candidate.origin}")


def list_models(roots: Roots, budget: Budget) -> Iterator[Listed]:
    """Everything in the usual places, with what it is; what cannot be used says why."""
    seen: set[Path] = set()
    kinds: tuple[Kind, ...] = ("base", "encoder", "autoencoder")
    for kind in kinds:
        for place in list_places(roots, kind, (".safetensors", *PICKLE_ENDINGS)):
            if place.path in seen or budget.parses <= 0:
                continue
            seen.add(place.path)
            budget.parses -= 1
            if place.main or place.path.is_file():
                yield _listed(place)


def locate_tokenizers(names: Iterable[str], folder: Path | None, roots: Roots) -> list[TokenizerPlace]:
    """Where each tokenizer is, in the order in which the engine looks (its library/strategy_base.py)."""
    snapshots = dict(hub_snapshots(roots))
    return [_tokenizer(name, folder, snapshots) for name in names]


def tokenizer_folder(name: str) -> str:
    """The engine's own folder name for a tokenizer.

    >>> tokenizer_folder("google/t5-v1_1-xxl")
    'google_t5-v1_1-xxl'
    """
    return name.replace("/", "_")


def _fitting(file: ModelFile, places: Sequence[Place], budget: Budget) -> list[Candidate]:
    """Files by themselves first; parts of Diffusers models only where no such file was found."""
    for main in (True, False):
        found: list[Candidate] = []
        for place in places:
            if place.main is not main or len(found) >= budget.fitting:
                continue
            if any(_same_content(place.path, other.path) for other in found):
                continue
            candidate = _candidate(file, place, budget)
            found += [candidate] if candidate else []
        if found:
            return found
    return []


def _candidate(file: ModelFile, place: Place, budget: Budget) -> Candidate | None:
    if budget.looks <= 0 or budget.parses <= 0:
        return None
    budget.looks -= 1
    if place.path.is_file() and not _may_hold(place.path, file.holds):
        return None
    budget.parses -= 1
    try:
        header, facts = _read(place.path)
    except InvalidModel:
        return None
    fits = holds(file, facts) and why_unchosen(facts, header) is None
    return Candidate(place.path, place.origin, facts) if fits else None


def _read(path: Path) -> tuple[Header | None, ModelFacts]:
    if path.is_dir():
        return None, read_model(path)
    header = read_header(path)
    return header, recognise(header)


def _may_hold(path: Path, roles: Iterable[str]) -> bool:
    """A look at the header's text; only ever rules a file out."""
    marks = [mark for role in roles for mark in _MARKS.get(role, (b"",))]
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            text = file.read(min(length, _MOST_TEXT))
    except OSError:
        return False
    return text.startswith(b"{") and any(mark in text for mark in marks)


def _same_content(one: Path, other: Path) -> bool:
    """Whether two files are copies: of one size, and alike wherever they are looked at.

    Fine-tunes of one model share header and size, but hardly any weight.
    """
    if not (one.is_file() and other.is_file()) or one.stat().st_size != other.stat().st_size:
        return False
    size = one.stat().st_size
    with one.open("rb") as left, other.open("rb") as right:
        for sample in range(_SAMPLES):
            offset = size * sample // _SAMPLES
            left.seek(offset)
            right.seek(offset)
            if left.read(_SAMPLE_BYTES) != right.read(_SAMPLE_BYTES):
                return False
    return True


def _several(file: ModelFile, candidates: Sequence[Candidate]) -> Finding:
    found = "; ".join(f"{one.path} ({one.origin})" for one in candidates)
    message = f"Several files could be {file.about}, and none is chosen: {found}."
    if len(candidates) == 1:
        message = f"{found} could be {file.about}, but there are too many files to compare it with all of them."
    return info("model-several", message, f"say which: {file.flag} FILE, or forge models set {file.name} FILE")


def _listed(place: Place) -> Listed:
    path = place.path
    if path.suffix != ".safetensors":
        what = "the engine cannot read it" if path.suffix == ".gguf" else "it is a pickle, which can run code"
        return Listed(path, place.origin, None, f"{path.suffix} is not read: {what}")
    try:
        facts = read_model(path)
    except InvalidModel as wrong:
        return Listed(path, place.origin, None, wrong.message.removeprefix(f"{path} "))
    return Listed(path, place.origin, facts, why_unusable(facts) or "")


def _tokenizer(name: str, folder: Path | None, snapshots: Mapping[str, Path]) -> TokenizerPlace:
    local = folder / tokenizer_folder(name) if folder else None
    if local and local.exists():
        return TokenizerPlace(name, local, "in the folder of tokenizers")
    snapshot = snapshots.get(name)
    if snapshot and any((snapshot / file).exists() for file in _TOKENIZER_FILES):
        return TokenizerPlace(name, snapshot, "in the Hugging Face cache")
    where = str(local) if local else f"TOKENIZERS/{tokenizer_folder(name)} with --tokenizers TOKENIZERS"
    how = f"not here: the engine downloads it; without a network put {name}'s tokenizer files in {where}"
    return TokenizerPlace(name, None, how)
