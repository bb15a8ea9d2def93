"""A tiny engine to install: a git repository of three files, and a lock of one wheel on a local shelf."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from lora_forge.engine.home import EngineHome

REPOSITORY = "https://engine.invalid/tiny"

# Imports at once, or slowly where a test says so, leaving a mark at its start and its end.
TINY = """
import os, pathlib, time
marks = os.environ.get("TINY_MARKS")
if marks and not pathlib.Path(marks, "started").exists():
    pathlib.Path(marks, "started").touch()
    time.sleep(2)
    pathlib.Path(marks, "ended").touch()
"""

INSTALLER = """
import ast, os, signal, sys
from pathlib import Path
from lora_forge.engine.home import EngineHome
from lora_forge.engine.install import install_engine

PATHS = ("checkout", "environment", "lock")
WRITES = {
    "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "os.chmod",
    "subprocess.Popen", "fcntl.flock",
}
repository, fields, kind, moment = sys.argv[1], ast.literal_eval(sys.argv[2]), sys.argv[3], int(sys.argv[4])
home = EngineHome(**{key: Path(value) if key in PATHS else value for key, value in fields.items()})
seen = 0

def count():
    global seen
    seen += 1
    if seen == moment:
        os.kill(os.getpid(), signal.SIGKILL)

def report(line):
    print(line, flush=True)
    if kind == "report":
        count()

def watch(event, arguments):
    written = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if event in WRITES or written:
        count()

if kind in ("event", "forced"):
    sys.addaudithook(watch)
install_engine(home, repository=repository, report=report, force=kind == "forced")
print("moments", seen)
"""


def write_git_settings(path: Path) -> Path:
    path.write_text("[user]\n\tname = T\n\temail = t@invalid\n[uploadpack]\n\tallowFilter = true\n")
    return path


def git_env(settings: Path, env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Nobody's git configuration but the one named here."""
    kept = {name: value for name, value in env.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_CONFIG_GLOBAL": str(settings), "GIT_CONFIG_SYSTEM": os.devnull}


def run_git(tree: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    command = ["git", "-C", str(tree), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.strip()


def make_upstream(tree: Path, settings: Path) -> Path:
    """The repository that the settings rewrite ``REPOSITORY`` to."""
    (tree / "library").mkdir(parents=True)
    (tree / "docs").mkdir()
    (tree / "library" / "train_util.py").write_text("import tiny\n")
    (tree / "train_network.py").write_text("import library.train_util\n")
    (tree / "docs" / "manual.md").write_text("long\n")
    env = git_env(settings)
    run_git(tree, "init", "-q", "-b", "main", env=env)
    run_git(tree, "add", ".", env=env)
    run_git(tree, "commit", "-q", "-m", "one", env=env)
    with settings.open("a") as stream:
        stream.write(f'[url "file://{tree}"]\n\tinsteadOf = {REPOSITORY}\n')
    return tree


def make_shelf(folder: Path) -> Path:
    """A folder with one wheel, ``tiny`` 1.0."""
    folder.mkdir()
    info = "tiny-1.0.dist-info"
    files = {
        "tiny.py": TINY,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(name, text)
    return folder


def tiny_home(folder: Path, shelf: Path, commit: str) -> EngineHome:
    """Where the tiny engine will be installed; nothing is there yet."""
    wheel = hashlib.sha256((shelf / "tiny-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    lock = folder / "tiny.txt"
    lock.write_text(f"--no-index\n--find-links {shelf}\ntiny==1.0 --hash=sha256:{wheel}\n")
    return EngineHome(
        checkout=folder / "home" / "sd-scripts",
        environment=folder / "home" / "engine" / "tiny",
        variant="tiny",
        lock=lock,
        lock_sha256=hashlib.sha256(lock.read_bytes()).hexdigest(),
        commit=commit,
        packages=("tiny",),
        scripts=("library.train_util", "train_network"),
    )


def start_installer(
    home: EngineHome, kind: str = "never", moment: int = 0, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """A real installing process, which may kill itself at the ``moment``-th report or write."""
    fields = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(home).items()}
    argv = [sys.executable, "-c", INSTALLER, REPOSITORY, repr(fields), kind, str(moment)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
