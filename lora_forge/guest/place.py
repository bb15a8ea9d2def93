"""Where a training stands between two optimizer steps, to the last random number.

accelerate's own state holds weights, optimizer and schedule, but not where the
data stands: that needs the generators' states at three moments.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from rng_states import RngStates, from_json, to_json


class BadState(Exception):
    """A state directory that this training cannot continue from."""


@dataclass(frozen=True)
class Identity:
    """The numbers that the data order and the schedule hang on; a continuation must share them all."""

    batches_per_epoch: int
    total: int
    grad_accum: int
    processes: int
    seed: int

    def require_same(self, other: Identity) -> None:
        """Compare with the training that wants to continue.

        Raises:
            BadState: a number differs; the message names each.
        """
        mine, theirs = asdict(self), asdict(other)
        differing = [f"{name} {mine[name]}, now {theirs[name]}" for name in mine if mine[name] != theirs[name]]
        if differing:
            raise BadState(f"the state was saved by another training: {'; '.join(differing)}")


@dataclass(frozen=True)
class Place:
    """An optimizer-step boundary: all of ``step`` is done, nothing of the next has begun.

    ``epoch`` counts from 0 and ``batches`` are those of it that are done, so at
    an epoch's end ``batches`` is the whole epoch and what the engine does there
    (validation, sampling, saving) is still to come. ``accumulated`` is
    accelerate's count of micro-batches. ``epoch_rng`` drew the epoch's order of
    batches. ``fetch_rng`` read the next batch, which the data loader fetches one
    ahead, and ``step_rng`` is where the generators stand now.
    """

    step: int
    epoch: int
    batches: int
    accumulated: int
    losses: tuple[float, ...]
    loss_total: float
    epoch_rng: RngStates
    fetch_rng: RngStates | None
    step_rng: RngStates
    samples_due: bool = False
    text_encoder_frozen: bool = False

    def to_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        told["losses"] = list(self.losses)
        return told | {name: states and to_json(states) for name, states in self._generators().items()}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Place:
        names = ("epoch_rng", "fetch_rng", "step_rng")
        states = {name: told[name] and from_json(told[name]) for name in names}
        return cls(**{**told, **states, "losses": tuple(told["losses"])})

    def _generators(self) -> dict[str, RngStates | None]:
        return {"epoch_rng": self.epoch_rng, "fetch_rng": self.fetch_rng, "step_rng": self.step_rng}
