"""Verification: a training is done only if its LoRA is what the plan promised.

The engine's own word is not enough: it ends with exit code 0 without data, and
it saves whatever the weights have become.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lora_forge.findings import Finding, error, info
from lora_forge.runs.events import Saved
from lora_forge.safetensors_header import Header, NotSafetensors, TensorEntry, Truncated, read_header

if TYPE_CHECKING:
    import numpy as np

    Bits: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

ALPHA = ".alpha"
CHUNK_ITEMS = 1 << 19  # a megabyte or two at a time: it stays in the processor's cache
NAMED_AT_MOST = 3

# dtype → numpy's unsigned view, and the bits, shifted left by one to lose the sign, from which on a number is
# infinite or none at all.
NON_FINITE_FROM = {
    "BF16": ("<u2", 0xFF00),
    "F16": ("<u2", 0xF800),
    "F32": ("<u4", 0xFF000000),
}


@dataclass(frozen=True)
class ExpectedLora:
    """What the plan says of the file.

    ``tensors`` holds every key with its shape, alpha keys with ``()``; ``alpha``
    is one value, or one per module; ``tensor_bytes`` counts tensor data alone.
    ``up_suffixes`` end the names of tensors that start at zero.
    """

    tensors: Mapping[str, tuple[int, ...]]
    rank: int
    alpha: float | Mapping[str, float]
    dtype: str
    tensor_bytes: int
    steps: int
    up_suffixes: tuple[str, ...] = ("lora_up.weight",)


def verify_lora(path: Path, expected: ExpectedLora, saved: Sequence[Saved]) -> list[Finding]:
    """Compare a LoRA with its plan and list everything that speaks against it.

    ``saved`` are the files that this attempt's guest put in place: by them a stale
    file is recognised, without asking any clock.
    """
    try:
        header = read_header(path)
    except FileNotFoundError:
        return [_refuse("lora-missing", path, "is not there", "read the end of engine.log")]
    except Truncated as problem:
        return [
            _refuse(
                "lora-truncated",
                path,
                f"is cut off: {problem}",
                "check the disk's free space and train again",
            )
        ]
    except NotSafetensors as problem:
        return [_refuse("lora-not-safetensors", path, f"is not a safetensors file: {problem}")]
    except OSError as problem:
        return [_refuse("lora-missing", path, f"cannot be read: {problem.strerror}")]
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _check_age(path, saved),
        lambda: _check_keys(path, header, expected),
        lambda: _check_shapes(path, header, expected),
        lambda: _check_bytes(path, header, expected),
        lambda: _check_steps(path, header, expected),
        lambda: _check_values(path, header, expected),
    )
    return [finding for check in checks for finding in check()]


def _refuse(code: str, path: Path, what: str, hint: str = "") -> Finding:
    return error(code, f"{path.name} {what}", hint or "train again", where=str(path))


def _check_age(path: Path, saved: Sequence[Saved]) -> Iterator[Finding]:
    mine = [event for event in saved if Path(event.file).name == path.name]
    if not mine or mine[-1].size_bytes != path.stat().st_size:
        yield _refuse("lora-stale", path, "was not written by this run", "move it away and train again")


def _check_keys(path: Path, header: Header, expected: ExpectedLora) -> Iterator[Finding]:
    lacking = sorted(expected.tensors.keys() - header.tensors.keys())
    surplus = sorted(header.tensors.keys() - expected.tensors.keys())
    said = [f"lacks {_named(lacking)}"] * bool(lacking) + [f"holds unplanned {_named(surplus)}"] * bool(surplus)
    if said:
        yield _refuse("lora-keys", path, " and ".join(said), "check network.kind and the base model")


def _check_shapes(path: Path, header: Header, expected: ExpectedLora) -> Iterator[Finding]:
    """Another number where the plan has its rank is another rank; all else, another base model."""
    other_ranks, misshapen, mistyped = set(), [], []
    for name, shape in expected.tensors.items():
        entry = header.tensors.get(name)
        if entry is None:
            continue
        if entry.dtype != expected.dtype:
            mistyped.append(f"{name} ({entry.dtype})")
        if entry.shape != shape:
            rank = _other_rank(shape, entry.shape, expected.rank)
            misshapen.append(name) if rank is None else other_ranks.add(rank)
    if other_ranks:
        ranks = ", ".join(str(rank) for rank in sorted(other_ranks))
        yield _refuse("lora-rank", path, f"has rank {ranks}, the plan says {expected.rank}")
    if misshapen:
        yield _refuse("lora-shape", path, f"has unplanned shapes: {_named(misshapen)}", "check the base model")
    if mistyped:
        yield _refuse("lora-dtype", path, f"should be {expected.dtype} throughout: {_named(mistyped)}")


def _other_rank(planned: tuple[int, ...], found: tuple[int, ...], rank: int) -> int | None:
    """Name the rank found where the two shapes differ in one dimension and the plan has its rank there."""
    if len(planned) != len(found):
        return None
    differing = [(wanted, got) for wanted, got in zip(planned, found, strict=True) if wanted != got]
    return differing[0][1] if len(differing) == 1 and differing[0][0] == rank else None


def _check_bytes(path: Path, header: Header, expected: ExpectedLora) -> Iterator[Finding]:
    if header.tensor_bytes != expected.tensor_bytes:
        said = f"holds {header.tensor_bytes:,} bytes of tensors, the plan says {expected.tensor_bytes:,}"
        yield _refuse("lora-bytes", path, said)


def _check_steps(path: Path, header: Header, expected: ExpectedLora) -> Iterator[Finding]:
    found = header.metadata.get("ss_steps", "none")
    if found != str(expected.steps):
        said = f"was saved after {found} steps, the plan says {expected.steps}"
        yield _refuse("lora-steps", path, said, "read the end of engine.log for what ended the training early")


def _check_values(path: Path, header: Header, expected: ExpectedLora) -> Iterator[Finding]:
    """Look at every number once: NaN and infinity, alpha, and whether training moved anything."""
    broken, wrong_alpha, up, moved = [], [], 0, 0
    for name, entry, bits in _tensors(path, header):
        peak, limit = _peak(bits), NON_FINITE_FROM[entry.dtype][1]
        if peak >= limit:
            broken.append(name)
        elif name.endswith(ALPHA) and not _alpha_fits(name, entry, bits, expected):
            wrong_alpha.append(f"{name} = {_first_value(entry, bits):g}")
        if name.endswith(expected.up_suffixes):
            up, moved = up + 1, moved + (peak > 0)
    if broken:
        hint = "lower optimizer.learning_rate, or train in bf16"
        yield _refuse("lora-nan", path, f"holds NaN or infinity in {len(broken)} tensors: {_named(broken)}", hint)
    if wrong_alpha:
        yield _refuse("lora-alpha", path, f"has another alpha than planned: {_named(wrong_alpha)}")
    if not moved:
        hint = "train for more steps: the first warm-up step has learning rate 0"
        yield _refuse("lora-untrained", path, f"never left its starting point: {up} up matrices, all zero", hint)
    elif moved < up:
        said = f"{up - moved} of {up} modules did not move"
        hint = "normal for the last layers of a text encoder, which nothing reads"
        yield info("lora-unmoved-modules", f"{path.name}: {said}", hint, where=str(path))


def _tensors(path: Path, header: Header) -> Iterator[tuple[str, TensorEntry, Bits]]:
    """Walk over the floating tensors as raw bits, mapped rather than read."""
    import numpy as np

    if not header.tensor_bytes:
        return
    mapped = np.memmap(path, mode="r")
    for name, entry in header.tensors.items():
        if entry.dtype in NON_FINITE_FROM:
            yield name, entry, mapped[entry.begin : entry.end].view(NON_FINITE_FROM[entry.dtype][0])


def _peak(bits: Bits) -> int:
    """Find the greatest magnitude, as bits without the sign: floats order like the integers they lie in."""
    chunks = (bits[start : start + CHUNK_ITEMS] for start in range(0, bits.size, CHUNK_ITEMS))
    return max((int((chunk << 1).max()) for chunk in chunks), default=0)


def _first_value(entry: TensorEntry, bits: Bits) -> float:
    """Read one number; bfloat16 is the upper half of a float32."""
    import numpy as np

    if entry.dtype == "BF16":
        return float((bits[:1].astype("<u4") << 16).view("<f4")[0])
    return float(np.asarray(bits[:1]).view("<f2" if entry.dtype == "F16" else "<f4")[0])


def _alpha_fits(name: str, entry: TensorEntry, bits: Bits, expected: ExpectedLora) -> bool:
    by_module = expected.alpha
    planned = by_module.get(name.removesuffix(ALPHA)) if isinstance(by_module, Mapping) else by_module
    return planned is None or bool(bits.size == 1 and _first_value(entry, bits) == _rounded(planned, entry.dtype))


def _rounded(value: float, dtype: str) -> float:
    """Round a planned value to what the dtype can hold: alpha 10.3 is 10.3125 in bfloat16."""
    import numpy as np

    if dtype == "BF16":
        bits = np.array([value], "<f4").view("<u4")
        kept = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        return float(kept.astype("<u4").view("<f4")[0])
    return float(np.array([value], "<f2" if dtype == "F16" else "<f4")[0])


def _named(names: Sequence[str]) -> str:
    rest = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
