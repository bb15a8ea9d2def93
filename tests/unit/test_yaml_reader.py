"""What YAML means here, and what it may not do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_forge.findings import Finding
from lora_forge.presets.yaml_nodes import MAX_BYTES, MAX_FINDINGS
from lora_forge.presets.yaml_reader import read_settings, read_settings_file
from lora_forge.settings import Source, Value, Written

LEAVES = frozenset({"name", "network.rank", "network.alpha", "optimizer.args", "families", "about"})


def read(text: str) -> tuple[dict[str, Written], list[Finding]]:
    return read_settings(text, source=Source.PRESET, label="a.yaml", leaves=LEAVES)


def value_of(text: str) -> Value:
    written, findings = read(f"name: {text}\n")
    assert findings == []
    return written["name"].value


def code_of(text: str) -> str:
    _, findings = read(text)
    assert len(findings) == 1, findings
    return findings[0].code


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("010", 10),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
    ],
)
def test_numbers_switches_and_null_are_typed(text: str, value: Value) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    ["no", "yes", "on", "off", "y", "10:30", "1_000", "0o17", "0x1F", "2024-01-01", ".nan", ".inf", "1.2.3"],
)
def test_what_yaml_1_1_would_change_stays_text(text: str) -> None:
    assert value_of(text) == text


@pytest.mark.parametrize("text", ['"16"', "'true'", '"null"', "|-\n  16", ">-\n  16"])
def test_a_quoted_or_block_value_is_always_text(text: str) -> None:
    assert isinstance(value_of(text), str)


def test_tables_become_dotted_keys_and_known_leaves_stay_whole() -> None:
    written, findings = read("network: {rank: 16}\noptimizer:\n  args: {a: 1, b: no}\nfamilies: [x, y]\n")
    assert findings == []
    assert {key: one.value for key, one in written.items()} == {
        "network.rank": 16,
        "optimizer.args": {"a": 1, "b": "no"},
        "families": ["x", "y"],
    }


def test_an_unknown_table_is_flattened_for_its_did_you_mean() -> None:
    assert list(read("netwrok: {rnak: 3}\n")[0]) == ["netwrok.rnak"]


def test_a_known_table_without_content_says_nothing_and_an_unknown_one_is_kept() -> None:
    assert read("network:\n")[0] == {}
    assert read("network: {}\n")[0] == {}
    assert list(read("netwrok:\n")[0]) == ["netwrok"]


def test_each_value_knows_its_line_and_column() -> None:
    written, _ = read("\nname: x\r\nnetwork:\r\n  rank: 16\n")
    assert (written["name"].where, written["network.rank"].where) == ("a.yaml:2:1", "a.yaml:4:3")


def test_each_part_of_a_list_or_table_knows_its_place() -> None:
    written, _ = read("families: [x, y]\noptimizer:\n  args:\n    a: 1\n    b: 2\n")
    assert (written["families"].place("1"), written["optimizer.args"].place("b")) == ("a.yaml:1:15", "a.yaml:5:5")
    assert written["families"].place("9") == written["families"].where == "a.yaml:1:1"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name: x  # because", "because"),
        ("name: 'a # b'  # because", "because"),
        ("name: x", ""),
        ("name: x#y", ""),
        ("# because\nname: x", "because"),
        ("# because it\n# is so\nname: x", "because it is so"),
        ("# header\n\nname: x", ""),
        ("# 1\n# 2\n# 3\n# 4\n# 5\nname: x", ""),
        ("# yaml-language-server: $schema=s.json\nname: x", ""),
        ("name:  # because", "because"),
        ("name: |  # because\n  x # y\n", "because"),
        ("families:  # because\n  - a\n", "because"),
        ("families: [a, b]  # because", "because"),
        ("network: {rank: 1, alpha: 2}  # because", "because"),
        ("network: {\n  rank: 1,  # because\n  alpha: 2\n}", "because"),
    ],
)
def test_the_comment_beside_or_above_a_value_is_its_why(text: str, why: str) -> None:
    written, findings = read(text)
    assert findings == []
    assert next(iter(written.values())).why == why


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("name: 1\nname: 2\n", "yaml-duplicate-key"),
        ("network: {rank: 1}\nnetwork: {alpha: 1}\n", "yaml-duplicate-key"),
        ("network: {rank: 1}\nnetwork.rank: 2\n", "yaml-duplicate-key"),
        ("name: *x\n", "yaml-alias"),
        ("name: &x 1\n", "yaml-anchor"),
        ("<<: {name: 1}\n", "yaml-merge-key"),
        ("name: !!python/name:os.system x\n", "yaml-tag"),
        ("name: !x 1\n", "yaml-tag"),
        ("name: 1\n---\nname: 2\n", "yaml-documents"),
        ("1: x\n", "yaml-key"),
        ("~: x\n", "yaml-key"),
        ("? [a]\n: x\n", "yaml-key"),
        ("name: a\0b\n", "yaml-character"),
        ('name: "a\\0b"\n', "yaml-character"),
        ("name: \ud800\n", "yaml-character"),
        ("name: 1e999\n", "yaml-number"),
        (f"name: {'9' * 5000}\n", "yaml-number"),
        ("name: [1, [2]]\n", "yaml-nesting"),
        ("optimizer: {args: {a: {b: 1}}}\n", "yaml-nesting"),
        ("- a\n", "yaml-root"),
        ("name: [1\n", "yaml-syntax"),
        ("name: \tx\n\tb: 1\n", "yaml-syntax"),
        ("name: a: b\n", "yaml-syntax"),
        ("[" * 50_000, "yaml-depth"),
        ("a: " * 3 + "{a: " * 50_000, "yaml-syntax"),
    ],
)
def test_each_trap_is_one_finding(text: str, code: str) -> None:
    assert code_of(text) == code


def test_findings_name_line_and_column_and_come_all_at_once() -> None:
    _, findings = read("name: 1\nfamilies: [*x]\nname: 2\nabout: !!str 3\n")
    assert [(one.code, one.where) for one in findings] == [
        ("yaml-alias", "a.yaml:2:12"),
        ("yaml-duplicate-key", "a.yaml:3:1"),
        ("yaml-tag", "a.yaml:4:8"),
    ]


def test_an_alias_bomb_is_refused_without_being_expanded() -> None:
    layers = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 300))
    _, findings = read("a0: &a0 [x]\n" + layers)
    assert len(findings) == MAX_FINDINGS
    assert {finding.code for finding in findings} == {"yaml-anchor", "yaml-alias"}


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "~\n", "\ufeffname: x\n"])
def test_empty_files_and_a_byte_order_mark_are_no_problem(text: str) -> None:
    assert read(text)[1] == []


def read_file(path: Path) -> list[Finding]:
    return read_settings_file(path, source=Source.PRESET, label="b.yaml", leaves=LEAVES)[1]


def test_a_file_that_is_not_utf8_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_bytes(b"name: x\nabout: caf\xe9\n")
    (finding,) = read_file(path)
    assert (finding.code, finding.where) == ("yaml-encoding", "b.yaml:2:11")


def test_a_file_that_is_missing_huge_or_no_file_is_one_finding(tmp_path: Path) -> None:
    huge, pipe = tmp_path / "huge.yaml", tmp_path / "pipe.yaml"
    huge.write_bytes(b"#" * (MAX_BYTES + 1))
    os.mkfifo(pipe)
    paths = [tmp_path / "none.yaml", tmp_path, huge, pipe]
    codes = [[finding.code for finding in read_file(path)] for path in paths]
    assert codes == [["file-unreadable"], ["file-unreadable"], ["yaml-too-large"], ["file-unreadable"]]


TEXTS = st.one_of(
    st.text(), st.text(alphabet="ab:-#[]{}&*!|>'\"%?,<~ \n\t\\0x1e."), st.binary().map(lambda b: b.decode("latin-1"))
)


@given(TEXTS)
def test_no_text_raises(text: str) -> None:
    written, findings = read(text)
    assert all(one.where.startswith("a.yaml:") for one in written.values())
    assert all(finding.as_json() for finding in findings)


@given(TEXTS)
def test_the_pure_python_parser_does_not_raise_either(text: str) -> None:
    import yaml

    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(yaml, "CSafeLoader", raising=False)
        read(text)
