"""Every word of a sample prompt against the sampler that reads it, since it passes over an unknown one in silence."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from rule_cases import Case, plan_case

from lora_forge.engine.render import prompt_document
from lora_forge.families import family_names, load_family

SAMPLERS = {
    "train_network": "library/train_util.py",
    "sdxl_train_network": "library/train_util.py",
    "flux_train_network": "library/flux_train_utils.py",
}
"""The engine's script → the file whose ``sample_image_inference`` it calls."""


def words_read(source: Path) -> set[str]:
    """Every key that the sampler asks of a prompt."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    (sampler,) = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "sample_image_inference"
    ]
    calls = [node for node in ast.walk(sampler) if isinstance(node, ast.Call)]
    asked = [call for call in calls if ast.unparse(call.func) == "prompt_dict.get"]
    return {ast.literal_eval(call.args[0]) for call in asked}


@pytest.mark.parametrize("name", family_names())
def test_the_familys_sampler_reads_every_word_of_a_prompt(name: str, engine_checkout: Path) -> None:
    family = load_family(name)
    prompts = prompt_document(plan_case(Case(family=name)).plan, family)
    read = words_read(engine_checkout / SAMPLERS[family.script])
    assert {word for prompt in prompts for word in prompt} <= read
    assert family.guidance_word in read
