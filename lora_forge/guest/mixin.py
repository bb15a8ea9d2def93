"""Guest: mixed into the engine's trainer, it watches and changes no number.

Almost everything comes through methods that the engine's families override
themselves. Two names of ``train_util`` are replaced while ``train`` runs:
``LossRecorder``, because the loss is a local variable that reaches a method
only where a tracker (TensorBoard, wandb) is on, and ``get_scheduler_fix``,
because it is where the optimizer is handed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import atomic_save

if TYPE_CHECKING:
    from watch import Watch


class Guest:
    """Goes before the engine's trainer class in the order of methods.

    ``train_util`` is the engine's module, handed in rather than imported.
    """

    watch: Watch
    train_util: Any

    def train(self, args: Any) -> None:
        self.accelerator: Any = None
        self.training_batch = False
        with self._listening():
            super().train(args)

    def assert_extra_args(self, args: Any, train_group: Any, val_group: Any) -> None:
        self.watch.data_found = True
        super().assert_extra_args(args, train_group, val_group)
        self.buckets = [bucket for dataset in train_group.datasets for bucket in buckets_of(dataset)]

    def load_target_model(self, args: Any, weight_dtype: Any, accelerator: Any) -> Any:
        self.accelerator = accelerator
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
        network.save_weights = atomic_save.atomic(
            network.save_weights, before=lambda _file: self.watch.enter("saving"), after=self.watch.saved
        )

    def update_metadata(self, metadata: Any, args: Any) -> None:
        """Report the counts: the engine has just taken them from its own dataset and data loader."""
        super().update_metadata(metadata, args)
        self.watch.total = args.max_train_steps
        self.watch.events.write(
            "counts",
            batches_per_epoch=metadata["ss_num_batches_per_epoch"],
            epochs=metadata["ss_num_epochs"],
            max_train_steps=args.max_train_steps,
            train_images=metadata["ss_num_train_images"],
            reg_images=metadata["ss_num_reg_images"],
            buckets=self.buckets,
        )

    def on_step_start(self, *rest: Any, is_train: bool = True, **named: Any) -> None:
        self.training_batch = is_train
        if is_train:
            self.watch.batch_starts()
        else:
            self.watch.enter("validating")
        super().on_step_start(*rest, is_train=is_train, **named)

    def sample_images(self, accelerator: Any, args: Any, epoch: Any, global_step: int, *rest: Any) -> None:
        """Called after every optimizer step, sampling or not: here the engine says its step."""
        self.watch.step_taken(global_step)
        if samples_now(args, epoch, global_step):
            self.watch.enter("sampling")
        super().sample_images(accelerator, args, epoch, global_step, *rest)

    def _loss_read(self, epoch: int, loss: float) -> None:
        if self.training_batch:  # validation keeps recorders of its own
            self.watch.loss_read(epoch + 1, loss, boundary=self.accelerator.sync_gradients)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        util, guest = self.train_util, self
        recorder, get_scheduler = util.LossRecorder, util.get_scheduler_fix

        class HeardLossRecorder(recorder):
            def add(self, *, epoch: int, step: int, loss: float) -> None:
                super().add(epoch=epoch, step=step, loss=loss)
                guest._loss_read(epoch, loss)

        def heard_get_scheduler(args: Any, optimizer: Any, processes: int) -> Any:
            guest.watch.optimizer_made(optimizer)
            return get_scheduler(args, optimizer, processes)

        util.LossRecorder, util.get_scheduler_fix = HeardLossRecorder, heard_get_scheduler
        try:
            yield
        finally:
            util.LossRecorder, util.get_scheduler_fix = recorder, get_scheduler


def buckets_of(dataset: Any) -> list[dict[str, int]]:
    """Read the filled buckets of one dataset; images counted with repeats, as the engine batches them."""
    held = zip(dataset.bucket_manager.resos, dataset.bucket_manager.buckets, strict=True)
    return [
        {
            "width": width,
            "height": height,
            "images": len(images),
            "batches": -(-len(images) // dataset.batch_size),
        }
        for (width, height), images in held
        if images
    ]


def samples_now(args: Any, epoch: int | None, step: int) -> bool:
    """Tell, for the phase, whether the engine is about to sample.

    Its own rule, in ``train_util.sample_images_common``.
    """
    if step == 0:
        return bool(args.sample_at_first)
    if args.sample_every_n_epochs is not None:
        return epoch is not None and epoch % args.sample_every_n_epochs == 0
    return args.sample_every_n_steps is not None and epoch is None and step % args.sample_every_n_steps == 0
