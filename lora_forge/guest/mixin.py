"""Guest: mixed into the engine's trainer, it watches and changes no number.

Almost everything comes through methods that the engine's families override
themselves. Three names of ``train_util`` are replaced while ``train`` runs:
``LossRecorder``, because the loss is a local variable that reaches a method
only where a tracker (TensorBoard, wandb) is on; ``get_scheduler_fix``, because
it is where the optimizer is handed on; and the engine's loading of a state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import atomic_save
import pictures
import rng_states
from counts import buckets_of, samples_now
from place import BadState, Identity
from stopping import Stopped

if TYPE_CHECKING:
    from keeping import Keeper
    from resuming import Resume
    from watch import Watch


class Guest:
    """Goes before the engine's trainer class in the order of methods.

    ``train_util`` is the engine's module, handed in rather than imported.
    """

    watch: Watch
    keeper: Keeper
    resume: Resume | None
    train_util: Any

    def train(self, args: Any) -> None:
        self.accelerator: Any = None
        self.training_batch = False
        with self._listening():
            try:
                super().train(args)
            except Stopped:
                self.watch.validation_losses.clear()  # of a validation cut short
                self.keeper.keep()  # no weight has moved since the place it noted last
                raise

    def assert_extra_args(self, args: Any, train_group: Any, val_group: Any) -> None:
        self.watch.data_found = True
        super().assert_extra_args(args, train_group, val_group)
        self.buckets = [bucket for dataset in train_group.datasets for bucket in buckets_of(dataset)]
        self.dataset = train_group
        if not args.max_data_loader_n_workers:
            train_group.__getitems__ = self._fetch  # torch's loader prefers it to reading items one by one

    def load_target_model(self, args: Any, weight_dtype: Any, accelerator: Any) -> Any:
        self.accelerator = self.keeper.accelerator = accelerator
        if self.resume is not None:
            accelerator.skip_first_batches = self._rest_of_epoch
        loaded = super().load_target_model(args, weight_dtype, accelerator)
        if args.cache_latents:
            self.watch.enter("caching")  # the engine caches latents right after this
        return loaded

    def cache_text_encoder_outputs_if_needed(self, args: Any, *rest: Any) -> None:
        if getattr(args, "cache_text_encoder_outputs", False):
            self.watch.enter("caching")
        super().cache_text_encoder_outputs_if_needed(args, *rest)
        self.watch.enter("loading")

    def post_process_network(self, args: Any, accelerator: Any, network: Any, *rest: Any) -> None:
        super().post_process_network(args, accelerator, network, *rest)
        self.watch.network = network
        network.save_weights = atomic_save.atomic(network.save_weights, before=self._saving, after=self._saved)
        network.on_epoch_start = followed_by(network.on_epoch_start, self.keeper.epoch_starts)

    def update_metadata(self, metadata: Any, args: Any) -> None:
        """Report the counts: the engine has just taken them from its own dataset and data loader."""
        super().update_metadata(metadata, args)
        batches = metadata["ss_num_batches_per_epoch"]
        self.watch.total = args.max_train_steps
        self.watch.events.write(
            "counts",
            batches_per_epoch=batches,
            epochs=metadata["ss_num_epochs"],
            max_train_steps=args.max_train_steps,
            train_images=metadata["ss_num_train_images"],
            reg_images=metadata["ss_num_reg_images"],
            buckets=self.buckets,
        )
        processes = self.accelerator.num_processes
        self._identify(Identity(batches, args.max_train_steps, args.gradient_accumulation_steps, processes, args.seed))

    def on_step_start(self, *rest: Any, is_train: bool = True, **named: Any) -> None:
        self.training_batch = is_train
        if is_train:
            self.watch.batch_starts()
        else:
            self.watch.enter("validating")
        super().on_step_start(*rest, is_train=is_train, **named)

    def process_batch(self, *rest: Any, **named: Any) -> Any:
        loss = super().process_batch(*rest, **named)
        if self.training_batch:
            self.watch.loss_computed(loss)
        return loss

    def sample_images(self, accelerator: Any, args: Any, epoch: Any, global_step: int, *rest: Any) -> None:
        """Called after every optimizer step, sampling or not: here the engine says its step.

        Its very first call, at step 0, is for ``sample_at_first``; a continuation samples there only
        what its state still owes.
        """
        if self.resume is not None and global_step == 0:
            if not self.resume.place.samples_due:
                return
            epoch, global_step = None, self.resume.place.step
        self.watch.step_taken(global_step)
        with self._cut_short_by_a_stop(Path(args.output_dir or "") / "sample"):
            if samples_now(args, epoch, global_step):
                self.watch.require_finite()
                self.watch.enter("sampling")
            super().sample_images(accelerator, args, epoch, global_step, *rest)

    @contextmanager
    def _cut_short_by_a_stop(self, folder: Path) -> Iterator[None]:
        """End the sampling alone: this step's checkpoint and state are still to be saved, and come first."""
        before = rng_states.snapshot()
        try:
            yield
        except Stopped:
            self.watch.stop.at_once = False
            self.watch.samples_due = True
            pictures.drop_cut(folder)
            rng_states.restore(before)
        finally:
            if self.watch.phase == "sampling":  # a stop must not strike on the way to the step's boundary
                self.watch.enter("training")

    def _fetch(self, indices: list[int]) -> list[Any]:
        if self.resume is not None:
            self.resume.fetch_starts()
        self.keeper.fetch_starts()
        return [self.dataset[index] for index in indices]

    def _rest_of_epoch(self, loader: Any, _batches: int) -> Iterator[Any]:
        assert self.resume is not None
        skip = type(self.accelerator).skip_first_batches
        rest = skip(self.accelerator, loader, self.resume.place.batches)
        return self.resume.rest_of_epoch(rest, self.dataset, self.keeper)

    def _identify(self, identity: Identity) -> None:
        self.keeper.identity = identity
        if self.resume is None:
            return
        self.resume.identity.require_same(identity)
        place = self.resume.place
        due = self.watch.freeze_at
        if place.text_encoder_frozen and (due is None or due > place.step):
            raise BadState(f"the text encoder was frozen by step {place.step}, now it is to be at step {due}")
        self.keeper.resumed(place)
        self.watch.step_taken(place.step)
        self.watch.events.write("resumed", dir=self.resume.folder.name, step=place.step)

    def _saving(self, _file: str) -> None:
        self.watch.enter("saving")
        self.watch.require_finite()

    def _saved(self, file: str) -> None:
        self.watch.saved(file)
        self.keeper.checkpoint_saved()

    def _loss_read(self, recorder: Any, epoch: int, index: int, loss: float) -> None:
        boundary = self.accelerator.sync_gradients
        self.watch.loss_read(epoch + 1, loss, boundary=boundary)
        if boundary:
            self.keeper.note(recorder, epoch, index + 1)
            self.keeper.keep_if_due()
            self.watch.boundary_passed()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        util, guest = self.train_util, self
        get_scheduler, load_state = util.get_scheduler_fix, util.resume_from_local_or_hf_if_specified

        class HeardLossRecorder(util.LossRecorder):
            def add(self, *, epoch: int, step: int, loss: float) -> None:
                if not guest.training_batch:  # validation keeps recorders of its own
                    guest.watch.validation_losses.append(loss)
                    return super().add(epoch=epoch, step=step, loss=loss)
                index = guest.resume.batch_index(self, epoch, step) if guest.resume else step
                super().add(epoch=epoch, step=index, loss=loss)
                return guest._loss_read(self, epoch, index, loss)

        def heard_get_scheduler(args: Any, optimizer: Any, processes: int) -> Any:
            guest.watch.optimizer_made(optimizer)
            return get_scheduler(args, optimizer, processes)

        def heard_load_state(accelerator: Any, args: Any) -> None:
            if guest.resume is None:
                return load_state(accelerator, args)
            return guest.resume.load(lambda: load_state(accelerator, args), accelerator)

        heard = {
            "LossRecorder": HeardLossRecorder,
            "get_scheduler_fix": heard_get_scheduler,
            "resume_from_local_or_hf_if_specified": heard_load_state,
        }
        with replaced(util, heard):
            yield


@contextmanager
def replaced(module: Any, names: dict[str, Any]) -> Iterator[None]:
    before = {name: getattr(module, name) for name in names}
    vars(module).update(names)
    try:
        yield
    finally:
        vars(module).update(before)


def followed_by(first: Callable[..., Any], then: Callable[[], None]) -> Callable[..., Any]:
    def both(*rest: Any, **named: Any) -> Any:
        result = first(*rest, **named)
        then()
        return result

    return both
