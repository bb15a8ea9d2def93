"""The pictures sampled at each checkpoint: the trigger in new company, and a control without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

PLACEHOLDERS = ("{trigger}", "STYLE_TOKEN")

IDENTITY = (
    "{trigger}, a neutral portrait, plain background, looking at the camera",
    "{trigger}, standing on a beach at sunset",
    "{trigger}, wearing a formal suit in an office",
    "{trigger}, an oil painting in the style of the old masters",
    "a portrait of a person, plain background",
)
STYLE = (
    "portrait of a young woman, {trigger}",
    "a young woman walking in New York at night, {trigger}",
    "cat in {trigger} style",
    "a young woman walking in New York at night",
)
BY_SUBJECT: Mapping[str, tuple[str, ...]] = {"identity": IDENTITY, "style": STYLE, "any": IDENTITY}


def fill_prompts(prompts: Iterable[str], trigger: str | None) -> tuple[str, ...]:
    """Put the real token where the placeholder stands.

    Without a trigger only prompts that need none remain: a generic stand-in would
    show the base model and be taken for the LoRA.

    >>> fill_prompts(["cat in {trigger} style", "a cat"], "zvk")
    ('cat in zvk style', 'a cat')
    >>> fill_prompts(["cat in {trigger} style", "a cat"], None)
    ('a cat',)
    """
    filled = []
    for prompt in prompts:
        if any(mark in prompt for mark in PLACEHOLDERS):
            if trigger is None:
                continue
            for mark in PLACEHOLDERS:
                prompt = prompt.replace(mark, trigger)  # noqa: PLW2901  # one prompt, several spellings
        filled.append(prompt)
    return tuple(filled)
