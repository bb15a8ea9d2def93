"""The states of every random generator that a training draws from, as plain data.

Python's generator shuffles buckets and captions and flips pictures, torch's
draws noise, timesteps and the order of the batches. Plain data, so that a state
directory needs no pickle for them.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple


class RngStates(NamedTuple):
    """Python's and NumPy's Mersenne twisters, torch's CPU generator, one entry per CUDA device."""

    python: tuple[Any, ...]
    numpy: tuple[str, bytes, int, int, float]
    torch: bytes
    cuda: tuple[bytes, ...] = ()


def snapshot() -> RngStates:
    """Read them all; some tens of microseconds, and nothing waits for a GPU."""
    import numpy
    import torch

    name, keys, position, has_gauss, gauss = numpy.random.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    return RngStates(
        python=random.getstate(),
        numpy=(name, keys.tobytes(), int(position), int(has_gauss), float(gauss)),
        torch=torch.get_rng_state().numpy().tobytes(),
        cuda=tuple(state.cpu().numpy().tobytes() for state in cuda),
    )


def restore(states: RngStates) -> None:
    """Set them all; a CUDA device that is no longer there is left out."""
    import numpy
    import torch

    random.setstate(states.python)
    name, keys, *rest = states.numpy
    numpy.random.set_state((name, numpy.frombuffer(keys, dtype=numpy.uint32), *rest))
    torch.set_rng_state(_tensor(states.torch))
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for device, state in zip(range(devices), states.cuda, strict=False):
        torch.cuda.set_rng_state(_tensor(state), device)


def _tensor(state: bytes) -> Any:
    import torch

    return torch.frombuffer(bytearray(state), dtype=torch.uint8)


def to_json(states: RngStates) -> dict[str, Any]:
    """Bytes become hexadecimal text.

    >>> import random
    >>> states = RngStates(random.getstate(), ("MT19937", b"ab", 3, 0, 0.0), b"cd", (b"ef",))
    >>> from_json(to_json(states)) == states
    True
    """
    name, keys, *rest = states.numpy
    return {
        "python": [states.python[0], list(states.python[1]), states.python[2]],
        "numpy": [name, keys.hex(), *rest],
        "torch": states.torch.hex(),
        "cuda": [state.hex() for state in states.cuda],
    }


def from_json(told: dict[str, Any]) -> RngStates:
    version, words, gauss = told["python"]
    name, keys, position, has_gauss, cached = told["numpy"]
    return RngStates(
        python=(version, tuple(words), gauss),
        numpy=(name, bytes.fromhex(keys), position, has_gauss, cached),
        torch=bytes.fromhex(told["torch"]),
        cuda=tuple(bytes.fromhex(state) for state in told["cuda"]),
    )
