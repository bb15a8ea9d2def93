"""Captions: what each image's is, what it is to be, and the file that it stands in. Images are never touched.

A caption that exists is only replaced where that is asked for. Every file is
written beside its place and renamed: an editor, a training or a crash meets the
old caption or the new one, and a caption that is a link to elsewhere is not
written through.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lora_forge.datasets.facts import DatasetFacts
from lora_forge.datasets.fixing_captions import one_line
from lora_forge.datasets.listing import split_name
from lora_forge.errors import DatasetError
from lora_forge.findings import Finding, error
from lora_forge.whole_file import write_whole

PLACES = ("trigger", "class_tokens", "caption", "stem", "folder")
"""What a template may name between braces."""
_PLACE = re.compile(r"\{([^{}]*)\}")


class Target(NamedTuple):
    """One image: ``name`` is its place in the dataset; ``before`` is None where there is no caption to be read."""

    name: str
    image: Path
    file: Path
    before: str | None
    class_tokens: str | None


class Proposal(NamedTuple):
    """What a caption is to be; ``after`` is None where nothing came of it, and ``problem`` says why."""

    target: Target
    after: str | None
    problem: str = ""


class Change(NamedTuple):
    """``action`` is new, changed, same, kept (it exists, and nobody said to overwrite) or failed."""

    image: str
    file: str
    before: str | None
    after: str | None
    action: str
    problem: str = ""


def list_targets(facts: DatasetFacts, extension: str) -> tuple[list[Target], list[Finding]]:
    """Every training image with its caption file, the one it has or the one it would get."""
    targets: list[Target] = []
    owners: dict[Path, str] = {}
    findings: list[Finding] = []
    for subset in facts.train_subsets:
        for image in subset.images:
            stem = split_name(image.name)[0]
            own = image.caption_file if image.caption_file and split_name(image.caption_file)[0] == stem else None
            file = subset.folder / (own or stem + extension)
            name = _relative(subset.folder / image.name, facts.root)
            if file in owners:
                message = f"{name} shares its caption with {owners[file]}, and is left out."
                findings.append(error("caption-shared", message, "Rename one of the images.", name))
                continue
            owners[file] = name
            before = image.caption if own else None
            targets.append(Target(name, subset.folder / image.name, file, before, subset.class_tokens))
    return targets, findings


def _relative(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.as_posix()


def check_template(template: str, trigger: str | None) -> None:
    """Refuse what cannot be filled in, before anything is.

    Raises:
        DatasetError: it names something unknown, or the trigger where there is none.
    """
    unknown = [place for place in _PLACE.findall(template) if place not in PLACES]
    if unknown or not template.strip():
        known = ", ".join(f"{{{place}}}" for place in PLACES)
        what = f"names {{{unknown[0]}}}, which means nothing" if unknown else "is empty"
        raise DatasetError(f"--template {template!r} {what}", f"a template may hold {known}")
    if "{trigger}" in template and not trigger:
        raise DatasetError(f"--template {template!r} needs a trigger", "--trigger ohwx, or `trigger:` in forge.yaml")


def fill_template(template: str, target: Target, trigger: str | None, caption: str | None) -> Proposal:
    """The caption that a template gives this image.

    ``{caption}`` is what a tagger said or what the image has already; words that
    already stand before or behind it are not put there a second time.
    """
    if "{caption}" in template and not caption:
        return Proposal(target, None, "it has no caption to put into the template")
    words = {
        "trigger": trigger or "",
        "class_tokens": target.class_tokens or "",
        "stem": split_name(target.image.name)[0],
        "folder": target.image.parent.name,
    }
    before, hole, after = template.partition("{caption}")
    before, after = _fill(before, words), _fill(after, words)
    said = one_line(caption or "") if hole else ""
    before = "" if hole and said.startswith(before.lstrip()) else before
    after = "" if hole and said.endswith(after.rstrip()) else after.replace("{caption}", said)
    text = one_line(before + said + after)
    return Proposal(target, text or None, "" if text else "the template comes to nothing for it")


def _fill(text: str, words: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda place: words.get(place.group(1), place.group(0)), text)


def apply_proposals(
    proposals: Iterable[Proposal], *, overwrite: bool, dry_run: bool, told: Callable[[Change], None] | None = None
) -> Iterator[Change]:
    """Write each caption as soon as it is known, so that an interrupt costs one at most.

    Raises:
        DatasetError: a caption file cannot be written.
    """
    for proposal in proposals:
        change = _judge(proposal, overwrite)
        if change.action in ("new", "changed") and not dry_run:
            write_caption(proposal.target.file, str(change.after))
        if told is not None:
            told(change)
        yield change


def _judge(proposal: Proposal, overwrite: bool) -> Change:
    target, after = proposal.target, proposal.after
    exists = has_caption(target)
    if after is None:
        action = "failed"
    elif not exists:
        action = "new"
    elif target.before == after:
        action = "same"
    else:
        action = "changed" if overwrite else "kept"
    return Change(target.name, str(target.file), target.before, after, action, proposal.problem)


def has_caption(target: Target) -> bool:
    """An empty file is no caption; one that cannot be read may be."""
    try:
        return os.path.lexists(target.file) and target.file.stat().st_size > 0
    except OSError:
        return True


def write_caption(file: Path, text: str) -> None:
    """Put one line into a caption file, whole or not at all; the mode of an earlier file stays."""
    try:
        write_whole(file, f"{text}\n".encode(), keep_mode=True)
    except (OSError, UnicodeEncodeError) as wrong:
        reason = wrong.strerror if isinstance(wrong, OSError) and wrong.strerror else str(wrong)
        raise DatasetError(f"the caption {file} cannot be written: {reason}", "check the folder") from wrong
