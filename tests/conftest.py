"""What every test may use: a drawn dataset, a world of its own, and a guard on child processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time where a red run must mean a change; new ones on a developer's machine.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

SIZES = ((1024, 1024), (832, 1216), (1216, 832), (768, 1024))


@pytest.fixture(autouse=True)
def own_world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees this machine's forge settings, and none of its FORGE_* variables but the engine's place."""
    for name in [name for name in os.environ if name.startswith("FORGE_") and name != "FORGE_HOME"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.setattr("lora_forge.models.places.SHARED_ROOTS", ())
    if any(tier in str(request.node.path) for tier in ("/unit/", "/cli/")):  # the others need the real engine
        monkeypatch.setenv("HOME", str(tmp_path / "no-home"))
        for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture(autouse=True)
def no_stray_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that starts a process says so by its marker; scans and plans must not need one."""
    if any(request.node.get_closest_marker(name) for name in ("processes", "engine")):
        return
    if "/unit/" not in str(request.node.path) and "/cli/" not in str(request.node.path):
        return

    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("this test starts a process without the marker `processes`")

    monkeypatch.setattr(subprocess, "Popen", refuse)


DrawDataset = Callable[..., Path]


@pytest.fixture
def draw_dataset(tmp_path: Path) -> DrawDataset:
    """Make a folder of ``count`` plain pictures with captions that lead with ``trigger``."""

    def draw(count: int = 23, *, name: str = "photos", trigger: str = "ohwx", captions: bool = True) -> Path:
        from PIL import Image

        folder = tmp_path / name
        folder.mkdir(parents=True)
        for index in range(count):
            picture = Image.new("RGB", SIZES[index % len(SIZES)], (index * 7 % 256, 60, 120))
            picture.save(folder / f"{index:03d}.png", compress_level=1)
            if captions:
                (folder / f"{index:03d}.txt").write_text(f"{trigger}, a man in scene number {index}\n")
        return folder

    return draw


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
