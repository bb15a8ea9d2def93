"""The name of the finished files: any script, one part of a path, and said where it is not the one asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import toml
from hypothesis import given
from hypothesis import strategies as st

from lora_forge.cli.handover import STEP_IN_NAME
from lora_forge.engine.toml_text import dump_toml
from lora_forge.runs.directory import RunDir, free_run_dir, next_run_dir
from lora_forge.runs.samples import ENGINE_NAME
from lora_forge.runs.shelf import numbered
from lora_forge.workflow.lora_name import LONGEST_BYTES, safe_name

MOST_BYTES = 255


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("猫", "猫"),
        ("Лена", "Лена"),
        ("हिन्दी", "हिन्दी"),
        ("ok-1.2_b", "ok-1.2_b"),
        ("_x", "_x"),
        ("he\u0301", "h\u00e9"),
        ("héé 日本", "héé_日本"),
        ("a<b>:c", "a_b_c"),
        ("../../etc/passwd", "etc_passwd"),
        ("-rf", "rf"),
        ("\u0301a", "a"),
        ("a\x00b\nc\u202ed\ud800", "a_b_c_d"),
        ("❤\ufe0f", ""),
        ("a\u3164\ufe00b", "ab"),
        ("...", ""),
    ],
)
def test_letters_and_digits_of_any_script_are_kept(asked: str, name: str) -> None:
    assert safe_name(asked) == name


@given(st.text() | st.text("猫é-._<>: /a", max_size=300))
def test_a_name_is_one_path_part_that_every_place_holds(asked: str) -> None:
    name = safe_name(asked)
    assert safe_name(name) == name
    assert not set(name) & set("<>:/\\\"'`$*?[]{}| \0") and name.isprintable()
    assert not name.startswith((".", "-"))
    picture = f"{name}_001500_00_20260101000000_4294967295.png"
    assert len(name.encode()) <= LONGEST_BYTES and len(os.fsencode(picture)) <= MOST_BYTES
    assert toml.loads(dump_toml({"output_name": name}))["output_name"] == name


@pytest.mark.parametrize("name", ["猫", "Лена-identity", "हिन्दी"])
def test_forges_own_patterns_know_such_names_again(tmp_path: Path, name: str) -> None:
    made = [next_run_dir(tmp_path, name) for _ in range(2)]
    assert [each.name for each in made] == [f"{name}-001", f"{name}-002"]
    assert list(numbered(tmp_path, name)) == made[::-1]
    assert free_run_dir(tmp_path, name).name == f"{name}-003"
    checkpoint = RunDir(made[0]).checkpoint(name, 500)
    assert checkpoint.name == f"{name}-step00000500.safetensors"
    assert (match := STEP_IN_NAME.search(checkpoint.stem)) and int(match[1]) == 500
    assert ENGINE_NAME.search(f"{name}_000500_01_20260101000000_42.png")
