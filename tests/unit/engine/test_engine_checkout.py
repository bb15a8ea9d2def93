"""Laws of the engine's source: partial, sparse, detached, nothing of a person's lost, no stray transport."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lora_forge.engine.checkout import checkout_fault, ensure_checkout
from lora_forge.engine.home import EngineHome
from lora_forge.engine.stamps import read_checkout_stamp
from lora_forge.engine.using import lock_of
from lora_forge.engine.worktree import Worktree, allowed_protocols
from lora_forge.errors import EngineError

REPOSITORY = "https://engine.invalid/tiny"

Git = Callable[..., str]

pytestmark = pytest.mark.processes


def ensure(home: EngineHome, *, commit: str | None = None, repository: str = REPOSITORY) -> list[str]:
    said: list[str] = []
    home.checkout.parent.mkdir(parents=True, exist_ok=True)
    ensure_checkout(home, repository, commit or home.commit, said.append, force=False)
    return said


def beside(home: EngineHome) -> list[str]:
    """What an install leaves; the lock of those who use it stays for the next."""
    return sorted(path.name for path in home.checkout.parent.iterdir() if path != lock_of(home.checkout))


def test_the_checkout_is_detached_sparse_and_partial(home: EngineHome, git: Git) -> None:
    ensure(home)
    assert (home.checkout / ".git" / "HEAD").read_text().strip() == home.commit
    assert not (home.checkout / "docs").exists()
    assert git(home.checkout, "config", "remote.origin.partialclonefilter") == "blob:none"
    missing = git(home.checkout, "rev-list", "--objects", "--missing=print", "HEAD")
    assert sum(line.startswith("?") for line in missing.splitlines()) == 1  # the manual, never fetched


def test_the_remote_keeps_its_canonical_name(home: EngineHome, git: Git) -> None:
    """The rewrite is the user's and may change; the checkout must not remember it."""
    ensure(home)
    assert git(home.checkout, "config", "remote.origin.url") == REPOSITORY


def test_a_hook_of_the_user_never_runs(home: EngineHome, git_settings: Path, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\n")
    (hooks / "post-checkout").chmod(0o755)
    with git_settings.open("a") as stream:
        stream.write(f"[core]\n\thooksPath = {hooks}\n\tautocrlf = true\n")
    ensure(home)
    assert not (tmp_path / "hook-ran").exists()
    assert b"\r" not in (home.checkout / "train_network.py").read_bytes()


def test_submodules_stay_away(home: EngineHome, upstream: Path, git: Git, tmp_path: Path) -> None:
    git(upstream, "-c", "protocol.file.allow=always", "submodule", "add", "-q", f"file://{upstream}", "inner")
    git(upstream, "commit", "-q", "-m", "two")
    ensure(home, commit=git(upstream, "rev-parse", "HEAD"))
    assert list((home.checkout / "inner").iterdir()) == []


def test_surroundings_of_a_git_hook_do_not_leak_in(
    home: EngineHome, upstream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(upstream / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(upstream / ".git" / "index"))
    before = (upstream / ".git" / "index").read_bytes()
    ensure(home)
    assert checkout_fault(home.checkout, home.commit) == ""
    assert (upstream / ".git" / "index").read_bytes() == before


@pytest.mark.parametrize("damage", ["file", "head", "index", "stamp"])
def test_what_is_broken_is_made_anew(home: EngineHome, damage: str) -> None:
    ensure(home)
    victim = {
        "file": home.checkout / "train_network.py",
        "head": home.checkout / ".git" / "HEAD",
        "index": home.checkout / ".git" / "index",
        "stamp": home.checkout / ".git" / "forge-checkout.json",
    }[damage]
    victim.unlink()
    ensure(home)
    assert checkout_fault(home.checkout, home.commit) == ""
    assert victim.exists()


def test_local_changes_are_kept_aside_not_lost(home: EngineHome) -> None:
    ensure(home)
    (home.checkout / "train_network.py").write_text("mine\n")
    said = ensure(home)
    assert (home.checkout / "train_network.py").read_text() == "import library.train_util\n"
    assert (home.checkout.with_name("sd-scripts.kept-1") / "train_network.py").read_text() == "mine\n"
    assert any("kept as sd-scripts.kept-1" in line for line in said)


def test_a_folder_that_is_not_ours_is_kept_aside(home: EngineHome) -> None:
    home.checkout.mkdir(parents=True)
    (home.checkout / "thesis.txt").write_text("five years")
    ensure(home)
    assert (home.checkout.with_name("sd-scripts.kept-1") / "thesis.txt").read_text() == "five years"


def test_an_own_clone_at_the_commit_is_adopted(home: EngineHome, git: Git, upstream: Path) -> None:
    home.checkout.parent.mkdir(parents=True)
    git(upstream.parent, "clone", "-q", f"file://{upstream}", str(home.checkout))
    git(home.checkout, "checkout", "-q", "--detach", home.commit)
    assert ensure(home) == []
    assert (home.checkout / ".git" / "forge-checkout.json").exists()


def test_compiled_python_is_no_change(home: EngineHome) -> None:
    ensure(home)
    (home.checkout / "library" / "__pycache__").mkdir()
    (home.checkout / "library" / "__pycache__" / "x.pyc").touch()
    assert ensure(home) == []


def test_files_left_out_by_a_narrower_sparse_set_are_a_fault(home: EngineHome, git: Git) -> None:
    ensure(home)
    git(home.checkout, "sparse-checkout", "set", "--no-cone", "/library/")
    assert not (home.checkout / "train_network.py").exists()
    assert "never checked out" in checkout_fault(home.checkout, home.commit)


def test_another_commit_replaces_the_old_one_whole(home: EngineHome, git: Git, upstream: Path) -> None:
    ensure(home)
    (upstream / "train_network.py").write_text("second\n")
    git(upstream, "commit", "-q", "-a", "-m", "two")
    ensure(home, commit=git(upstream, "rev-parse", "HEAD"))
    assert (home.checkout / "train_network.py").read_text() == "second\n"
    assert beside(home) == ["sd-scripts"]


def test_a_failed_fetch_leaves_the_old_checkout_alone(home: EngineHome) -> None:
    ensure(home)
    with pytest.raises(EngineError, match="failed"):
        ensure(home, commit="0" * 40)
    assert checkout_fault(home.checkout, home.commit) == ""
    assert beside(home) == ["sd-scripts"]


def test_only_https_and_the_users_own_rewrite_are_allowed(upstream: Path) -> None:
    assert allowed_protocols(REPOSITORY) == {"https", "file"}
    assert allowed_protocols("https://elsewhere.invalid/x") == {"https"}


@pytest.mark.parametrize(
    "url",
    [
        "http://h/x", "git@h:x", "/srv/x", "file:///srv/x", "ext::sh -c true", "--upload-pack=x",
        "https://me:secret@h/x", "https://", "https://h/x\n--y",
    ],
)  # fmt: skip
def test_other_addresses_are_refused_and_passwords_masked(home: EngineHome, url: str) -> None:
    said: list[str] = []
    with pytest.raises(EngineError, match="must be an https:// URL") as problem:
        ensure_checkout(home, url, home.commit, said.append, force=False)
    assert "secret" not in problem.value.message
    assert not said


def test_a_whole_checkout_keeps_saying_where_it_came_from(home: EngineHome) -> None:
    ensure(home)
    assert ensure(home, repository="https://elsewhere.invalid/x") == []
    stamp = read_checkout_stamp(home.checkout)
    assert stamp is not None
    assert stamp.repository == REPOSITORY
    with pytest.raises(EngineError, match="must be an https:// URL"):
        ensure(home, repository="ext::sh -c true")


def test_git_itself_refuses_a_transport_that_was_not_allowed(home: EngineHome) -> None:
    ensure(home)
    with pytest.raises(EngineError, match="transport 'file' not allowed"):
        Worktree(home.checkout, frozenset({"https"})).git("fetch", "origin")


def test_a_rewrite_to_a_command_is_refused(git_settings: Path) -> None:
    with git_settings.open("a") as stream:
        stream.write(f'[url "ext::sh -c touch% x #"]\n\tinsteadOf = {REPOSITORY}\n')
    with pytest.raises(EngineError, match="not an allowed transport"):
        allowed_protocols(REPOSITORY)


@pytest.mark.parametrize("commit", ["main", "48d368f", "--force", "G" * 40])
def test_a_commit_is_named_in_full(home: EngineHome, commit: str) -> None:
    with pytest.raises(EngineError, match="40 hexadecimal digits"):
        ensure(replace(home, commit=commit))


@pytest.mark.parametrize(("version", "said"), [("2.17.1", "git 2.17 cannot"), (None, "git is not installed")])
def test_a_git_too_old_or_absent_is_named(
    home: EngineHome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str | None, said: str
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    if version:
        (tools / "git").write_text(f"#!/bin/sh\necho git version {version}\n")
        (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}/nowhere")
    with pytest.raises(EngineError, match=said):
        ensure(home)
