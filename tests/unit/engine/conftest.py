"""A tiny engine: a git repository of three files, and a lock of one wheel on a local shelf."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_engine

from lora_forge.engine.home import EngineHome

REPOSITORY = tiny_engine.REPOSITORY


@pytest.fixture(autouse=True)
def git_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's git configuration but the one written here."""
    settings = tiny_engine.write_git_settings(tmp_path / "gitconfig")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    return settings


@pytest.fixture
def git() -> Callable[..., str]:
    return tiny_engine.run_git


@pytest.fixture
def upstream(tmp_path: Path, git_settings: Path) -> Path:
    """The repository that the settings rewrite ``REPOSITORY`` to."""
    return tiny_engine.make_upstream(tmp_path / "upstream", git_settings)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    return tiny_engine.make_shelf(tmp_path / "shelf")


@pytest.fixture
def home(tmp_path: Path, upstream: Path, shelf: Path, git: Callable[..., str]) -> EngineHome:
    """Where the tiny engine will be installed; nothing is there yet."""
    return tiny_engine.tiny_home(tmp_path, shelf, git(upstream, "rev-parse", "HEAD"))


@pytest.fixture
def installer() -> Callable[..., subprocess.Popen[str]]:
    return tiny_engine.start_installer
