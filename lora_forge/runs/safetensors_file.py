"""A reader of safetensors that believes nothing: bounded header, offsets checked, no pickle, no torch."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # the format's own limit
ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}


class NotSafetensors(ValueError):
    """The bytes are not those of a safetensors file."""


class Truncated(NotSafetensors):
    """The file ends before its header says it does."""


@dataclass(frozen=True)
class TensorEntry:
    """``begin`` and ``end`` count from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
    tensor_bytes: int


def read_header(path: Path) -> Header:
    """Read and check the header; the tensors must fill the rest of the file without a gap.

    Raises:
        Truncated: the file is shorter than its header says.
        NotSafetensors: anything else is wrong with it.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = _header_length(file.read(LENGTH_BYTES), size)
        text = file.read(length)
    if not text.startswith(b"{"):
        raise NotSafetensors("its header is no JSON object")
    if len(text) < length:
        raise Truncated(f"it ends inside its header, after {size} bytes")
    return _checked(_parsed(text), start=LENGTH_BYTES + length, size=size)


def _header_length(first: bytes, size: int) -> int:
    if len(first) < LENGTH_BYTES:
        raise Truncated(f"it holds {size} bytes")
    length: int = struct.unpack("<Q", first)[0]
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise NotSafetensors(f"its header would be {length} bytes long")
    return length


def _parsed(text: bytes) -> dict[str, object]:
    try:
        held = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotSafetensors("its header is no JSON") from error
    if not isinstance(held, dict):
        raise NotSafetensors("its header is no JSON object")
    return held


def _checked(held: dict[str, object], *, start: int, size: int) -> Header:
    metadata = held.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict):
        raise NotSafetensors("its metadata is no JSON object")
    tensors = {name: _entry(name, told, start) for name, told in held.items()}
    end = start
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            raise NotSafetensors(f"{name} leaves a gap or overlaps another tensor")
        end = entry.end
    if end > size:
        raise Truncated(f"it ends after {size} bytes of {end}")
    if end < size:
        raise NotSafetensors(f"{size - end} bytes follow its last tensor")
    text = {str(key): str(value) for key, value in metadata.items()}
    return Header(tensors, text, tensor_bytes=end - start)


def _entry(name: str, told: object, start: int) -> TensorEntry:
    try:
        dtype, sides, (begin, end) = told["dtype"], told["shape"], told["data_offsets"]  # type: ignore[index]
        shape = tuple(_count(side) for side in sides)
        entry = TensorEntry(str(dtype), shape, start + _count(begin), start + _count(end))
        wanted = math.prod(shape) * ITEM_BYTES[entry.dtype]
    except (KeyError, TypeError, ValueError) as error:
        raise NotSafetensors(f"its entry for {name} makes no sense") from error
    if entry.end - entry.begin != wanted:
        raise NotSafetensors(f"its entry for {name} does not add up")
    return entry


def _count(value: object) -> int:
    """Take a plain whole number and nothing that could be turned into one."""
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
