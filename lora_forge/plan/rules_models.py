"""Whether each base-model file is what its place wants, told from its content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lora_forge.families.family import Family, ModelFile
from lora_forge.findings import Finding, error
from lora_forge.models.facts import ModelFacts

LOADABLE_FP8 = "F8_E4M3"
"""The engine refuses the other fp8 types (flux_train_network.py, load_target_model)."""


def check_models(family: Family, models: Mapping[str, ModelFacts]) -> Iterator[Finding]:
    for file in family.files:
        facts = models.get(file.name)
        if facts is not None:
            yield from _check(file, facts, family)


def _check(file: ModelFile, facts: ModelFacts, family: Family) -> Iterator[Finding]:
    where = str(facts.path)
    found = facts.family or facts.role
    if found not in file.holds:
        what = "no model forge knows" if found == "unknown" else f"{found} weights"
        yield error(
            "model-wrong-file",
            f"{facts.path.name} holds {what}, but {file.flag} wants {file.about} for {family.title}",
            f"{file.flag} FILE, or another --family",
            where,
        )
    if facts.is_fp8 and not facts.dtype.startswith(LOADABLE_FP8):
        yield error(
            "model-fp8-type",
            f"{facts.path.name} is stored as {facts.dtype}; the engine loads {LOADABLE_FP8} alone",
            "use the bf16 file, or an e4m3fn one",
            where,
        )
    if facts.quantization:
        yield error(
            "model-quantized",
            f"{facts.path.name} is packed as {facts.quantization}, which the engine would misread",
            "use the bf16 file, or a plain e4m3fn one",
            where,
        )
