"""Model families as data. One module exports one ``FAMILY``."""

from __future__ import annotations

import importlib
import pkgutil
from typing import cast

from lora_forge.families.family import Family, FamilyDefault, Lever, ModelFile

__all__ = ["Family", "FamilyDefault", "Lever", "ModelFile", "family_names", "load_family"]

_MECHANISM = {"family", "modules"}
"""Modules of this folder that are not families themselves."""


def family_names() -> tuple[str, ...]:
    """Every family there is; a new one is one more module in this folder."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in names if name.split("_")[0] not in _MECHANISM))


def load_family(name: str) -> Family:
    """
    Raises:
        KeyError: no such family.
    """
    if name not in family_names():
        raise KeyError(name)
    return cast("Family", importlib.import_module(f"{__name__}.{name}").FAMILY)
