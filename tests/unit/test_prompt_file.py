"""The file that ``--prompts`` names: what is a prompt in it, and one clear sentence where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_forge.findings import Finding
from lora_forge.project.prompt_file import MAX_BYTES, read_prompts


def read(folder: Path, data: bytes | None) -> tuple[list[str], list[Finding]]:
    path = folder / "p.txt"
    if data is not None:
        path.write_bytes(data)
    findings: list[Finding] = []
    return read_prompts(path, "p.txt", findings), findings


@pytest.mark.parametrize(
    ("data", "prompts"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"\xef\xbb\xbfa\r\nb", ["a", "b"]),
        (b"\xef\xbb\xbf# remark\na", ["a"]),
        (b"# c\n  # d\n\t#e\n a # f \n\n  \n", ["a # f"]),
        ("猫 in {trigger}\n".encode(), ["猫 in {trigger}"]),
    ],
)
def test_each_line_is_a_prompt_but_remarks_and_blank_ones(tmp_path: Path, data: bytes, prompts: list[str]) -> None:
    assert read(tmp_path, data) == (prompts, [])


@pytest.mark.parametrize("data", [b"", b"\n  \n", b"\xef\xbb\xbf", b"# only\n  # remarks\n"])
def test_a_file_without_a_prompt_is_an_error_not_forges_own_prompts(tmp_path: Path, data: bytes) -> None:
    prompts, (finding,) = read(tmp_path, data)
    assert prompts == []
    assert (finding.code, finding.severity.value) == ("prompts-empty", "error")
    assert finding.message == "the prompt file p.txt holds no prompt"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "the prompt file p.txt cannot be read: it does not exist"),
        (b"a\nb\xff\n", "the prompt file p.txt is not UTF-8: line 2 holds byte 0xff"),
        ("a\n".encode("utf-16"), "the prompt file p.txt cannot be read: it is no text, since it holds NUL bytes"),
        (b"a\n" * MAX_BYTES, "the prompt file p.txt cannot be read: it is larger than 1,048,576 bytes"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path: Path, data: bytes | None, said: str) -> None:
    prompts, (finding,) = read(tmp_path, data)
    assert prompts == []
    assert (finding.code, finding.message) == ("prompts-unreadable", said)
    assert "UTF-8" in finding.hint


def test_a_folder_is_named_as_one(tmp_path: Path) -> None:
    findings: list[Finding] = []
    assert read_prompts(tmp_path, "p", findings) == []
    assert findings[0].message == "the prompt file p cannot be read: Is a directory"
