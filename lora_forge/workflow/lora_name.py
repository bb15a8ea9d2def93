"""What a run's files are called: as asked, in any script, as far as files, tags and commands can hold it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from itertools import dropwhile

from lora_forge.findings import Finding, info
from lora_forge.presets.keys import shown
from lora_forge.settings import Source, Written
from lora_forge.workflow.gather import Gathered

LONGEST_BYTES = 180
"""A file name holds 255; the longest that is built on a name is the engine's picture, 40 more with a seed."""
_KEPT = ("L", "M", "N")
"""Unicode's letters, the marks without which many scripts cannot be written, and digits."""
_PUNCTUATION = "._-"
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]+")
"""Letters and marks that show nothing: two names that differ in them alone would look the same."""


def decide_name(gathered: Gathered) -> Written:
    """As given, else trigger and preset."""
    given, preset = gathered.request.name, gathered.preset.name
    stem = given.value if given else f"{gathered.trigger.value or gathered.dataset.root.name}-{preset}"
    safe = safe_name(str(stem)) or preset
    if given:
        note = f"; {given.value!r} made safe for a file name" if _is_changed(given, safe) else ""
        return replace(given, value=safe, why=f"as given{note}")
    return Written(safe, Source.DATASET, why="the trigger, or the folder, and the preset")


def name_changed(gathered: Gathered, name: str) -> list[Finding]:
    """Say so where a person asked for another name than the files have."""
    given = gathered.request.name
    if given is None or not _is_changed(given, name):
        return []
    message = f"The name asked for is {shown(given.value)}; the files are called {name}."
    hint = "A name has letters and digits of any script, dots, dashes and underscores, and begins with no dot or dash."
    return [info("name-changed", message, f"{hint} At most {LONGEST_BYTES} bytes of it are kept.", given.where)]


def safe_name(text: str) -> str:
    """Keep what a file name, a tag ``<lora:NAME:0.8>`` and a shell all take; empty where nothing is left.

    >>> safe_name("héé 日本"), safe_name("../a:b"), safe_name("...")
    ('héé_日本', 'a_b', '')
    """
    seen = _UNSEEN.sub("", unicodedata.normalize("NFC", text))
    words = "".join(char if _is_kept(char) else " " for char in seen).split()
    joined = "_".join(word for word in words if word.strip(_PUNCTUATION))
    name = "".join(dropwhile(_is_no_start, joined))
    return name.encode()[:LONGEST_BYTES].decode(errors="ignore")


def _is_kept(char: str) -> bool:
    return char in _PUNCTUATION or unicodedata.category(char)[0] in _KEPT


def _is_no_start(char: str) -> bool:
    """A dot hides a file, a dash makes an option of it, and a mark would sit on what stands before the name."""
    return char in ".-" or unicodedata.category(char)[0] == "M"


def _is_changed(given: Written, name: str) -> bool:
    """One letter may be spelled in two ways, as one code or with its accent apart, and stays the same letter."""
    return unicodedata.normalize("NFC", str(given.value)) != name
