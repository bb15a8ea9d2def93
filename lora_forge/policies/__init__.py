"""Policies: image count → rank, alpha, repeats, steps. One module exports one ``POLICY``."""

from __future__ import annotations

import importlib
import pkgutil
from typing import cast

from lora_forge.policies.policy import Advice, Policy, Sized, Sizing

__all__ = ["Advice", "Policy", "Sized", "Sizing", "load_policy", "policy_names"]


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
