"""The folders to train on, as a person names them: one path, or several with repeats of their own.

The same words everywhere. In forge.yaml::

    dataset:
      - {path: portraits, repeats: 2}
      - {path: outdoors, repeats: 5, class_tokens: "ohwx person"}

and on the command line ``--dataset '{path: portraits, repeats: 2}' --dataset outdoors``.
Text that begins with a brace is such a table, all else a path; a folder whose
name does begin with one is written ``./{name``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lora_forge.findings import Finding, error, warning
from lora_forge.presets.keys import cut, did_you_mean, printable, shown
from lora_forge.presets.yaml_reader import read_value
from lora_forge.project.wording import text_hint, text_problem
from lora_forge.settings import Value, Written

KEYS = ("path", "repeats", "class_tokens", "reg", "caption_extension")
_EXPECTED = {
    "path": "the path of a folder",
    "repeats": "a whole number, 1 or more",
    "class_tokens": "text that is not empty",
    "reg": "true or false",
    "caption_extension": "an ending such as .txt",
}
_EXAMPLES = {
    "path": "path: photos",
    "repeats": "repeats: 2",
    "class_tokens": 'class_tokens: "ohwx person"',
    "reg": "reg: true",
    "caption_extension": "caption_extension: .txt",
}


class AskedFolder(NamedTuple):
    """One folder; None where nothing was said."""

    path: str
    written: Written
    repeats: int | None = None
    class_tokens: str | None = None
    reg: bool = False
    caption_extension: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether only its path was named."""
        return self[2:] == AskedFolder(self.path, self.written)[2:]

    def words(self) -> str:
        """The folder in the words above, so that it can be asked for again."""
        if self.is_plain and not self.path.startswith("{"):
            return self.path
        said = {"path": self.path, "repeats": self.repeats, "class_tokens": self.class_tokens}
        said |= {"reg": self.reg or None, "caption_extension": self.caption_extension}
        return json.dumps({key: value for key, value in said.items() if value is not None})


def read_folders(written: Written, findings: list[Finding]) -> tuple[AskedFolder, ...]:
    """Everything that one place says about the dataset, paths as written; nothing where it says something wrong."""
    value = written.value
    items: list[Value] = [*value] if isinstance(value, list) else [value]
    found = [_read_folder(item, written, findings) for item in items]
    folders = [folder for folder in found if folder is not None]
    return tuple(folders) if len(folders) == len(items) else ()


def leading(folders: Sequence[AskedFolder]) -> AskedFolder:
    """The one that stands for all: the first that is trained on, or else the first."""
    return next((folder for folder in folders if not folder.reg), folders[0])


def named_twice(folders: Sequence[AskedFolder]) -> list[Finding]:
    """No error: a dataset TOML may name one folder in two of its datasets, and such a run must be able to go on."""
    places = [os.path.realpath(folder.path) for folder in folders]
    findings = []
    for at, (folder, place) in enumerate(zip(folders, places, strict=True)):
        if place in places[:at]:
            message = f"{cut(folder.path)} is named twice, so its pictures count twice."
            findings.append(warning("dataset-twice", message, "Name it once, with more repeats.", folder.written.where))
    return findings


def _read_folder(item: Value, written: Written, findings: list[Finding]) -> AskedFolder | None:
    if isinstance(item, str) and item.lstrip().startswith("{"):
        item, problems = read_value(item, label=written.where or "--dataset")
        findings += problems
        if problems:
            return None
    if isinstance(item, dict):
        return _read_table(item, written, findings)
    if isinstance(item, str) and not text_problem(item):
        return AskedFolder(item, written)
    message = f"dataset is {shown(item)}; expected {text_problem(item)}."
    findings.append(error("project-value", message, text_hint("dataset", item), written.where))
    return None


def _read_table(table: Mapping[str, Value], written: Written, findings: list[Finding]) -> AskedFolder | None:
    problems: list[Finding] = []
    for key in table:
        if key not in KEYS:
            hint = did_you_mean(key, KEYS, "Known are: " + ", ".join(KEYS) + ".")
            problems.append(error("unknown-key", f"{cut(key)} is no key of a dataset folder.", hint, written.where))
        elif not _is_right(key, table[key]):
            message = f"{key} of a dataset folder is {shown(table[key])}; expected {_EXPECTED[key]}."
            problems.append(error("project-value", message, f"Write {_EXAMPLES[key]}.", written.where))
    if "path" not in table:
        problems.append(
            error("project-value", "A dataset folder is named without its path.", "Write path: photos.", written.where)
        )
    findings += problems
    return None if problems else AskedFolder(written=written, **table)  # type: ignore[arg-type]  # checked above


def _is_right(key: str, value: Value) -> bool:
    if key == "repeats":
        return isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if key == "reg":
        return isinstance(value, bool)
    is_text = isinstance(value, str) and bool(value.strip()) and printable(value) == value
    return is_text and (key != "caption_extension" or str(value).startswith("."))
