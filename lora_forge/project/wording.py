"""What to say of a wrong value in forge.yaml, a variable or a flag: what was expected, and what to write instead."""

from __future__ import annotations

from lora_forge.presets.keys import printable, shown
from lora_forge.settings import Value

_COUNT_EXAMPLES = {"gpus": 1, "vram": 24}


def text_problem(value: Value) -> str:
    """What a text should have been; empty where it is one.

    >>> text_problem("ohwx"), text_problem(12), text_problem(["a"])
    ('', 'text; put it in quotes', 'one text, not a list')
    """
    if isinstance(value, (list, dict)):
        return f"one text, not a {'list' if isinstance(value, list) else 'table'}"
    if not isinstance(value, str):
        return "text; put it in quotes"
    if not value.strip():
        return "text that is not empty"
    return "" if printable(value) == value else "text in UTF-8"


def text_hint(key: str, value: Value) -> str:
    """What to write in the place of what is no text.

    >>> text_hint("preset", ["identity"]), text_hint("trigger", 12), text_hint("trigger", "")
    ('Write preset: identity.', 'Write trigger: "12".', 'Write the trigger, or leave the key out.')
    """
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return f"Write {key}: {value[0]}."
    if isinstance(value, (list, dict)):
        return f"Write {key}: and one text behind it."
    if not isinstance(value, str):
        return f'Write {key}: "{shown(value)}".'
    return f"Write the {key}, or leave the key out." if not value.strip() else "Write it in UTF-8."


def count_problem(value: Value) -> str:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    return "" if is_count else "a whole number, 1 or more"


def count_hint(key: str) -> str:
    """
    >>> count_hint("vram")
    'Write a plain number, such as vram: 24.'
    """
    return f"Write a plain number, such as {key}: {_COUNT_EXAMPLES.get(key, 2)}."
