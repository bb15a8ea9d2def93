"""Whether each base-model file is what its place wants, told from its content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lora_forge.families.family import Family, ModelFile
from lora_forge.findings import Finding, error
from lora_forge.models.facts import ModelFacts
from lora_forge.models.suits import holds, what_it_holds, why_misread, why_refused


def check_models(family: Family, models: Mapping[str, ModelFacts]) -> Iterator[Finding]:
    for file in family.files:
        facts = models.get(file.name)
        if facts is not None:
            yield from _check(file, facts, family)


def _check(file: ModelFile, facts: ModelFacts, family: Family) -> Iterator[Finding]:
    where, name = str(facts.path), facts.path.name
    if not holds(file, facts):
        message = f"{name} holds {what_it_holds(facts)}, but {file.flag} wants {file.about} for {family.title}"
        yield error("model-wrong-file", message, f"{file.flag} FILE, or another --family", where)
    if why := why_refused(facts):
        yield error("model-fp8-type", f"{name} {why}", "use the bf16 file, or an e4m3fn one", where)
    if why := why_misread(facts):
        yield error("model-quantized", f"{name} {why}", "use the bf16 file, or a plain e4m3fn one", where)
