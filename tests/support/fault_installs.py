"""Installs of a tiny engine, at once and killed: what is left in the end is one good engine."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import tiny_engine
from fault_tally import Tally

from lora_forge.engine.home import EngineHome
from lora_forge.engine.status import EngineState, engine_status, verify_engine


class TinyWorld:
    """A tiny engine's repository, its one wheel, and an empty place to install both to."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        settings = tiny_engine.write_git_settings(root / "gitconfig")
        upstream = tiny_engine.make_upstream(root / "upstream", settings)
        self.env = tiny_engine.git_env(settings)
        commit = tiny_engine.run_git(upstream, "rev-parse", "HEAD", env=self.env)
        self.home = tiny_engine.tiny_home(root, tiny_engine.make_shelf(root / "shelf"), commit)

    def install(self, kind: str = "never", moment: int = 0) -> subprocess.Popen[str]:
        return tiny_engine.start_installer(self.home, kind, moment, self.env)


def not_good(home: EngineHome) -> str:
    """What speaks against the engine, or lies beside it and is neither the engine nor a lock."""
    status = verify_engine(home)
    around = [*home.checkout.parent.iterdir(), *home.environment.parent.iterdir()]
    known = {home.checkout, home.environment, home.environment.parent}
    strays = [path.name for path in around if path not in known and path.suffix != ".lock"]
    good = status.state is EngineState.READY and status.verified
    return "" if good and not strays else f"{status.state}, {status.reason}, beside it {strays}"


def installs_at_once(world: TinyWorld, count: int) -> Tally:
    tally = Tally(f"{count} engine installs at once: one good engine")
    together = [world.install() for _ in range(count)]
    outputs = [process.communicate(timeout=300)[0] for process in together]
    for process, output in zip(together, outputs, strict=True):
        tally.note("" if process.returncode == 0 else f"exit {process.returncode}: {output[-300:]}")
    said = "".join(outputs)
    done = (said.count("fetching"), said.count("installing tiny.txt"))
    tally.wrong += [] if done == (1, 1) else [f"the work was done {done} times"]
    tally.wrong += [problem] if (problem := not_good(world.home)) else []
    return tally


def kills_in_installs(root: Path, count: int, seed: int = 1) -> Tally:
    """SIGKILL of the installer at a random write among all: half an engine is never ready, the next install is good."""
    tally, chance = Tally("SIGKILL in an engine install: the next one succeeds"), random.Random(seed)
    whole = TinyWorld(root / "whole").install("event").communicate()[0]
    moments = chance.sample(range(1, int(whole.split()[-1]) + 1), k=count)
    for moment in moments:
        tally.note(_killed_and_installed(TinyWorld(root / str(moment)), moment))
    tally.note_said = f"of {whole.split()[-1]} writes"
    return tally


def _killed_and_installed(world: TinyWorld, moment: int) -> str:
    killed = world.install("event", moment)
    killed.communicate(timeout=120)
    if killed.returncode != -9:
        return f"write {moment}: nobody was killed"
    if engine_status(world.home).state is EngineState.READY and (problem := not_good(world.home)):
        return f"write {moment}: half an engine counts as ready: {problem}"
    again = world.install()
    output = again.communicate(timeout=120)[0]
    problem = not_good(world.home) if again.returncode == 0 else f"exit {again.returncode}: {output[-300:]}"
    return f"write {moment}: {problem}" if problem else ""
