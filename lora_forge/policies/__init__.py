"""Policies: image count → rank, alpha, repeats, steps. One module exports one ``POLICY``."""

from __future__ import annotations

import importlib
import pkgutil
from typing import cast

from lora_forge.policies.policy import Advice, Policy, Sized, Sizing

__all__ = ["Advice", "Policy", "Sized", "Sizing", "load_policy", "policy_names", "sized_keys"]


def policy_names() -> tuple[str, ...]:
    """Every policy there is; a new one is one more module in this folder."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name.replace("_", "-") for name in modules if name != "policy"))


def load_policy(name: str) -> Policy:
    """The policy called ``name``, as presets spell it (``steps-per-image``).

    Raises:
        KeyError: no such policy.
    """
    if name not in policy_names():
        raise KeyError(name)
    return cast("Policy", importlib.import_module(f"{__name__}.{name.replace('-', '_')}").POLICY)


_KEYS = {
    "rank": ("network.rank",),
    "alpha": ("network.alpha",),
    "repeats": ("schedule.repeats",),
    "steps": ("schedule.steps", "schedule.epochs"),
}
_ANY_COUNT = 20


def sized_keys(name: str) -> frozenset[str]:
    """The preset keys that a policy decides where they are written below it; none for an unknown policy.

    Epochs count as steps: both say how long to train.

    >>> sorted(sized_keys("ramp")), sized_keys("fixed")
    (['schedule.epochs', 'schedule.steps'], frozenset())
    """
    if name not in policy_names():
        return frozenset()
    sizing = load_policy(name).size(_ANY_COUNT)
    return frozenset(key for part, keys in _KEYS.items() if getattr(sizing, part) is not None for key in keys)
