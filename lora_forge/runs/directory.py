"""The run directory: every file name in it is decided here and nowhere else."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_forge.errors import InvalidInput

SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|CREDENTIAL|PRIVATE|_KEY$", re.IGNORECASE)
REDACTED = "(redacted)"


@dataclass(frozen=True)
class RunDir:
    """One run's folder; the engine's caches land in ``dataset/`` too, never beside a person's images."""

    path: Path

    @property
    def plan_json(self) -> Path:
        return self.path / "plan.json"

    @property
    def train_toml(self) -> Path:
        return self.path / "train.toml"

    @property
    def dataset_toml(self) -> Path:
        return self.path / "dataset.toml"

    @property
    def command_json(self) -> Path:
        return self.path / "command.json"

    @property
    def prompts_json(self) -> Path:
        """Sample prompts in the engine's JSON form: in its text form a prompt could carry options."""
        return self.path / "prompts.json"

    @property
    def engine_log(self) -> Path:
        return self.path / "engine.log"

    @property
    def events_jsonl(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def result_json(self) -> Path:
        return self.path / "result.json"

    @property
    def dataset(self) -> Path:
        return self.path / "dataset"

    @property
    def models(self) -> Path:
        """Links to base models whose own path the engine would misread."""
        return self.path / "models"

    @property
    def output(self) -> Path:
        return self.path / "output"

    @property
    def engine_samples(self) -> Path:
        """Where the engine puts its samples: it knows no other place than ``sample`` in its output folder."""
        return self.output / "sample"

    @property
    def samples(self) -> Path:
        """Where they lie in the end, under names a person understands."""
        return self.path / "samples"

    def lora(self, name: str) -> Path:
        return self.output / f"{name}.safetensors"

    def write_plan(self, plan_json: str) -> None:
        write_atomically(self.plan_json, plan_json)

    def write_rendered(self, *, train_toml: str, dataset_toml: str) -> None:
        write_atomically(self.train_toml, train_toml)
        write_atomically(self.dataset_toml, dataset_toml)

    def checkpoint(self, name: str, step: int) -> Path:
        """A numbered checkpoint, as the engine names it (train_util.py, ``STEP_FILE_NAME``)."""
        return self.output / f"{name}-step{step:08d}.safetensors"

    def write_prompts(self, prompts_json: str) -> None:
        write_atomically(self.prompts_json, prompts_json)

    def write_command(self, argv: Sequence[str], added_env: Mapping[str, str]) -> None:
        """Keep the command and the environment that forge added, less the values of secrets."""
        shown = {name: REDACTED if SECRET_NAME.search(name) else value for name, value in added_env.items()}
        command = {"argv": list(argv), "env": shown}
        write_atomically(self.command_json, json.dumps(command, indent=2, ensure_ascii=False) + "\n")

    def write_result(self, result_json: str) -> None:
        write_atomically(self.result_json, result_json)


def free_run_dir(runs: Path, name: str) -> Path:
    """Name what ``next_run_dir`` would make: ``name-001``, or one above the highest there is.

    No number is used again while a higher one stands.
    """
    numbered = re.compile(re.escape(name) + r"-(\d{3,})")
    entries = runs.iterdir() if runs.is_dir() else ()
    taken = [int(match[1]) for entry in entries if (match := numbered.fullmatch(entry.name))]
    return runs / f"{name}-{max(taken, default=0) + 1:03d}"


def next_run_dir(runs: Path, name: str) -> Path:
    """Make the next numbered run directory; making it is the lock against a second creator."""
    runs.mkdir(parents=True, exist_ok=True)
    while True:
        made = free_run_dir(runs, name)
        try:
            made.mkdir()
        except FileExistsError:
            continue
        (made / "output").mkdir()
        return made


def make_run_dir(path: Path) -> Path:
    """Make the run directory that a person named: new, or empty.

    Raises:
        InvalidInput: something lies in it already.
    """
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        hint = "give --run-dir a new folder, or leave it out"
        raise InvalidInput(f"the run directory {path} is not empty", hint)
    (path / "output").mkdir()
    return path


def write_atomically(path: Path, text: str) -> None:
    """Write the whole file or nothing: temporary name, fsync, rename, fsync of the folder."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
