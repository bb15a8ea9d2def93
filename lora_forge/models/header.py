"""The header of a safetensors file: what tensors it holds, without reading them.

The format: eight bytes of header length (little endian), the header as JSON, then
the tensor data without a gap. Every number is checked before it is used, so a
truncated, damaged or disguised file is told apart here and not by the engine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lora_forge.errors import PlanError

MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors library itself."""

_LENGTH_BYTES = 8
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
    "F4": 4,
}
_DISGUISES = (
    (b"PK\x03\x04", "a PyTorch checkpoint (zip with pickle), which can run code when it is loaded"),
    (b"\x80\x02", "a Python pickle, which can run code when it is loaded"),
    (b"\x80\x03", "a Python pickle, which can run code when it is loaded"),
    (b"\x80\x04", "a Python pickle, which can run code when it is loaded"),
    (b"\x80\x05", "a Python pickle, which can run code when it is loaded"),
    (b"GGUF", "a GGUF file, which the engine cannot read"),
    (b"version ", "a Git LFS pointer: the model itself was not downloaded"),
    (b"<!DOCTYP", "a web page: the download failed"),
    (b"<!doctyp", "a web page: the download failed"),
    (b"<html", "a web page: the download failed"),
)


class InvalidModel(PlanError):
    """A model file that cannot be used as it is."""

    code = "invalid-model"


class TensorFacts(NamedTuple):
    """``dtype`` as safetensors spells it: F32, BF16, F8_E4M3, …"""

    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True)
class Header:
    """The tensors of one model, which may lie in several files (shards)."""

    path: Path
    size_bytes: int
    tensors: Mapping[str, TensorFacts]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Read what tensors a safetensors file holds; the data stays where it is.

    Raises:
        InvalidModel: missing, truncated, damaged, or something else by content,
            whatever its name says.
    """
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, 2)
            file.seek(0)
            start = file.read(_LENGTH_BYTES)
            length = _header_length(path, start, size_bytes)
            text = file.read(length)
    except OSError as error:
        message = f"cannot read the model file {path}: {error.strerror or error}"
        raise InvalidModel(message, "check the path and its permissions") from error
    entries = _parse(path, text)
    metadata = _metadata(path, entries.pop("__metadata__", {}))
    data_bytes = size_bytes - _LENGTH_BYTES - length
    return Header(path, size_bytes, _check_tensors(path, entries, data_bytes), metadata)


def join_headers(path: Path, headers: Iterable[Header]) -> Header:
    """Join the shards of one model."""
    headers = tuple(headers)
    return Header(
        path=path,
        size_bytes=sum(header.size_bytes for header in headers),
        tensors={name: tensor for header in headers for name, tensor in header.tensors.items()},
        metadata=headers[0].metadata if headers else {},
    )


def _header_length(path: Path, start: bytes, size_bytes: int) -> int:
    for magic, meaning in _DISGUISES:
        if start.startswith(magic):
            raise InvalidModel(
                f"{path} is not a safetensors file but {meaning}",
                "download the .safetensors file of the model",
            )
    length = int.from_bytes(start, "little")
    if len(start) < _LENGTH_BYTES or length < len("{}"):
        raise InvalidModel(f"{path} is not a safetensors file ({size_bytes} bytes)", "download the model again")
    if length > MAX_HEADER_BYTES:
        message = f"{path} is not a safetensors file: it would have a header of {length:,} bytes"
        raise InvalidModel(message, "download the .safetensors file of the model")
    if _LENGTH_BYTES + length > size_bytes:
        raise _truncated(path, size_bytes, _LENGTH_BYTES + length)
    return length


def _parse(path: Path, text: bytes) -> dict[str, object]:
    try:
        entries = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    if not isinstance(entries, dict):
        raise _damaged(path, "its header is not a JSON object")
    return entries


def _metadata(path: Path, entry: object) -> dict[str, str]:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise _damaged(path, "its metadata are not texts")
    return entry


def _check_tensors(path: Path, entries: Mapping[str, object], data_bytes: int) -> dict[str, TensorFacts]:
    """Check that the tensors fill the data exactly: no gap, no overlap, nothing missing at the end."""
    placed = sorted((_place(path, name, entry), name) for name, entry in entries.items())
    tensors, offset = {}, 0
    for (begin, end, facts), name in placed:
        if begin != offset:
            raise _damaged(path, f"tensor {name} starts at byte {begin:,}, not at {offset:,}")
        tensors[name], offset = facts, end
    if offset > data_bytes:
        raise _truncated(path, data_bytes, offset)
    if offset < data_bytes:
        raise _damaged(path, f"{data_bytes - offset:,} bytes at its end belong to no tensor")
    return tensors


def _place(path: Path, name: str, entry: object) -> tuple[int, int, TensorFacts]:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]} if dtype in _BITS:
            if all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
                size_bytes = -(-math.prod(shape) * _BITS[dtype] // 8)
                if end - begin == size_bytes:
                    return begin, end, TensorFacts(dtype, tuple(shape), size_bytes)
                raise _damaged(path, f"tensor {name} takes {end - begin:,} bytes where its shape needs {size_bytes:,}")
    raise _damaged(path, f"the entry of tensor {name} cannot be understood")


def _truncated(path: Path, present: int, needed: int) -> InvalidModel:
    message = f"{path} is cut off: {present:,} of {needed:,} bytes are there"
    return InvalidModel(message, "download or copy the file again")


def _damaged(path: Path, what: str) -> InvalidModel:
    return InvalidModel(f"{path} is not a sound safetensors file: {what}", "download or copy the file again")
