"""``epochs``: steps follow from the bucket-exact length of an epoch × the epochs written."""

from __future__ import annotations

from lora_forge.policies.policy import Policy, Sizing


def size(images: int) -> Sizing:  # noqa: ARG001  # every policy takes the count
    return Sizing(repeats_from_folder=True)


POLICY = Policy("epochs", "epochs as written; repeats from a kohya folder's name or as written", size)
