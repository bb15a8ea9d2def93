"""Continues a training from a saved place, so that it ends with the same weights to the bit.

The engine can resume, but counts its steps anew, skips the wrong number of
batches where gradients are accumulated, and restores the generators too early.
Four of its own seams put that right without an edit:

- ``args.initial_step`` is an ``int`` that gives exact answers to the engine's
  arithmetic, so that steps, names and metadata stay absolute.
- ``accelerator.skip_first_batches`` hands out the rest of the epoch, with the
  generators as they stood when the epoch began (its order is drawn then), when
  the next batch was read (one ahead of its use), and at the boundary itself.
- ``optimizer.load_state_dict`` casts state to the weights' precision, which a
  training in bf16 would lose bits by: what was saved is put back.
- the loss recorder gets its window back.

Exact where the computation is: on the CPU, pictures read in the trainer's own
process. Not exact, though every step, rate, name and batch count stays right:
CUDA kernels that sum in no fixed order (two uninterrupted trainings differ
there too); loader workers (``max_data_loader_n_workers`` above 0), whose
generators are out of reach; several processes, since only the first one saves;
schedule-free optimizers, whose weights round each time they change sides;
LyCORIS with ``use_scalar``, which folds the scalar into a weight as it saves;
``token_warmup_step``, whose count runs one or two batches ahead of the saved one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rng_states
from place import BadState, Identity, Place

if TYPE_CHECKING:
    from keeping import Keeper


class ResumePoint(int):
    """The step to continue after, as ``train_network.py`` computes with it.

    There it is multiplied by the accumulation, divided by the steps of an epoch
    to find the first one, lowered by each skipped epoch's batches, and then
    taken for the step that is done. Here it stays what it is throughout, and
    knows its epoch.
    """

    epoch: int

    def __new__(cls, place: Place) -> ResumePoint:
        point = super().__new__(cls, place.step)
        point.epoch = place.epoch
        return point

    def __imul__(self, _grad_accum: int) -> ResumePoint:  # type: ignore[misc]
        return self

    def __floordiv__(self, _steps_per_epoch: int) -> int:
        return self.epoch

    def __isub__(self, _batches: int) -> ResumePoint:  # type: ignore[misc]
        return self


class Resume:
    """One continuation: ``folder`` holds the state, ``place`` says where it stands."""

    def __init__(self, folder: Path, place: Place, identity: Identity) -> None:
        self.folder, self.place, self.identity = folder, place, identity
        self._to_restore: list[rng_states.RngStates] = []
        self._losses_due = True

    def apply_to(self, args: Any) -> None:
        args.resume, args.resume_from_huggingface = str(self.folder), False
        args.initial_step, args.initial_epoch = ResumePoint(self.place), None
        args.skip_until_initial_step = True

    def load(self, load_state: Callable[[], None], accelerator: Any) -> None:
        """Let the engine load weights, optimizer and schedule, then undo what rounds or counts otherwise."""
        for optimizer in accelerator._optimizers:
            optimizer.load_state_dict = exactly(optimizer)
        try:
            load_state()
        except Exception as error:
            raise BadState(f"{self.folder} does not fit this training: {' '.join(str(error).split())}") from error
        finally:
            for optimizer in accelerator._optimizers:
                del optimizer.load_state_dict
        accelerator.step = self.place.accumulated

    def rest_of_epoch(self, loader: Any, dataset: Any, keeper: Keeper) -> Iterator[Any]:
        """Yield what the place's epoch still has to give; the engine throws the first away, so that is nothing.

        ``loader`` skips the batches that are done without reading them.
        """
        yield None
        place = self.place
        dataset.set_current_epoch(place.epoch + 1)  # its shuffles hang on each other; the engine counts from 1
        keeper.epoch_rng = place.epoch_rng
        rng_states.restore(place.epoch_rng)
        self._to_restore = [states for states in (place.fetch_rng, place.step_rng) if states is not None]
        for batch in loader if place.batches < self.identity.batches_per_epoch else ():
            self._restore_all()  # the epoch's last batch has none fetched after it
            yield batch
        self._restore_all()

    def fetch_starts(self) -> None:
        """The batch that was read ahead is read again as then, the one after it as if nothing had been."""
        if self._to_restore:
            rng_states.restore(self._to_restore.pop(0))

    def _restore_all(self) -> None:
        while self._to_restore:
            rng_states.restore(self._to_restore.pop(0))

    def batch_index(self, recorder: Any, epoch: int, index: int) -> int:
        """Count a batch as its epoch does; in the first one the engine counts from the batch it threw away."""
        if self._losses_due:
            recorder.loss_list[:], recorder.loss_total = self.place.losses, self.place.loss_total
            self._losses_due = False
        return index + self.place.batches - 1 if epoch == self.place.epoch else index


def exactly(optimizer: Any) -> Callable[[dict[str, Any]], None]:
    """Wrap an optimizer's loading: whatever it cast is replaced by what was saved."""
    load = optimizer.load_state_dict

    def load_exactly(saved: dict[str, Any]) -> None:
        load(saved)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        names = [name for group in saved["param_groups"] for name in group["params"]]
        for parameter, name in zip(parameters, names, strict=True):
            held = optimizer.state.get(parameter, {})
            for key, value in saved["state"].get(name, {}).items():
                if hasattr(value, "dtype") and held[key].dtype != value.dtype:
                    held[key] = value.to(held[key].device)

    return load_exactly
