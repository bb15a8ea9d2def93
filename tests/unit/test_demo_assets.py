"""What the demo needs is made once, found again, and its failures are told in one sentence."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from lora_forge.demo import assets, draw
from lora_forge.errors import EngineError, ForgeError


class FakePython:
    """Stands in for the engine's Python: notes what it was asked, and ends as it is told."""

    def __init__(self, returncode=0, stderr=""):
        self.returncode, self.stderr, self.calls = returncode, stderr, []

    def __call__(self, argv, *, cwd, capture_output, text, check):
        self.calls.append((argv, cwd))
        return subprocess.CompletedProcess(argv, self.returncode, "", self.stderr)


@pytest.fixture(autouse=True)
def two_pictures(monkeypatch):
    monkeypatch.setattr(draw, "OVERSAMPLING", 1)
    monkeypatch.setattr(draw, "SHOTS", draw.SHOTS[:2])


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "engine" / ".git").mkdir(parents=True)
    (tmp_path / "engine" / ".git" / "HEAD").write_text("c0ffee\n")
    return tmp_path / "engine"


def prepare(tmp_path, checkout, python):
    return assets.prepare_demo(
        tmp_path / "demo", engine_python=Path("/engine/python"), engine_checkout=checkout, run=python
    )


def test_the_models_are_made_by_the_engines_python_alone_at_its_commit(tmp_path, checkout):
    python = FakePython()
    prepare(tmp_path, checkout, python)
    [(argv, cwd)] = python.calls
    assert argv[:3] == ["/engine/python", "-I", "-B"]
    assert argv[argv.index("--pin") + 1] == "c0ffee"
    assert cwd == checkout


def test_the_assets_name_the_files_that_the_guest_writes(tmp_path, checkout):
    spec = importlib.util.spec_from_file_location("guest_under_test", assets.MAKER)
    guest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(guest)
    made = prepare(tmp_path, checkout, FakePython())
    names = [path.name for path in (made.model, made.clip_l, made.t5xxl, made.ae, made.tokenizer_cache)]
    assert names == [guest.MODEL, guest.CLIP_L, guest.T5XXL, guest.AE, guest.TOKENIZERS]
    assert len(list(made.dataset.glob("*.txt"))) == 2
    assert made.trigger == "forgelin"


def test_a_complete_dataset_is_found_again_and_a_damaged_one_drawn_again(tmp_path, checkout):
    dataset = prepare(tmp_path, checkout, FakePython()).dataset
    first = dataset.stat().st_ino
    prepare(tmp_path, checkout, FakePython())
    assert dataset.stat().st_ino == first
    next(dataset.glob("*.jpg")).unlink()
    prepare(tmp_path, checkout, FakePython())
    assert len(list(dataset.glob("*.jpg"))) == 2


def test_a_failure_of_the_engine_is_told_by_its_last_line(tmp_path, checkout):
    python = FakePython(1, "Traceback (most recent call last):\n  ...\nOSError: [Errno 28] No space left\n\n")
    with pytest.raises(ForgeError, match=r"could not be made in .*models: OSError: \[Errno 28\]") as caught:
        prepare(tmp_path, checkout, python)
    assert "forge engine verify" in caught.value.hint


def test_an_engine_python_that_does_not_start_is_an_engine_error(tmp_path, checkout):
    def missing(argv, **_settings):
        raise FileNotFoundError(2, "No such file or directory", argv[0])

    with pytest.raises(EngineError, match="does not start: /engine/python") as caught:
        prepare(tmp_path, checkout, missing)
    assert caught.value.exit_code == 4


def test_a_folder_that_cannot_be_written_is_named(tmp_path, checkout):
    (tmp_path / "demo").write_text("a file where the folder should be")
    with pytest.raises(ForgeError, match=r"cannot be written to .*demo/dataset"):
        prepare(tmp_path, checkout, FakePython())


@pytest.mark.processes
def test_naming_the_assets_imports_nothing_heavy():
    heavy = "import sys, lora_forge.demo.assets; print({'PIL', 'numpy', 'torch', 'pydantic'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
