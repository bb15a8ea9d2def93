"""The dotted keys that a preset knows, read off the model, and the nearest one to a misspelling."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import TYPE_CHECKING, get_origin

if TYPE_CHECKING:
    from lora_forge.presets.model import Section

RUN_KEYS = (
    "dataset",
    "trigger",
    "preset",
    "family",
    "reg",
    "name",
    "model",
    "clip_l",
    "t5xxl",
    "ae",
    "vae",
    "tokenizers",
    "runs",
    "gpus",
    "vram",
)
"""What a run is asked with beside its preset: a flag, an environment variable or a line of forge.yaml."""

_CUTOFF = 0.6
_SHOWN = 60
_LONGEST_KEY = 100


@cache
def preset_leaves() -> frozenset[str]:
    """Every key that holds a value, such as ``network.rank``; tables themselves are left out."""
    from lora_forge.presets.model import Preset

    return frozenset(key for key, _ in _leaves(Preset, ""))


@cache
def preset_tables() -> frozenset[str]:
    """The keys whose one value is a free table, such as ``optimizer.args``."""
    from lora_forge.presets.model import Preset

    return frozenset(key for key, annotation in _leaves(Preset, "") if get_origin(annotation) is dict)


def _leaves(section: type[Section], prefix: str) -> Iterator[tuple[str, object]]:
    from lora_forge.presets.model import Section

    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from _leaves(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, inner


def nearest(word: str, known: Collection[str]) -> str | None:
    """The known key that was probably meant, or None.

    A bare last part is enough where only one key ends in it; where the table is right,
    the last part alone is compared, since sharing a table makes no two keys alike.

    >>> keys = ["network.rank", "network.alpha", "optimizer.learning_rate"]
    >>> nearest("netwrok.rnak", keys), nearest("rank", keys), nearest("zzz", keys)
    ('network.rank', 'network.rank', None)
    >>> nearest("network.rnak", keys), nearest("network.every", keys)
    ('network.rank', None)
    """
    if len(word) > _LONGEST_KEY:
        return None
    from difflib import get_close_matches

    same_end = [key for key in known if key.rpartition(".")[2] == word.rpartition(".")[2]]
    if len(same_end) == 1:
        return same_end[0]
    table = word[: word.rfind(".") + 1]
    inside = [key for key in known if table and key.rpartition(".")[0] + "." == table]
    lower = {key.removeprefix(table).lower(): key for key in sorted(inside or known)}
    wanted = word.removeprefix(table) if inside else word
    close = get_close_matches(wanted.lower(), lower, n=1, cutoff=_CUTOFF)
    return lower[close[0]] if close else None


def did_you_mean(word: str, known: Collection[str], otherwise: str) -> str:
    """A hint that names the nearest key, or ``otherwise``."""
    key = nearest(word, known)
    return f"Did you mean {key}?" if key else otherwise


def meant(word: str, known: Collection[str]) -> str:
    """The end of a message that names the nearest key; empty where none is near.

    >>> meant("cosin", ["linear", "cosine"]), meant("zzz", ["linear"])
    ('; did you mean cosine?', '')
    """
    key = nearest(word, known)
    return f"; did you mean {key}?" if key else ""


def shown(value: object) -> str:
    """A value as YAML would write it, cut to what fits a line.

    >>> shown("16"), shown(True), shown("x" * 99)[-3:]
    ('"16"', 'true', 'xx…')
    """
    import json

    return cut(json.dumps(value, ensure_ascii=False, default=str))


def cut(text: str) -> str:
    """A text somebody wrote, at a length that fits a message."""
    return printable(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def printable(text: str) -> str:
    r"""Text from the system, whose bytes may be anything: a finding holds UTF-8 alone.

    >>> printable("caf\udce9")
    'caf\\udce9'
    """
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")
