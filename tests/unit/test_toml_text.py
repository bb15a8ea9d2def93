"""What forge writes as TOML reads back equal, by the engine's reader and by another."""

from __future__ import annotations

import tempfile

import pytest
import toml
from hypothesis import given
from hypothesis import strategies as st

from lora_forge.engine.toml_text import dump_toml
from lora_forge.errors import PlanError

TEXT = st.text(st.characters(exclude_categories=("Cs",))).filter(lambda text: text == "" or text.strip('"'))
"""Any text but quotation marks alone, which the engine's reader takes for an empty string."""

SCALARS = st.one_of(TEXT, st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False))
KEYS = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)


@given(st.dictionaries(KEYS, SCALARS, max_size=8))
def test_any_plain_table_survives_the_round_trip(table: dict[str, object]) -> None:
    assert toml.loads(dump_toml(table)) == table


ARGUMENTS = st.from_regex(r'[a-z_]{1,12}=[^\\"\n\r]{0,20}', fullmatch=True)


@given(st.lists(ARGUMENTS))
def test_any_list_of_arguments_survives_the_round_trip(items: list[str]) -> None:
    assert toml.loads(dump_toml({"optimizer_args": items})) == {"optimizer_args": items}


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)))))
def test_any_text_in_a_list_survives_or_is_refused_but_never_changes(items: list[str]) -> None:
    try:
        text = dump_toml({"optimizer_args": items})
    except PlanError:
        return
    assert toml.loads(text) == {"optimizer_args": items}


@pytest.mark.parametrize(
    "path",
    [
        r"C:\x\new",
        "a b/'quoted'/\"twice\"",
        "täst/写真/🙂",
        "tab\there",
        "del\x7f",
        "dollar$(x)`y`",
        "-lead",
        "[v2]",
        "line\nbreak",
    ],
)
def test_a_path_of_any_letters_survives(path: str) -> None:
    document = {"output_dir": path, "datasets": [{"subsets": [{"image_dir": path}]}]}
    assert toml.loads(dump_toml(document)) == document


def test_quotation_marks_alone_are_refused_since_the_engine_would_read_nothing() -> None:
    with pytest.raises(PlanError, match="reads back differently"):
        dump_toml({"output_name": '""'})


@pytest.mark.parametrize("value", [None, object(), float("nan"), float("inf"), [1, "two"], ["a", 1.0], "\udcff"])
def test_what_toml_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(PlanError):
        dump_toml({"key": value})


def test_small_floats_keep_their_value() -> None:
    assert toml.loads(dump_toml({"rate": 1e-07, "other": 3e-5})) == {"rate": 1e-07, "other": 3e-5}


def test_the_text_can_be_written_and_read_as_a_file() -> None:
    with tempfile.NamedTemporaryFile("w+", suffix=".toml", encoding="utf-8") as file:
        file.write(dump_toml({"name": "Zoë\\x41"}))
        file.flush()
        with open(file.name, encoding="utf-8") as again:
            assert toml.load(again) == {"name": "Zoë\\x41"}
