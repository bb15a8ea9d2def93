"""What the engine has counted or is about to do, read from its own objects."""

from __future__ import annotations

from typing import Any


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
