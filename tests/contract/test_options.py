"""The committed option tables against the engine: its source cut into slices, and its parsers really imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lora_forge.engine.options import SCRIPTS, TABLES

DUMP = Path(__file__).parents[2] / "scripts" / "dump_engine_options"

pytestmark = pytest.mark.processes


def tables(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.json"))}


def dump(python: str | Path, checkout: Path, output: Path, *options: str) -> dict[str, str]:
    argv = [str(python), "-B", str(DUMP), *options, str(checkout), str(output)]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return tables(output)


def test_every_script_has_a_table_and_no_table_is_left_over() -> None:
    assert set(tables(TABLES)) == set(SCRIPTS)


def test_one_option_a_line(tmp_path: Path) -> None:
    for text in tables(TABLES).values():
        assert len(text.splitlines()) == 5 + len(json.loads(text)["options"]) - 1


def test_the_tables_are_what_the_source_says(engine_checkout: Path, tmp_path: Path) -> None:
    assert dump(sys.executable, engine_checkout, tmp_path) == tables(TABLES)


def test_the_tables_are_what_the_real_parsers_say(engine_checkout: Path, engine_python: Path, tmp_path: Path) -> None:
    assert dump(engine_python, engine_checkout, tmp_path, "--real") == tables(TABLES)
