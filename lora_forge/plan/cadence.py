"""How often a checkpoint is kept, for every policy."""

from __future__ import annotations

LONG_RUN, MEDIUM_RUN = 2_000, 1_000
EVERY_LONG, EVERY_MEDIUM, EVERY_SHORT = 500, 250, 100


def checkpoint_every(steps: int) -> int:
    """Steps between two checkpoints.

    >>> [checkpoint_every(n) for n in (600, 1000, 1999, 2000)]
    [100, 250, 250, 500]
    """
    if steps >= LONG_RUN:
        return EVERY_LONG
    return EVERY_MEDIUM if steps >= MEDIUM_RUN else EVERY_SHORT


def checkpoint_steps(steps: int, every: int) -> tuple[int, ...]:
    """Every step at which the engine writes a numbered checkpoint; the final file comes on top.

    The engine writes a numbered file at the last step too where ``every`` divides it
    (train_network.py, the training loop).

    >>> checkpoint_steps(2000, 500), checkpoint_steps(4, 100)
    ((500, 1000, 1500, 2000), ())
    """
    return tuple(range(every, steps + 1, every))
