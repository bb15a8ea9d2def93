"""forge's own commit, read as git would tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_forge.runs.source import source_commit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PACKED = f"# pack-refs with: peeled fully-peeled sorted\n{COMMIT} refs/heads/main\n"


def checkout(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"pyproject.toml": "", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    "files",
    [
        {".git/HEAD": f"{COMMIT}\n"},
        {".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": f"{COMMIT}\n"},
        {".git/HEAD": "ref: refs/heads/main\n", ".git/packed-refs": PACKED},
        {
            ".git": "gitdir: main/.git/worktrees/one\n",
            "main/.git/worktrees/one/HEAD": "ref: refs/heads/main\n",
            "main/.git/worktrees/one/commondir": "../..\n",
            "main/.git/refs/heads/main": f"{COMMIT}\n",
        },
    ],
    ids=["detached", "branch", "packed", "worktree"],
)
def test_the_commit_of_a_checkout_is_known(tmp_path: Path, files: dict[str, str]) -> None:
    assert source_commit(checkout(tmp_path, files)) == COMMIT


@pytest.mark.parametrize("files", [{}, {".git/HEAD": "ref: refs/heads/main\n"}, {".git": "nothing\n"}])
def test_without_a_checkout_there_is_none(tmp_path: Path, files: dict[str, str]) -> None:
    assert source_commit(checkout(tmp_path, files)) is None


def test_a_repository_that_forge_is_only_installed_in_is_not_its_own(tmp_path: Path) -> None:
    (checkout(tmp_path, {".git/HEAD": f"{COMMIT}\n"}) / "pyproject.toml").unlink()
    assert source_commit(tmp_path) is None
