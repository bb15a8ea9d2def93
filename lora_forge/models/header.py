"""The header of a base model: what tensors it holds, and what a file is that only wears the name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_forge import safetensors_header
from lora_forge.entries import open_regular
from lora_forge.errors import PlanError
from lora_forge.safetensors_header import NotSafetensors, TensorEntry, Truncated

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
_LONGEST_MAGIC = max(len(magic) for magic, _ in _DISGUISES)


class InvalidModel(PlanError):
    """A model file that cannot be used as it is."""

    code = "invalid-model"


@dataclass(frozen=True)
class Header:
    """The tensors of one model, which may lie in several files (shards)."""

    path: Path
    size_bytes: int
    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Read what tensors a safetensors file holds; the data stays where it is.

    Raises:
        InvalidModel: missing, truncated, damaged, or something else by content,
            whatever its name says.
    """
    try:
        _refuse_disguised(path)
        found = safetensors_header.read_header(path)
    except Truncated as cut:
        raise InvalidModel(f"{path} is cut off: {cut}", "download or copy the file again") from cut
    except NotSafetensors as damage:
        message = f"{path} is not a sound safetensors file: {damage}"
        raise InvalidModel(message, "download or copy the file again") from damage
    except OSError as error:
        message = f"cannot read the model file {path}: {error.strerror or error}"
        raise InvalidModel(message, "check the path and its permissions") from error
    return Header(path, found.size_bytes, found.tensors, found.metadata)


def join_headers(path: Path, headers: Iterable[Header]) -> Header:
    """Join the shards of one model."""
    headers = tuple(headers)
    return Header(
        path=path,
        size_bytes=sum(header.size_bytes for header in headers),
        tensors={name: tensor for header in headers for name, tensor in header.tensors.items()},
        metadata=headers[0].metadata if headers else {},
    )


def _refuse_disguised(path: Path) -> None:
    """Name what wears the name of a safetensors file and is something else, dangerous or merely useless."""
    with open_regular(path) as file:
        start = file.read(_LONGEST_MAGIC)
    for magic, meaning in _DISGUISES:
        if start.startswith(magic):
            raise InvalidModel(
                f"{path} is not a safetensors file but {meaning}", "download the .safetensors file of the model"
            )
