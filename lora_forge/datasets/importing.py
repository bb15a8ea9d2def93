"""An existing dataset TOML of the engine, read as a person's own: its folders, and what it says about training.

Keys are looked up as the engine does: in the subset, then in its dataset, then
in ``[general]``. Forge trains one dataset with one set of buckets, so a file
whose datasets differ in them is refused; keys that forge has no word for are
named, and left out only if that is harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lora_forge.datasets.facts import DatasetFacts, SubsetFacts
from lora_forge.datasets.scan import scan_dataset
from lora_forge.findings import Finding, Severity, error, info, warning
from lora_forge.settings import Layer, Scalar, Source, Value, Written

MAX_BYTES = 1_000_000
Table = Mapping[str, object]
Check = Callable[[Table], list[Finding]]

_BUCKETS = {
    "batch_size": "schedule.batch_size",
    "min_bucket_reso": "data.min_bucket",
    "max_bucket_reso": "data.max_bucket",
    "bucket_reso_steps": "data.bucket_step",
}
_WHOLE = {
    "shuffle_caption": "captions.shuffle",
    "keep_tokens": "captions.keep_tokens",
    "caption_dropout_rate": "captions.dropout",
    "color_aug": "augment.color",
    "flip_aug": "augment.flip",
    "random_crop": "augment.random_crop",
}
"""What a subset may say for itself in the engine, and a preset says once for all."""
_FOLDER = frozenset({"image_dir", "num_repeats", "class_tokens", "is_reg", "caption_extension"})
_TAKEN = frozenset({*_BUCKETS, *_WHOLE, *_FOLDER, "resolution", "enable_bucket", "bucket_no_upscale", "subsets"})
_HARMLESS = {
    "cache_info": None,
    "network_multiplier": 1.0,
    "validation_split": 0.0,
    "validation_seed": None,
    "enable_wildcard": False,
    "token_warmup_min": None,
    "token_warmup_step": 0,
    "caption_dropout_every_n_epochs": 0,
    "caption_tag_dropout_rate": 0.0,
    "alpha_mask": False,
    "caption_separator": ",",
}
"""The engine's own defaults of what forge has no word for (None: any value does no harm)."""


class SubsetSource(NamedTuple):
    """One folder to train on; ``repeats`` as somebody wrote them, with the place."""

    path: Path
    repeats: Written | None = None
    class_tokens: str | None = None
    is_reg: bool = False
    caption_extension: str | None = None


@dataclass(frozen=True)
class Imported:
    """``settings`` are preset keys with the file as their place."""

    sources: tuple[SubsetSource, ...] = ()
    settings: Mapping[str, Written] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def layer(self, label: str) -> Layer:
        return Layer(Source.PROJECT, label, self.settings)


def import_dataset(file: Path, cwd: Path, check: Check) -> Imported:
    """Read a dataset TOML; ``check`` says what the engine would refuse. Paths start at ``cwd``, as they do there."""
    document, problem = read_document(file)
    if document is None:
        return Imported(findings=(error("import-unreadable", problem, "Mend it, or name a folder.", str(file)),))
    wrong = [
        error(each.code, f"{file.name}: {each.message}", each.hint, f"{file}: {each.where}") for each in check(document)
    ]
    if wrong:
        return Imported(findings=tuple(wrong))
    return _Import(document, file, cwd).run()


def scan_sources(
    sources: Sequence[SubsetSource], *, caption_extension: str, reg: Path | None = None, per_file: bool = False
) -> tuple[DatasetFacts, list[Finding]]:
    """Measure several folders as one dataset; each may also hold kohya's sub-folders."""
    train: list[SubsetFacts] = []
    regular: list[SubsetFacts] = []
    findings: list[Finding] = []
    for source in sources:
        extension = source.caption_extension or caption_extension
        facts, problems = scan_dataset(source.path, caption_extension=extension, reg=reg, per_file=per_file)
        findings += problems
        own = [_said(subset, source) for subset in facts.train_subsets]
        (regular if source.is_reg else train).extend(own)
        regular += [subset for subset in facts.subsets if subset.is_reg and subset not in regular]
    root = next((source.path for source in sources if not source.is_reg), sources[0].path)
    return DatasetFacts(root, (*train, *regular)), list(dict.fromkeys(findings))


def _said(subset: SubsetFacts, source: SubsetSource) -> SubsetFacts:
    """What was written about a folder stands before what its name says."""
    repeats = source.repeats.value if source.repeats else None
    return subset._replace(
        repeats=repeats if isinstance(repeats, int) else subset.repeats,
        class_tokens=source.class_tokens or subset.class_tokens,
        is_reg=source.is_reg,
        written=source.repeats,
    )


def read_document(file: Path) -> tuple[Table | None, str]:
    """Read with the engine's own reader, so that both read the same; None, and why, where it cannot be."""
    import toml

    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            return None, f"{file} is larger than {MAX_BYTES:,} bytes."
        return toml.loads(data.decode("utf-8-sig")), ""
    except OSError as wrong:
        return None, f"{file} cannot be read: {wrong.strerror or wrong}."
    except UnicodeDecodeError as wrong:
        return None, f"{file} is not UTF-8 (byte {wrong.start})."
    except (ValueError, IndexError, KeyError, TypeError) as wrong:  # toml 0.10.2 breaks in all of these ways
        return None, f"{file} is no TOML: {wrong}."


class _Import:
    def __init__(self, document: Table, file: Path, cwd: Path) -> None:
        self._general = _table(document.get("general"))
        self._datasets = _tables(document.get("datasets"))
        self._file, self._cwd = file, cwd
        self._findings: list[Finding] = []
        self._settings: dict[str, Written] = {}

    def run(self) -> Imported:
        self._validating()
        if not self._datasets:
            self._error("import-empty", "has no [[datasets]] to train on.", "datasets")
        self._several()
        sources = [source for n, dataset in enumerate(self._datasets) for source in self._sources(n, dataset)]
        if self._datasets and not sources and not any(each.severity is Severity.ERROR for each in self._findings):
            self._error("import-empty", "names no folder to train on.", "datasets.subsets")
        if self._datasets:
            self._take_buckets(self._datasets[0])
            self._take_whole()
        self._unknown()
        return Imported(tuple(sources), self._settings, tuple(self._findings))

    def _several(self) -> None:
        """Datasets that train in the same buckets come to one; others do not."""
        for key in ("resolution", *_BUCKETS, "bucket_no_upscale", "enable_bucket"):
            values = [self._looked_up(key, dataset) for dataset in self._datasets]
            if any(value != values[0] for value in values):
                said = ", ".join(str(value) for value in values)
                text = f"has datasets of different {key} ({said}); forge trains one dataset in one set of buckets."
                self._error("import-several", text, f"datasets.{key}")
        if len(self._datasets) > 1:
            text = f"{self._file.name}: its {len(self._datasets)} datasets are trained as one."
            self._findings.append(info("import-merged", text, "", str(self._file)))

    def _validating(self) -> None:
        """A dataset that only validates must not be trained on."""
        kept = []
        for number, dataset in enumerate(self._datasets):
            share = self._looked_up("validation_split", dataset)
            if share:
                place = f"datasets[{number}].validation_split"
                left = "its images are left out" if share == 1.0 else "the share is not taken over"
                hint = "Let forge hold images out: --validation 4"
                text = f"{self._file.name}: {place} is {share}; {left}."
                self._findings.append(warning("import-validation", text, hint, f"{self._file}: {place}"))
            if share != 1.0:
                kept.append(dataset)
        self._datasets = kept

    def _sources(self, number: int, dataset: Table) -> Iterator[SubsetSource]:
        seen: set[Path] = set()
        for index, subset in enumerate(_tables(dataset.get("subsets"))):
            place = f"datasets[{number}].subsets[{index}]"
            if "metadata_file" in subset:
                text = f"{place} reads its captions from a metadata file; forge reads caption files."
                self._error("import-metadata", text, f"{place}.metadata_file")
                continue
            path = self._cwd / Path(str(subset["image_dir"])).expanduser()
            if path in seen:
                text = f"{self._file.name}: {place} names {path} again; the engine uses the first."
                self._findings.append(warning("import-twice", text, "Raise num_repeats instead.", str(self._file)))
                continue
            seen.add(path)
            yield self._source(path, subset, dataset, place)

    def _source(self, path: Path, subset: Table, dataset: Table, place: str) -> SubsetSource:
        repeats = self._looked_up("num_repeats", subset, dataset)
        tokens = self._looked_up("class_tokens", subset, dataset)
        extension = self._looked_up("caption_extension", subset, dataset)
        where = f"{self._file}: {place}.num_repeats"
        return SubsetSource(
            path=path,
            repeats=Written(repeats, Source.PROJECT, where) if isinstance(repeats, int) else None,
            class_tokens=tokens if isinstance(tokens, str) else None,
            is_reg=subset.get("is_reg") is True,
            caption_extension=extension if isinstance(extension, str) else None,
        )

    def _take_buckets(self, dataset: Table) -> None:
        for key, setting in _BUCKETS.items():
            self._take(setting, key, self._looked_up(key, dataset))
        upscale = self._looked_up("bucket_no_upscale", dataset)
        self._take("data.upscale", "bucket_no_upscale", None if upscale is None else not upscale)
        size = self._looked_up("resolution", dataset)
        sides = size if isinstance(size, (list, tuple)) else [size, size]
        if sides[0] != sides[1]:
            self._error(
                "import-resolution", f"trains at {sides[0]}×{sides[1]}; forge trains at a square.", "resolution"
            )
        else:
            self._take("data.resolution", "resolution", sides[0])
        if self._looked_up("enable_bucket", dataset) is not True and size is not None:
            text = f"{self._file.name} has no buckets and crops every picture to a square; forge sorts them by shape."
            self._findings.append(info("import-buckets", text, "", f"{self._file}: enable_bucket"))

    def _take_whole(self) -> None:
        """Once for all, where all training subsets agree."""
        pairs = [(subset, dataset) for dataset in self._datasets for subset in _tables(dataset.get("subsets"))]
        training = [(subset, dataset) for subset, dataset in pairs if subset.get("is_reg") is not True]
        for key, setting in _WHOLE.items():
            values = [self._looked_up(key, subset, dataset) for subset, dataset in training]
            if values and all(value == values[0] for value in values):
                self._take(setting, key, values[0])
            elif values:
                text = f"says different things of {key} for its folders; forge trains all of them alike."
                self._error("import-differs", text, key)

    def _unknown(self) -> None:
        for place, table in self._all_tables():
            for key, value in table.items():
                if key in _TAKEN or (key in _HARMLESS and _HARMLESS[key] in (None, value)) or key == "validation_split":
                    continue
                text = f"{self._file.name}: forge has no word for {place}.{key}, and trains without it."
                hint = "Take it out of the file, or train with the engine alone."
                self._findings.append(warning("import-key", text, hint, f"{self._file}: {place}.{key}"))

    def _all_tables(self) -> Iterator[tuple[str, Table]]:
        yield "general", self._general
        for number, dataset in enumerate(self._datasets):
            yield f"datasets[{number}]", dataset
            for index, subset in enumerate(_tables(dataset.get("subsets"))):
                yield f"datasets[{number}].subsets[{index}]", {k: v for k, v in subset.items() if k != "metadata_file"}

    def _looked_up(self, key: str, *tables: Table) -> object:
        return next((table[key] for table in (*tables, self._general) if table.get(key) is not None), None)

    def _take(self, setting: str, key: str, value: object) -> None:
        if isinstance(value, (bool, int, float, str)):
            taken: Value = _scalar(value)
            self._settings[setting] = Written(taken, Source.PROJECT, f"{self._file}: {key}")

    def _error(self, code: str, text: str, key: str) -> None:
        hint = "Mend the file, or name its folders: --dataset '{path: photos, repeats: 2}'"
        self._findings.append(error(code, f"{self._file.name} {text}", hint, f"{self._file}: {key}"))


def _scalar(value: bool | int | float | str) -> Scalar:
    return value


def _table(value: object) -> Table:
    return value if isinstance(value, Mapping) else {}


def _tables(value: object) -> list[Table]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def is_refused(imported: Imported) -> bool:
    """Whether the file cannot be trained from."""
    return any(finding.severity is Severity.ERROR for finding in imported.findings)
