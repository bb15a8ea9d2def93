"""``fixed``: steps, repeats and rank as written."""

from __future__ import annotations

from lora_forge.policies.policy import Policy, Sizing


def size(images: int) -> Sizing:  # noqa: ARG001  # every policy takes the count
    return Sizing()


POLICY = Policy("fixed", "steps, repeats and rank as written", size)
