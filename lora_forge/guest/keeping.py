"""Keeps the training's state: notes the place after every optimizer step, saves it when asked.

A place is noted at each step although few are saved: a stop may come while the
engine validates, or between two micro-batches of one step. No weight has moved
since the last boundary then, so that boundary is what is saved.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rng_states
import state_dir
from place import Identity, Place

if TYPE_CHECKING:
    from watch import Watch


class Keeper:
    """``folder`` is None where no state is wanted: in every process but the first, or without forge."""

    def __init__(self, watch: Watch, folder: Path | None, every: int | None = None) -> None:
        self.watch, self.folder, self.every = watch, folder, every
        self.accelerator: Any = None
        self.identity: Identity | None = None
        self.place: Place | None = None
        self.epoch_rng: rng_states.RngStates | None = None
        self.fetch_rng: rng_states.RngStates | None = None
        self._kept = 0
        self._checkpoint = False

    def resumed(self, place: Place) -> None:
        """Nothing is new until the next step is done."""
        self.place, self._kept = place, place.step

    def epoch_starts(self) -> None:
        self.epoch_rng = rng_states.snapshot()

    def fetch_starts(self) -> None:
        self.fetch_rng = rng_states.snapshot()

    def checkpoint_saved(self) -> None:
        """A state belongs to every checkpoint: at this step's boundary, or now where that has passed."""
        self._checkpoint = True
        if self.place is not None and self.place.step == self.watch.step:
            self.keep_if_due()

    def note(self, recorder: Any, epoch: int, batches: int) -> None:
        """Note the place; the recorder holds the losses of all ``batches``."""
        if self.folder is None or self.epoch_rng is None or self.identity is None:
            return
        ended = batches == self.identity.batches_per_epoch  # then nothing was fetched ahead
        self.place = Place(
            step=self.watch.step,
            epoch=epoch,
            batches=batches,
            accumulated=self.accelerator.step,
            losses=tuple(recorder.loss_list),
            loss_total=recorder.loss_total,
            epoch_rng=self.epoch_rng,
            fetch_rng=None if ended else self.fetch_rng,
            step_rng=rng_states.snapshot(),
            samples_due=self.watch.samples_due,
            text_encoder_frozen=self.watch.frozen,
        )

    def keep_if_due(self) -> None:
        step = self.watch.step
        if self._checkpoint or (self.every and step % self.every == 0):
            self.keep()

    def keep(self) -> None:
        """Save the last place, unless it is saved already or the training is over with it."""
        place, identity, self._checkpoint = self.place, self.identity, False
        if self.folder is None or place is None or identity is None:
            return
        if place.step == self._kept or place.step >= identity.total:
            return
        self.watch.enter("saving")
        self.watch.require_finite()
        files = state_dir.commit_state(self.folder, place, identity, self.accelerator.save_state)
        self._kept = place.step
        self.watch.events.write("state", dir=state_dir.name_of(place.step), step=place.step, files=files)
