"""A reader of safetensors headers that believes nothing: bounded, offsets checked, no pickle, no torch.

The format: eight bytes of header length (little endian), the header as JSON, then
the tensor data without a gap. Base models and finished LoRAs are read by it alike.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lora_forge.entries import open_regular

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # the format's own limit
ITEM_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
    "F4": 4,
}


class NotSafetensors(ValueError):
    """The bytes are not those of a safetensors file."""


class Truncated(NotSafetensors):
    """The file ends before its header says it does."""


class TensorEntry(NamedTuple):
    """``dtype`` as safetensors spells it (F32, BF16, F8_E4M3, …); ``begin`` and ``end`` count from the file's start."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size_bytes(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True)
class Header:
    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
    tensor_bytes: int
    size_bytes: int


def read_header(path: Path) -> Header:
    """Read and check the header; the tensors must fill the rest of the file without a gap.

    Raises:
        Truncated: the file is shorter than its header says.
        NotSafetensors: anything else is wrong with it.
        OSError: the file cannot be read.
    """
    with open_regular(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = _header_length(file.read(LENGTH_BYTES), size)
        text = file.read(length)
    if not text.startswith(b"{"):
        raise NotSafetensors("its header is not a JSON object")
    if len(text) < length:
        raise Truncated(f"{size:,} of {LENGTH_BYTES + length:,} bytes are there")
    return _checked(_parsed(text), start=LENGTH_BYTES + length, size=size)


def _header_length(first: bytes, size: int) -> int:
    if len(first) < LENGTH_BYTES:
        raise Truncated(f"{size} bytes are there")
    length: int = struct.unpack("<Q", first)[0]
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise NotSafetensors(f"it would have a header of {length:,} bytes")
    return length


def _parsed(text: bytes) -> dict[str, object]:
    """Parse what begins with a brace, and so comes out as an object."""
    try:
        held: dict[str, object] = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise NotSafetensors("its header is not JSON") from error
    return held


def _checked(held: dict[str, object], *, start: int, size: int) -> Header:
    """Check that the tensors fill the data exactly: no gap, no overlap, nothing missing at the end."""
    metadata = held.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise NotSafetensors("its metadata are not texts")
    tensors = {name: _entry(name, told, start) for name, told in held.items()}
    end = start
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            raise NotSafetensors(f"tensor {name} starts at byte {entry.begin:,}, not at {end:,}")
        end = entry.end
    if end > size:
        raise Truncated(f"{size:,} of {end:,} bytes are there")
    if end < size:
        raise NotSafetensors(f"{size - end:,} bytes at its end belong to no tensor")
    return Header(tensors, metadata, end - start, size)


def _entry(name: str, told: object, start: int) -> TensorEntry:
    try:
        dtype, sides, (begin, end) = told["dtype"], told["shape"], told["data_offsets"]  # type: ignore[index]
        shape = tuple(_count(side) for side in sides)
        entry = TensorEntry(str(dtype), shape, start + _count(begin), start + _count(end))
        wanted = -(-math.prod(shape) * ITEM_BITS[entry.dtype] // 8)
    except (KeyError, TypeError, ValueError) as error:
        raise NotSafetensors(f"the entry of tensor {name} cannot be understood") from error
    if entry.size_bytes != wanted:
        raise NotSafetensors(f"tensor {name} takes {entry.size_bytes:,} bytes where its shape needs {wanted:,}")
    return entry


def _count(value: object) -> int:
    """Take a plain whole number and nothing that could be turned into one."""
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
