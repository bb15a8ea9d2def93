"""The real engine with a small model, killed: it ends with the weights of a training that nobody disturbed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from fault_tally import Tally, still_there
from fault_watching import MARK, POLL_S, ended, has_entered, kill_hard, no_descendant
from tiny_training import FORGE, draw_pictures, engine_env, make_tiny_models, train_arguments

from lora_forge.engine.choice import choose_engine
from lora_forge.engine.status import engine_status
from lora_forge.machine import probe_machine
from lora_forge.runs.ledger import has_ledger
from lora_forge.runs.record import read_run
from lora_forge.safetensors_header import read_header

SETTINGS = ("schedule.steps=8", "schedule.checkpoint_every=3", "sampling.enabled=false", "memory.cache_to_disk=true")
PHASES = ("loading", "caching", "training", "saving")
LASTS_S = {"loading": 3.0, "caching": 0.5, "training": 0.3, "saving": 0.05}
TRIES = 5

Weights = dict[str, bytes]


class RealWorld:
    """A small SD 1.5, six pictures, and the engine of this machine."""

    def __init__(self, root: Path) -> None:
        home = choose_engine(os.environ, probe_machine(Path.cwd()))
        status = engine_status(home)
        self.root, self.lacking = root, "" if status.usable else f"NOT TRIED: {status.reason}; forge engine install"
        if not self.lacking:
            root.mkdir(parents=True, exist_ok=True)
            self.models = make_tiny_models(home, root / "models", "sd15")
            self.pictures = draw_pictures(root / "pictures", 6)

    def start(self, run: Path, *more: str, settings: tuple[str, ...] = SETTINGS) -> subprocess.Popen[bytes]:
        arguments = train_arguments(self.models, self.pictures, run, "sd15", "fast-iteration", settings)
        command = [str(FORGE), "train", *arguments, *more, "--json"]
        env = engine_env(**{MARK: str(self.root), "FORGE_HOME": os.environ.get("FORGE_HOME", "")})
        return subprocess.Popen(command, env=_without_empty(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def train(self, run: Path, *more: str) -> tuple[int, dict[str, Any]]:
        return ended(self.start(run, *more))


def _without_empty(env: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if value}


def weights_of(run: Path) -> Weights:
    """The numbers of every LoRA; headers hold times."""
    found = {}
    for path in sorted((run / "output").glob("*.safetensors")):
        content = path.read_bytes()
        found[path.name] = content[len(content) - read_header(path).tensor_bytes :]
    return found


def real_kills(world: RealWorld, count: int, seed: int = 1) -> Tally:
    """SIGKILL of forge while the engine loads, caches, trains and saves, in turn; then resume unaided to the end."""
    tally, chance = Tally("SIGKILL on the real engine, then resume: same weights"), random.Random(seed)
    if world.lacking:
        tally.not_tried = world.lacking
        return tally
    code, told = world.train(world.root / "undisturbed")
    assert code == 0, told
    reference = weights_of(world.root / "undisturbed")
    for number in range(count):
        run = world.root / f"kill-{number}"
        tally.note(_killed_and_resumed(world, run, PHASES[number % len(PHASES)], reference, chance))
        shutil.rmtree(run, ignore_errors=True)
    return tally


def _killed_and_resumed(world: RealWorld, run: Path, phase: str, reference: Weights, chance: random.Random) -> str:
    if not any(_killed(world, run, phase, chance) for _ in range(TRIES)):
        return f"{run.name}: no kill hit {phase} in {TRIES} tries"
    if problem := no_descendant(world):
        return f"{run.name} while {phase}: {problem}"
    committed = read_run(run) if has_ledger(run) else None
    code, told = world.train(run, "--resume")
    if code:
        return f"{run.name} while {phase}: resume ended with {code}: {told['error']}"
    found = weights_of(run)
    if other := sorted(name for name in {*found, *reference} if found.get(name) != reference.get(name)):
        story = [(each.from_step, each.outcome) for each in read_run(run).attempts]
        return f"{run.name} while {phase}: not as undisturbed: {other}; attempts {story}"
    return still_there(run, committed)


def _killed(world: RealWorld, run: Path, phase: str, chance: random.Random) -> bool:
    process, times = world.start(run), chance.randint(1, 2) if phase in ("training", "saving") else 1
    while not has_entered(phase, run, 1, process, times):
        if process.poll() is not None:
            process.communicate()
            shutil.rmtree(run, ignore_errors=True)
            return False
        time.sleep(POLL_S)
    time.sleep(chance.uniform(0, LASTS_S[phase]))
    if kill_hard(process):
        return True
    shutil.rmtree(run, ignore_errors=True)
    return False
