"""The engine's dataset TOML: which keys each level takes, and of which type.

Mirrors ``ConfigSanitizer`` in the engine's library/config_util.py at the pin; a
contract test compares both. Stricter in one place: a bool is no whole number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lora_forge.engine.options import did_you_mean, scalar_fault

if TYPE_CHECKING:
    from lora_forge.findings import Finding

Document = Mapping[str, object]
Schema = Mapping[str, str]

# "exact_float" refuses 1 where 1.0 is meant: the engine's schema does, at these keys.
SUBSET: Schema = {
    "color_aug": "bool",
    "face_crop_aug_range": "two_floats",
    "flip_aug": "bool",
    "num_repeats": "int",
    "random_crop": "bool",
    "shuffle_caption": "bool",
    "keep_tokens": "int",
    "keep_tokens_separator": "str",
    "secondary_separator": "str",
    "caption_separator": "str",
    "enable_wildcard": "bool",
    "token_warmup_min": "int",
    "token_warmup_step": "float",
    "caption_prefix": "str",
    "caption_suffix": "str",
    "custom_attributes": "table",
    "resize_interpolation": "str",
    "caption_dropout_every_n_epochs": "int",
    "caption_dropout_rate": "float",
    "caption_tag_dropout_rate": "float",
}
FOLDER: Schema = {"caption_extension": "str", "class_tokens": "str", "cache_info": "bool"}
MASKED: Schema = {"caption_extension": "str", "cache_info": "bool"}
DATASET: Schema = {
    "batch_size": "int",
    "bucket_no_upscale": "bool",
    "bucket_reso_steps": "int",
    "enable_bucket": "bool",
    "max_bucket_reso": "int",
    "min_bucket_reso": "int",
    "validation_seed": "int",
    "validation_split": "exact_float",
    "resolution": "size",
    "network_multiplier": "exact_float",
    "resize_interpolation": "str",
}

GENERAL: Schema = {**DATASET, **SUBSET, **FOLDER}

# What makes a subset of each style: (keys of the dataset, keys of the subset, keys that must be there).
STYLES: Mapping[str, tuple[Schema, Schema, frozenset[str]]] = {
    "folder": (
        {**DATASET, **SUBSET, **FOLDER},
        {**SUBSET, **FOLDER, "image_dir": "str", "is_reg": "bool", "alpha_mask": "bool"},
        frozenset({"image_dir"}),
    ),
    "metadata": (
        {**DATASET, **SUBSET},
        {**SUBSET, "metadata_file": "str", "image_dir": "str", "alpha_mask": "bool"},
        frozenset({"metadata_file"}),
    ),
    "masked": (
        {**DATASET, **SUBSET, **MASKED},
        {**SUBSET, **MASKED, "image_dir": "str", "conditioning_data_dir": "str"},
        frozenset({"image_dir", "conditioning_data_dir"}),
    ),
}


def check_dataset_document(document: Document, *, masked_loss: bool = False) -> list[Finding]:
    """Say everything that the engine's reader would refuse, with its place (``datasets[0].subsets[1]``)."""
    return [*_shape_faults(document)] or [*_checked(document, masked_loss=masked_loss)]


def _shape_faults(document: Document) -> Iterator[Finding]:
    """Lists of tables where lists of tables belong; without them nothing else can be looked up."""
    yield from _list_fault(document, "datasets", "datasets")
    for index, dataset in enumerate(_tables(document, "datasets")):
        yield from _list_fault(dataset, "subsets", f"datasets[{index}].subsets")


def _list_fault(table: Document, key: str, where: str) -> Iterator[Finding]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        yield _finding("engine-dataset-type", f"{where} must be a list of tables, not {value!r}", "", where)


def _checked(document: Document, *, masked_loss: bool) -> Iterator[Finding]:
    for key in document.keys() - {"general", "datasets"}:
        yield _unknown(key, ("general", "datasets"), key)
    yield from _check_table(document.get("general", {}), GENERAL, "general")
    for index, dataset in enumerate(_tables(document, "datasets")):
        yield from _check_dataset(dataset, f"datasets[{index}]", masked_loss=masked_loss)


def _check_dataset(dataset: Document, where: str, *, masked_loss: bool) -> Iterator[Finding]:
    subsets = _tables(dataset, "subsets")
    style = _style(subsets, masked_loss=masked_loss)
    if style is None:
        message = f"{where} mixes subsets with and without metadata_file"
        yield _finding("engine-dataset-type", message, "give each kind its own [[datasets]]", where)
        return
    dataset_keys, subset_keys, required = STYLES[style]
    own = {key: value for key, value in dataset.items() if key != "subsets"}
    yield from _check_table(own, dataset_keys, where)
    for index, subset in enumerate(subsets):
        place = f"{where}.subsets[{index}]"
        yield from _check_table(subset, subset_keys, place)
        for key in sorted(required - subset.keys()):
            yield _finding("engine-dataset-missing", f"{place} has no {key}", f"add {key}", place)


def _style(subsets: Sequence[Document], *, masked_loss: bool) -> str | None:
    """The engine's own order of guesses; without any subset, all of them hold and the first wins."""
    if masked_loss and all("conditioning_data_dir" in subset for subset in subsets):
        return "masked"
    with_metadata = ["metadata_file" in subset for subset in subsets]
    if all(with_metadata):
        return "metadata"
    return None if any(with_metadata) else "folder"


def _check_table(table: object, schema: Schema, where: str) -> Iterator[Finding]:
    if not isinstance(table, Mapping):
        yield _finding("engine-dataset-type", f"{where} must be a table, not {table!r}", "", where)
        return
    for key, value in table.items():
        place = f"{where}.{key}"
        if key not in schema:
            yield _unknown(key, tuple(schema), place)
        elif fault := CHECKS.get(schema[key], _scalar(schema[key]))(value):
            yield _finding("engine-dataset-type", f"{place} {fault}, not {value!r}", "", place)


def _tables(table: Document, key: str) -> list[Document]:
    value = table.get(key, [])
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _scalar(kind: str) -> Callable[[object], str]:
    return lambda value: scalar_fault(kind, value)


def _exact_float(value: object) -> str:
    return "" if isinstance(value, float) else "must be a number with a point (1.0)"


def _pair(kind: type, value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(type(item) is kind for item in value)


def _two_floats(value: object) -> str:
    return "" if _pair(float, value) else "must be two numbers with a point ([1.0, 3.0])"


def _size(value: object) -> str:
    return "" if type(value) is int or _pair(int, value) else "must be one side in pixels, or [width, height]"


def _table(value: object) -> str:
    return "" if isinstance(value, dict) else "must be a table"


CHECKS: Mapping[str, Callable[[object], str]] = {
    "exact_float": _exact_float,
    "two_floats": _two_floats,
    "size": _size,
    "table": _table,
}


def _unknown(key: str, known: Sequence[str], where: str) -> Finding:
    return _finding("engine-dataset-unknown", f"the engine takes no '{key}' here", did_you_mean(key, known), where)


def _finding(code: str, message: str, hint: str, where: str) -> Finding:
    from lora_forge.findings import error

    return error(code, message, hint, where)
