"""Verification: a good LoRA passes, and each of the planted bad outcomes is refused by its own code."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lora_forge.errors import Diverged, NoUsableLora
from lora_forge.runs.cause import refusal
from lora_forge.runs.events import Saved
from lora_forge.runs.verify import ExpectedLora, verify_lora
from lora_forge.safetensors_header import NotSafetensors, Truncated, read_header

RANK, ALPHA, STEPS = 4, 2.0, 20
MODULES = ("lora_unet_a", "lora_unet_b")
Tensors = dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]
NUMPY = {"F32": "<f4", "F16": "<f2"}


def a_network(rank: int = RANK, alpha: float = ALPHA, modules: tuple[str, ...] = MODULES) -> Tensors:
    tensors: Tensors = {}
    for name in modules:
        tensors[f"{name}.lora_down.weight"] = np.full((rank, 6), 0.25, np.float32)
        tensors[f"{name}.lora_up.weight"] = np.full((8, rank), -0.5, np.float32)
        tensors[f"{name}.alpha"] = np.array(alpha, np.float32)
    return tensors


def as_bytes(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]], dtype: str) -> bytes:
    if dtype == "BF16":
        return (np.ascontiguousarray(values).reshape(-1).view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype(NUMPY[dtype]).tobytes()


def save(path: Path, tensors: Tensors, *, dtype: str = "BF16", steps: int = STEPS) -> Path:
    metadata = {"ss_steps": str(steps)}
    header: dict[str, object] = {"__metadata__": metadata}
    data = b""
    for name, values in tensors.items():
        raw = as_bytes(values, dtype)
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def expected(dtype: str = "BF16", **changes: object) -> ExpectedLora:
    shapes = {name: values.shape for name, values in a_network().items()}
    width = 4 if dtype == "F32" else 2
    whole = ExpectedLora(
        tensors=shapes,
        rank=RANK,
        alpha=ALPHA,
        dtype=dtype,
        tensor_bytes=width * len(MODULES) * (RANK * 6 + 8 * RANK + 1),
        steps=STEPS,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def told(path: Path) -> list[Saved]:
    """What the guest says of a file that it has just put in place."""
    return [Saved(0.0, 0.0, file=str(path), step=STEPS, size_bytes=path.stat().st_size)] if path.exists() else []


def codes(path: Path, plan: ExpectedLora, saved: list[Saved] | None = None) -> set[str]:
    return {finding.code for finding in verify_lora(path, plan, told(path) if saved is None else saved)}


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_a_lora_as_planned_passes(tmp_path: Path, dtype: str) -> None:
    path = save(tmp_path / "it.safetensors", a_network(), dtype=dtype)
    assert verify_lora(path, expected(dtype), told(path)) == []
    assert refusal([]) is None


def spoil(name: str, value: float, element: int = -1) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        tensors[name].reshape(-1)[element] = value
        return tensors

    return change


def plant_nan(path: Path) -> None:
    save(path, spoil("lora_unet_b.lora_down.weight", float("nan"))(a_network()))


def plant_infinity(path: Path) -> None:
    save(path, spoil("lora_unet_a.lora_up.weight", float("-inf"), 0)(a_network()))


def plant_truncated(path: Path) -> None:
    whole = save(path, a_network()).read_bytes()
    path.write_bytes(whole[:-1])


def plant_truncated_header(path: Path) -> None:
    path.write_bytes(save(path, a_network()).read_bytes()[:60])


def plant_empty(path: Path) -> None:
    path.write_bytes(b"")


def plant_untrained(path: Path) -> None:
    tensors = a_network()
    for name in MODULES:
        tensors[f"{name}.lora_up.weight"][:] = -0.0
    save(path, tensors)


def plant_rank(path: Path) -> None:
    save(path, a_network(rank=8))


def plant_alpha(path: Path) -> None:
    save(path, a_network(alpha=4.0))


def plant_keys(path: Path) -> None:
    save(path, a_network(modules=("lora_unet_a", "lora_te_c")))


def plant_missing(path: Path) -> None:
    assert not path.exists()


def plant_steps(path: Path) -> None:
    save(path, a_network(), steps=19)


def plant_pickle(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" + bytes(5000))


def plant_web_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html><body>404</body></html>")


PLANTED: tuple[tuple[str, Callable[[Path], None], type[Exception]], ...] = (
    ("lora-nan", plant_nan, Diverged),
    ("lora-nan", plant_infinity, Diverged),
    ("lora-truncated", plant_truncated, NoUsableLora),
    ("lora-truncated", plant_truncated_header, NoUsableLora),
    ("lora-truncated", plant_empty, NoUsableLora),
    ("lora-untrained", plant_untrained, NoUsableLora),
    ("lora-rank", plant_rank, NoUsableLora),
    ("lora-alpha", plant_alpha, NoUsableLora),
    ("lora-keys", plant_keys, NoUsableLora),
    ("lora-missing", plant_missing, NoUsableLora),
    ("lora-steps", plant_steps, NoUsableLora),
    ("lora-not-safetensors", plant_pickle, NoUsableLora),
    ("lora-not-safetensors", plant_web_page, NoUsableLora),
)


@pytest.mark.parametrize(("code", "plant", "error"), PLANTED, ids=[plant.__name__ for _, plant, _ in PLANTED])
def test_each_bad_outcome_is_refused_by_its_own_code(
    tmp_path: Path, code: str, plant: Callable[[Path], None], error: type[Exception]
) -> None:
    path = tmp_path / "it.safetensors"
    plant(path)
    findings = verify_lora(path, expected(), told(path))
    alone = {finding.code for finding in findings} - {"lora-bytes"}  # another rank is another size too
    assert alone == {code}
    assert isinstance(refusal(findings), error)


def test_other_bytes_than_planned_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "it.safetensors", a_network())
    assert codes(path, expected(tensor_bytes=expected().tensor_bytes + 2)) == {"lora-bytes"}


def test_another_dtype_than_planned_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "it.safetensors", a_network(), dtype="F16")
    assert codes(path, expected("BF16")) == {"lora-dtype"}


def test_a_shape_that_differs_beyond_the_rank_is_another_base_model(tmp_path: Path) -> None:
    tensors = a_network()
    tensors["lora_unet_a.lora_down.weight"] = np.ones((RANK, 7), np.float32)
    assert codes(save(tmp_path / "it.safetensors", tensors), expected()) == {"lora-shape", "lora-bytes"}


def test_a_file_of_an_earlier_run_is_stale_whatever_its_times(tmp_path: Path) -> None:
    path = save(tmp_path / "it.safetensors", a_network())
    os.utime(path, (0, 0))
    (own,) = told(path)
    assert codes(path, expected(), [own]) == set()
    for saved in ([], [replace(own, size_bytes=own.size_bytes + 1)], [replace(own, file="other.safetensors")]):
        findings = verify_lora(path, expected(), saved)
        assert {finding.code for finding in findings} == {"lora-stale"}
        assert isinstance(refusal(findings), NoUsableLora)


def test_alpha_may_differ_from_module_to_module(tmp_path: Path) -> None:
    tensors = spoil("lora_unet_b.alpha", 1.0)(a_network())
    path = save(tmp_path / "it.safetensors", tensors)
    assert codes(path, expected(alpha={"lora_unet_a": 2.0, "lora_unet_b": 1.0})) == set()
    assert codes(path, expected(alpha={"lora_unet_a": 2.0, "lora_unet_b": 2.0})) == {"lora-alpha"}


def test_alpha_is_compared_after_rounding_to_what_the_file_can_hold(tmp_path: Path) -> None:
    path = save(tmp_path / "it.safetensors", a_network(alpha=10.3125))
    assert codes(path, expected(alpha=10.3)) == set()


def test_one_module_that_moved_is_training_and_the_others_are_named(tmp_path: Path) -> None:
    tensors = a_network()
    tensors["lora_unet_b.lora_up.weight"][:] = 0
    path = save(tmp_path / "it.safetensors", tensors)
    findings = verify_lora(path, expected(), told(path))
    assert [(finding.code, finding.severity.value) for finding in findings] == [("lora-unmoved-modules", "info")]
    assert refusal(findings) is None


def test_nan_is_found_in_any_chunk(tmp_path: Path) -> None:
    big: Tensors = {"m.lora_up.weight": np.ones((2, 600_000), np.float32)}
    plan = expected(tensors={"m.lora_up.weight": (2, 600_000)}, tensor_bytes=2_400_000)
    assert codes(save(tmp_path / "good.safetensors", big), plan) == set()
    spoil("m.lora_up.weight", float("nan"))(big)
    assert codes(save(tmp_path / "bad.safetensors", big), plan) == {"lora-nan"}


def raw(header: Mapping[str, object] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


ENTRY = {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "content",
    [
        raw({"a": ENTRY}, bytes(5)),
        raw({"a": {**ENTRY, "data_offsets": [2, 6]}}, bytes(6)),
        raw({"a": ENTRY, "b": {**ENTRY, "data_offsets": [2, 6]}}, bytes(6)),
        raw({"a": {**ENTRY, "shape": [3]}}, bytes(4)),
        raw({"a": {**ENTRY, "shape": [-1, -2]}}, bytes(4)),
        raw({"a": {**ENTRY, "dtype": "PICKLE"}}, bytes(4)),
        raw({"a": {**ENTRY, "data_offsets": [-4, 0]}}, bytes(4)),
        raw({"a": {**ENTRY, "data_offsets": "04"}}, bytes(4)),
        raw({"a": 1}),
        raw({"__metadata__": [1]}),
        raw(b"[1, 2]"),
        raw(b"{nonsense}"),
        raw(b"{}", length=2**40),
        raw(b"{" + b'"a":[' * 50_000, b""),
    ],
)
def test_a_header_that_does_not_add_up_is_not_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "it.safetensors"
    path.write_bytes(content)
    with pytest.raises(NotSafetensors) as caught:
        read_header(path)
    assert not isinstance(caught.value, Truncated)


def test_a_header_is_read_with_its_metadata(tmp_path: Path) -> None:
    header = read_header(save(tmp_path / "it.safetensors", a_network()))
    assert header.metadata["ss_steps"] == str(STEPS)
    assert header.tensor_bytes == expected().tensor_bytes
    assert header.tensors["lora_unet_b.lora_up.weight"].shape == (8, RANK)
