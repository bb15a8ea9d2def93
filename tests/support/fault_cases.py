"""The faults: each case breaks a real run in one way and says whether everything promised still held."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_world import FORGE, NAME, STEPS, World, ended, engine_pids, kill_hard, steps_taken, wait_until

from lora_forge.runs.commit import describe_file, is_as_recorded
from lora_forge.runs.committer import commit_checkpoint, commit_state
from lora_forge.runs.directory import RunDir
from lora_forge.runs.events import Saved, StateFile, StateSaved
from lora_forge.runs.ledger import LEDGER, MIRROR, has_ledger, new_ledger, open_ledger, read_ledger
from lora_forge.runs.record import RunRecord, read_run
from lora_forge.runs.resume import choose_state

SLOW = {"FAKE_STEP_S": "0.05", "FAKE_LOAD_S": "0.1"}
LIFETIME_S = 2.0
"""About how long a run of the fake engine takes; kills fall anywhere in it."""
NO_DESCENDANT_AFTER_S = 10.0


@dataclass
class Tally:
    """How often a fault was tried, and what went wrong."""

    what: str
    tried: int = 0
    wrong: list[str] = field(default_factory=list)

    def note(self, problem: str) -> None:
        self.tried += 1
        if problem:
            self.wrong.append(problem)


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run comes to."""

    loras: dict[str, bytes]
    trace: dict[int, tuple[float, float]]


def reference_of(world: World) -> Reference:
    code, told = world.forge(*world.arguments("--run-dir", "undisturbed"))
    assert code == 0, told
    return Reference(world.loras(world.project / "undisturbed"), trace(world.project / "undisturbed"))


def trace(run: Path) -> dict[int, tuple[float, float]]:
    """Loss and learning rate of each step; a step taken twice must have been the same both times."""
    found: dict[int, tuple[float, float]] = {}
    for event in steps_taken(run):
        seen = (event["loss"], event["lr"]["unet"])
        assert found.setdefault(event["step"], seen) == seen, event
    return found


def kill_at_random(world: World, reference: Reference, count: int, *, whom: str, seed: int = 1) -> Tally:
    """SIGKILL of forge, or of the trainer, anywhere between its start and its end; then resume to the end."""
    tally, chance = Tally(f"SIGKILL of {whom} at a random time, then --resume"), random.Random(seed)
    for number in range(count):
        run = world.project / f"kill-{whom}-{seed}-{number}"
        tally.note(_killed_and_resumed(world, reference, run, whom, chance))
        shutil.rmtree(run, ignore_errors=True)
    return tally


def _killed_and_resumed(world: World, reference: Reference, run: Path, whom: str, chance: random.Random) -> str:
    kills = chance.choice((1, 1, 2))
    for attempt in range(kills):
        more = ("--resume",) if attempt else ()
        process = world.train(*more, "--run-dir", str(run), **SLOW)
        _kill_somewhere(world, process, whom, run, chance)
    committed = read_run(run) if has_ledger(run) else None
    if problem := no_descendant(world):
        return problem
    code, told = resume(world, run, by_id=bool(chance.getrandbits(1)) and committed is not None)
    if code:
        return f"{run.name}: resume ended with {code}: {told['error']}"
    return as_reference(run, reference) or still_there(run, committed)


def _kill_somewhere(
    world: World, process: subprocess.Popen[bytes], whom: str, run: Path, chance: random.Random
) -> None:
    if whom == "forge":
        time.sleep(chance.uniform(0, LIFETIME_S))
        return kill_hard(process)
    wait_until(lambda: engine_pids(world) or process.poll() is not None)
    time.sleep(chance.uniform(0, LIFETIME_S / 2))
    for pid in engine_pids(world)[-1:]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    return None


def resume(world: World, run: Path, *, by_id: bool = False) -> tuple[int, dict[str, Any]]:
    if by_id:
        return world.forge("runs", "resume", run.name, "--runs", str(run.parent), "--json")
    return world.forge(*world.arguments("--resume", "--run-dir", str(run)))


def as_reference(run: Path, reference: Reference) -> str:
    found = {path.name: path.read_bytes() for path in sorted((run / "output").glob("*.safetensors"))}
    if found != reference.loras:
        different = [name for name in {*found, *reference.loras} if found.get(name) != reference.loras.get(name)]
        return f"{run.name}: not as undisturbed: {sorted(different)}"
    if trace(run).keys() - reference.trace.keys() or any(
        reference.trace[step] != seen for step, seen in trace(run).items()
    ):
        return f"{run.name}: another loss or learning rate than undisturbed"
    return ""


def still_there(run: Path, committed: RunRecord | None) -> str:
    lost = [
        kept.file.path for kept in (committed.checkpoints if committed else ()) if not is_as_recorded(run, kept.file)
    ]
    return f"{run.name}: lost {lost}" if lost else ""


def no_descendant(world: World) -> str:
    deadline = time.monotonic() + NO_DESCENDANT_AFTER_S
    while left := engine_pids(world):
        if time.monotonic() > deadline:
            return f"still alive after {NO_DESCENDANT_AFTER_S:g} s: {left}"
        time.sleep(0.05)
    return ""


def stops(world: World, count: int) -> Tally:
    """SIGINT and SIGTERM in each phase: the right exit code, the state kept, nobody left behind."""
    tally = Tally("SIGINT and SIGTERM in each phase")
    for number in range(count):
        for signum in (signal.SIGINT, signal.SIGTERM):
            for phase in ("loading", "caching", "training"):
                run = world.project / f"stop-{number}-{signum}-{phase}"
                tally.note(_stopped(world, run, signum, phase))
                shutil.rmtree(run, ignore_errors=True)
    return tally


def _stopped(world: World, run: Path, signum: int, phase: str) -> str:
    process = world.train("--run-dir", str(run), FAKE_STEP_S="0.2", FAKE_LOAD_S="0.4")
    wait_until(lambda: f'"phase": "{phase}"' in _text(run / "attempts/01/events.jsonl"), process)
    process.send_signal(signum)
    code, told = ended(process)
    if code != 128 + signum:
        return f"{run.name}: exit {code}, {told['error']}"
    if phase == "training" and not read_run(run).states:
        return f"{run.name}: no state was kept"
    return no_descendant(world)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def starts_at_once(world: World, count: int) -> tuple[Tally, float]:
    """Many starts on one run directory: one runs, the others exit 11; also how long the slowest of them took."""
    tally, run = Tally(f"{count} starts on one run directory"), world.project / "contended"
    began = time.monotonic()
    processes = [world.train("--run-dir", str(run), FAKE_STEP_S="60") for _ in range(count)]
    took = {}
    while len(took) < count - 1 and time.monotonic() - began < 60:
        for index, process in enumerate(processes):
            if index not in took and process.poll() is not None:
                took[index] = time.monotonic() - began
        time.sleep(0.01)
    codes = sorted(process.returncode for process in processes if process.poll() is not None)
    tally.note("" if codes == [11] * (count - 1) else f"exit codes {codes}")
    for index, process in enumerate(processes):
        if index in took:
            _, told = ended(process)
            tally.note("" if "held by" in told["error"]["message"] else told["error"]["message"])
        else:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            process.communicate()
    shutil.rmtree(run, ignore_errors=True)
    return tally, max(took.values(), default=0.0)


# One commit, broken at each of its calls into the system.

CALLS = ("open", "write", "fsync", "close", "replace", "rename", "link", "unlink")


@contextmanager
def calls_counted(act: Callable[[int, str], None]) -> Iterator[list[int]]:
    """Let ``act`` see each call into the system that a commit makes, before it is made."""
    count, real = [0], {name: getattr(os, name) for name in CALLS}

    def watched(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            count[0] += 1
            act(count[0], name)
            return real[name](*arguments, **named)

        return call

    for name in CALLS:
        setattr(os, name, watched(name))
    try:
        yield count
    finally:
        for name in CALLS:
            setattr(os, name, real[name])


def make_committable(folder: Path) -> RunDir:
    """A run with one committed checkpoint and state, and a second of each just saved."""
    run = RunDir(folder)
    run.attempt(1).make()
    run.output.mkdir()
    for step in (1, 2):
        (run.attempt(1).output / f"{NAME}-step{step:08d}.safetensors").write_bytes(_SAFETENSORS + bytes([step]) * 8)
        state = run.states / f"step{step:08d}"
        state.mkdir(parents=True)
        (state / "optimizer.bin").write_bytes(bytes([step]) * 5000)
    ledger = new_ledger(folder)
    ledger.append("run", uuid="0" * 8, name=NAME, steps=STEPS, plan_sha256="")
    commit_both(run, 1)
    return run


_HEADER = b'{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}'
_SAFETENSORS = len(_HEADER).to_bytes(8, "little") + _HEADER


def commit_both(run: RunDir, step: int) -> None:
    """What the committer does for one step: the checkpoint, then the state."""
    ledger = open_ledger(run.path)
    lora = run.attempt(1).output / f"{NAME}-step{step:08d}.safetensors"
    commit_checkpoint(run, ledger, 1, Saved(0.0, 0.0, str(lora), step, lora.stat().st_size), lambda *_: ())
    state = run.states / f"step{step:08d}"
    files = tuple(StateFile(*describe_file(path, state)) for path in sorted(state.iterdir()))
    commit_state(run, ledger, 1, StateSaved(0.0, 0.0, state.name, step, files))


def old_or_new(run: RunDir) -> str:
    """Whether the run is exactly as before the commit, or as after any of its records, and can go on."""
    reading = read_ledger(run.path)
    if reading.damaged or not 3 <= len(reading.records) <= 5:
        return f"the ledger holds {len(reading.records)} records, damaged {reading.damaged}"
    record = read_run(run.path)
    torn = [kept.file.path for kept in record.checkpoints if not is_as_recorded(run.path, kept.file)]
    chosen = choose_state(run.states, record)
    if torn or chosen.damaged or chosen.state is None:
        return f"torn: {torn}, {chosen}"
    commit_both(run, 2)
    again = read_run(run.path)
    return "" if [kept.step for kept in again.checkpoints] == [1, 2] else "the next commit did not succeed"


def kill_each_call(folder: Path) -> Tally:
    """SIGKILL before the N-th call of a commit, for all N."""
    tally = Tally("SIGKILL at every call of a commit")
    for moment in range(1, 1000):
        run = make_committable(folder / f"at-{moment}")
        child = os.fork()
        if child == 0:
            _commit_and_die(run, moment)
        _, status = os.waitpid(child, 0)
        tally.note(old_or_new(run))
        if not os.WIFSIGNALED(status):
            return tally
    raise AssertionError("the commit has no end")


def _commit_and_die(run: RunDir, moment: int) -> None:
    def act(count: int, _name: str) -> None:
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        with calls_counted(act):
            commit_both(run, 2)
    finally:
        os._exit(0)


def fail_each_call(folder: Path, number: int) -> Tally:
    """ENOSPC or EIO at the N-th call of a commit, for all N: an error, and what was there before is intact."""
    tally = Tally(f"{errno.errorcode[number]} at every call of a commit")
    for moment in range(1, 1000):
        run = make_committable(folder / f"{number}-{moment}")
        failed = _commit_and_fail(run, moment, number)
        tally.note(old_or_new(run))
        if failed is None:
            return tally
    raise AssertionError("the commit has no end")


def _commit_and_fail(run: RunDir, moment: int, number: int) -> str | None:
    """The error's text; "" where the failed call did not matter, None where the commit has no such call."""

    def act(count: int, _name: str) -> None:
        if count == moment:
            raise OSError(number, os.strerror(number))

    with calls_counted(act) as count:
        try:
            commit_both(run, 2)
        except Exception as problem:  # noqa: BLE001
            return str(problem)
    return "" if count[0] >= moment else None


def strace_kills(folder: Path, python: str) -> Tally:
    """SIGKILL at every real system call of a commit, injected by strace; none tried where there is no strace."""
    tally = Tally("SIGKILL at every system call of a commit (strace)")
    if shutil.which("strace") is None:
        return tally
    for call in ("openat", "write", "fsync", "rename", "link", "unlink"):  # strace counts each call by itself
        moment, killed = 0, True
        while killed:
            moment += 1
            run = make_committable(folder / f"{call}-{moment}")
            killed = _strace_one(run, python, call, moment)
            tally.note(old_or_new(run))
    return tally


def _strace_one(run: RunDir, python: str, call: str, moment: int) -> bool:
    """Commit under strace, killed at the ``moment``-th ``call`` on the run's own files; whether it came to that."""
    places = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    code = (
        f"import sys; sys.path[:0] = {places!r}; from fault_cases import RunDir, commit_both; from pathlib import Path"
    )
    code += f"; commit_both(RunDir(Path({str(run.path)!r})), 2)"
    paths = [part for path in (run.path, *_touched(run)) for part in ("-P", str(path))]
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={moment}")
    command = ["strace", "-f", "-qq", "-o", "/dev/null", *inject, *paths, python, "-c", code]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), done.stderr.decode()
    return done.returncode != 0


def _touched(run: RunDir) -> list[Path]:
    """Every path that a commit of step 2 touches."""
    lora = f"{NAME}-step00000002.safetensors"
    names = [run.path / name for name in (LEDGER, MIRROR, f".{LEDGER}.pending", f".{MIRROR}.pending")]
    names += [run.output, run.output / lora, run.output / f".{lora}.pending", run.attempt(1).output / lora]
    return [*names, run.states / "step00000002", run.states / "step00000002" / "optimizer.bin"]


# Damage to what was committed.


def mutations(stopped: Path, folder: Path, count: int, seed: int = 1) -> Tally:
    """Cut files and flipped bits in ledger and state: noticed, and the sound copy or the state before is used."""
    tally, chance = Tally("truncations and bit flips of ledger and state files"), random.Random(seed)
    before = read_run(stopped)
    newest = max(before.states, key=lambda state: state.seq)
    names = [LEDGER, MIRROR, *(f"states/{newest.name}/{file.path}" for file in newest.files)]
    for number in range(count):
        run = folder / f"mutated-{number}"
        shutil.copytree(stopped, run, symlinks=True)
        name = names[number % len(names)]
        mutate(run / name, chance)
        tally.note(_noticed(run, name, before, newest.step))
        shutil.rmtree(run)
    return tally


def mutate(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if chance.getrandbits(1):
        path.write_bytes(content[: chance.randrange(len(content))])
        return
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def _noticed(run: Path, name: str, before: RunRecord, newest: int) -> str:
    record = read_run(run)
    chosen = choose_state(run / "states", record)
    if name in (LEDGER, MIRROR):
        harmless = name == MIRROR and (run / LEDGER).read_bytes().startswith((run / MIRROR).read_bytes())
        if not (record.damaged or harmless):
            return f"{name}: not noticed"
        same = (record.checkpoints, record.states, record.attempts) == (
            before.checkpoints,
            before.states,
            before.attempts,
        )
        return "" if same and chosen.state and chosen.state.step == newest else f"{name}: the sound copy was not used"
    used = chosen.state
    return "" if used and used.step < newest and chosen.damaged else f"{name}: {chosen}"


# Names and secrets.

ODD_NAMES = {
    "spaces": "a run  with spaces ",
    "quotes": 'it\'s "so" `called` $HOME',
    "newline": "one\ntwo",
    "dash": "--dry-run",
    "backslash": "a\\nb",
    "unicode": "Überläufer-猫",
    "255 bytes": "x" * 255,
}


def odd_paths(world: World) -> Tally:
    """Run directories and dataset folders of every name that the filesystem takes; what is no UTF-8 is refused."""
    tally = Tally("paths with spaces, quotes, newlines, dashes, 255 bytes; not UTF-8")
    for what, name in ODD_NAMES.items():
        photos, run = world.project / "odd" / name, world.project / "odd-runs" / name
        shutil.copytree(world.project / "photos", photos)
        code, told = world.forge(*world.arguments(f"--run-dir={run}", f"--dataset={photos}"))
        tally.note("" if code == 0 else f"{what}: exit {code}, {told['error']}")
    raw = os.fsencode(world.project) + b"/bad-\xff"
    process = subprocess.Popen(
        [os.fsencode(FORGE), *map(os.fsencode, world.arguments()), b"--run-dir", raw],
        cwd=world.project,
        env=world.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    code, told = ended(process)
    named = code == 3 and "bad-" in told["error"]["message"]
    tally.note("" if named else f"not UTF-8: exit {code}, {told['error']}")
    return tally


CANARY = "canary-8c1f"
SECRETS = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "DATABASE_PASSWORD", "PYTORCH_CUDA_ALLOC_CONF_TOKEN")


def canaries(world: World) -> Tally:
    """Secrets in the environment turn up in no file of the run directory and in nothing that is printed."""
    tally, run = Tally("canary secrets in run directory, logs and output"), world.project / "canary"
    process = world.train("--run-dir", str(run), **dict.fromkeys(SECRETS, CANARY))
    out, err = process.communicate()
    tally.note("" if CANARY.encode() not in out + err else "printed")
    for path in run.rglob("*"):
        if path.is_file():
            tally.note(f"{path.name} holds it" if CANARY.encode() in path.read_bytes() else "")
    return tally
