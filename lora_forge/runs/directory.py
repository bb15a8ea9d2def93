"""The run directory: every file name in it is decided here and nowhere else."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lora_forge.errors import InvalidInput
from lora_forge.runs.commit import sync_directory, write_whole
from lora_forge.runs.ledger import has_ledger
from lora_forge.runs.lock import LOCK

SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|CREDENTIAL|PRIVATE|_KEY$", re.IGNORECASE)
REDACTED = "(redacted)"
LAYING_OUT = ".laying-out"
"""Marks a folder in which a run is laid out and has not begun; an empty file."""
LAID_OUT = {
    *(LAYING_OUT, "dataset", "models", "plan.json", "preset.yaml", "request.json"),
    *(".preset.mirror.yaml", ".request.mirror.json"),
}
LAID_OUT_ENDINGS = (".holdout.json", ".pending", ".tmp")
"""What laying out makes, and may clear away again where the run never began."""
STATE_NAME = re.compile(r"step\d{8,}")
ATTEMPT_NAME = re.compile(r"[0-9]{2,}")


@dataclass(frozen=True)
class AttemptDir:
    """One attempt's own folder: nothing that an earlier attempt wrote is ever written again."""

    path: Path

    @property
    def train_toml(self) -> Path:
        return self.path / "train.toml"

    @property
    def command_json(self) -> Path:
        return self.path / "command.json"

    @property
    def engine_log(self) -> Path:
        return self.path / "engine.log"

    @property
    def events_jsonl(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def output(self) -> Path:
        """Where the engine saves; what is committed gets a second name in the run's own ``output``."""
        return self.path / "output"

    @property
    def engine_samples(self) -> Path:
        """Where the engine puts its samples: it knows no other place than ``sample`` in its output folder."""
        return self.output / "sample"

    def make(self) -> None:
        self.output.mkdir(parents=True, exist_ok=True)

    def write_train_toml(self, text: str) -> None:
        write_atomically(self.train_toml, text)

    def write_command(self, argv: Sequence[str], added_env: Mapping[str, str]) -> None:
        """Keep the command and the environment that forge added, less the values of secrets."""
        shown = {name: REDACTED if SECRET_NAME.search(name) else value for name, value in added_env.items()}
        command = {"argv": list(argv), "env": shown}
        write_atomically(self.command_json, json.dumps(command, indent=2, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class RunDir:
    """One run's folder; the engine's caches land in ``dataset/`` too, never beside a person's images.

    ``train.toml``, ``command.json``, ``engine.log`` and ``events.jsonl`` are links to the last attempt's.
    """

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
    def attempts(self) -> Path:
        return self.path / "attempts"

    @property
    def states(self) -> Path:
        """State folders that the guest makes, ``step00000500``; only what the ledger vouches for is read."""
        return self.path / "states"

    @property
    def request_json(self) -> Path:
        """What the run was asked for, resolved, so that it can be asked for again; its paths are absolute."""
        return self.path / "request.json"

    @property
    def preset_yaml(self) -> Path:
        return self.path / "preset.yaml"

    @property
    def laying_out(self) -> Path:
        return self.path / LAYING_OUT

    def attempt(self, number: int) -> AttemptDir:
        return AttemptDir(self.attempts / f"{number:02d}")

    def attempts_there(self) -> list[AttemptDir]:
        """Those that lie here, the latest first, whatever the ledger says; a folder of another name is none."""
        entries = self.attempts.iterdir() if self.attempts.is_dir() else ()
        found = [entry for entry in entries if ATTEMPT_NAME.fullmatch(entry.name)]
        return [AttemptDir(entry) for entry in sorted(found, key=lambda entry: int(entry.name), reverse=True)]

    def point_to(self, attempt: AttemptDir) -> None:
        """Let the run's own names lead to this attempt's files."""
        for name in ("train.toml", "command.json", "engine.log", "events.jsonl"):
            pending = self.path / f".{name}.link"
            pending.unlink(missing_ok=True)
            with suppress(OSError):  # a filesystem without links: the files are found under attempts/
                pending.symlink_to((attempt.path / name).relative_to(self.path))
                pending.replace(self.path / name)

    @property
    def samples(self) -> Path:
        """Where they lie in the end, under names a person understands."""
        return self.path / "samples"

    def lora(self, name: str) -> Path:
        return self.output / f"{name}.safetensors"

    def write_plan(self, plan_json: str) -> None:
        write_atomically(self.plan_json, plan_json)

    def write_dataset_toml(self, text: str) -> None:
        write_atomically(self.dataset_toml, text)

    def checkpoint(self, name: str, step: int) -> Path:
        """A numbered checkpoint, as the engine names it (train_util.py, ``STEP_FILE_NAME``)."""
        return self.output / f"{name}-step{step:08d}.safetensors"

    def write_prompts(self, prompts_json: str) -> None:
        write_atomically(self.prompts_json, prompts_json)

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
    """Make the next numbered run directory; making it decides between two creators."""
    runs.mkdir(parents=True, exist_ok=True)
    while True:
        made = free_run_dir(runs, name)
        try:
            made.mkdir()
        except FileExistsError:
            continue
        sync_directory(runs)
        return made


def refuse_used(path: Path) -> None:
    """A new run wants a folder of its own: new, empty but for the lock that we hold, or one where no run began.

    Raises:
        InvalidInput: something lies in it already.
    """
    if never_began(path):
        return
    held = sorted(entry.name for entry in path.iterdir() if entry.name != LOCK)
    if held:
        is_run = any("ledger" in name for name in held)
        hint = "go on with it: add --resume" if is_run else "give --run-dir a new folder, or leave it out"
        raise InvalidInput(f"the run directory {path} is not empty", hint)


def never_began(path: Path) -> bool:
    """Whether a run was laid out here and killed before its ledger: nothing was trained, so all may be made anew."""
    entries = {entry.name for entry in path.iterdir()} if path.is_dir() else {""}
    return not has_ledger(path) and (LAYING_OUT in entries or entries <= {LOCK})


def clear_laid_out(path: Path) -> None:
    """Take away what laying out made in a folder where no run began; what it did not make stays, and the mark last."""
    for entry in sorted(path.iterdir(), key=lambda entry: entry.name == LAYING_OUT):
        if entry.name in LAID_OUT or entry.name.endswith(LAID_OUT_ENDINGS):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def write_atomically(path: Path, text: str) -> None:
    """Write the whole file or nothing."""
    write_whole(path, text.encode())
