"""Nobody looking on, or no room for what is said: the training goes on, and its result is the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fault_world import FORGE, PATIENCE_S, STEPS, World, ended, steps_taken, wait_until

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("onlookers"))


@contextmanager
def broken_stream(how: str) -> Iterator[int]:
    """A descriptor that every write fails on: its reader is gone, or its disk is full."""
    if how == "full":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, descriptor = os.pipe()
        os.close(reader)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("how", ["full", "nobody"])
@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_a_stderr_that_cannot_be_written_ends_no_training(world: World, how: str, as_json: bool) -> None:
    run = Path(f"runs/{how}-{as_json}")
    arguments = [word for word in world.arguments("--run-dir", str(run)) if as_json or word != "--json"]
    with broken_stream(how) as descriptor:
        process = subprocess.Popen(
            [str(FORGE), *arguments],
            cwd=world.project,
            env={**world.env, "FAKE_STEP_S": "0.05"},
            stdout=subprocess.PIPE,
            stderr=descriptor,
        )
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, out.decode()
    assert out
    assert [event["step"] for event in steps_taken(world.project / run)] == list(range(1, STEPS + 1))


class Stalled:
    """A training whose stderr, a pipe or a terminal, is full from the first step on: every write to it blocks."""

    def __init__(self, world: World, run: Path, how: str) -> None:
        self.run = run
        arguments = [word for word in world.arguments("--run-dir", str(run)) if word != "--json"]
        self.reader, self.writer = os.pipe() if how == "pipe" else os.openpty()
        self.process = subprocess.Popen(
            [str(FORGE), *arguments],
            cwd=world.project,
            env={**world.env, "FAKE_STEP_S": "0.5", "TERM": "xterm"},
            stdout=subprocess.DEVNULL,
            stderr=self.writer,
            start_new_session=True,
        )
        wait_until(lambda: self._read() and steps_taken(run), self.process)
        self._fill()

    def _fill(self) -> None:
        """Through a file of our own: whether a write waits belongs to the open file, and forge's is to wait."""
        own = os.open(f"/proc/self/fd/{self.writer}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        for _ in range(5):  # a terminal hands on what it was given, a moment later, and has room again
            for size in (4096, 1):
                with suppress(BlockingIOError):
                    while True:
                        os.write(own, b"." * size)
            time.sleep(0.05)
        os.close(own)

    def _read(self) -> bool:
        os.set_blocking(self.reader, False)
        with suppress(BlockingIOError):
            while os.read(self.reader, 1 << 16):
                pass
        return True

    def drain(self) -> None:
        os.close(self.writer)
        os.set_blocking(self.reader, True)
        with suppress(OSError):  # a terminal without a writer ends in EIO
            while os.read(self.reader, 1 << 16):
                pass
        os.close(self.reader)


@pytest.mark.parametrize("how", ["pipe", "terminal"])
def test_a_reader_who_stalls_holds_up_neither_checkpoints_nor_a_stop(world: World, how: str) -> None:
    run = world.project / "runs" / f"stalled-{how}"
    stalled = Stalled(world, run, how)
    wait_until(lambda: "checkpoint" in kinds(run), stalled.process)
    stalled.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "attempt-end" in kinds(run), stalled.process)
    assert stalled.process.poll() is None  # what it has to say at last nobody has read
    stalled.drain()
    assert stalled.process.wait(PATIENCE_S) == 128 + signal.SIGTERM


def kinds(run: Path) -> list[str]:
    ledger = run / "ledger.jsonl"
    return [json.loads(line)["kind"] for line in ledger.read_text().splitlines()] if ledger.exists() else []


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["preset", "ls"], 1, "the result could not be printed: No space left on device"),
        (["preset", "show", "nobody"], 3, "There is no preset 'nobody'"),
        (["preset", "nothing"], 2, "No such command 'nothing'"),
    ],
    ids=["result", "error", "usage"],
)
def test_what_a_full_stdout_does_not_take_is_said_on_stderr(
    world: World, words: list[str], code: int, told: str, as_json: bool
) -> None:
    with broken_stream("full") as full:
        command = [str(FORGE), *words, *(["--json"] if as_json else [])]
        done = subprocess.run(command, env=world.env, cwd=world.project, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == code
    assert told in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode() and "defect" not in done.stderr.decode()


class Failing:
    """A view with a defect of its own."""

    def __init__(self, problem: BaseException) -> None:
        self.problem, self.seen = problem, 0

    def planned(self, *_: object) -> None: ...

    @contextmanager
    def live(self) -> Iterator[None]:
        yield
        raise self.problem

    def event(self, _event: object) -> None:
        self.seen += 1
        raise self.problem


@pytest.mark.parametrize("problem", [OSError(28, "No space left"), SystemExit(1), ValueError("a defect")])
def test_a_view_that_fails_is_dropped_and_that_is_told(problem: BaseException) -> None:
    from lora_forge.runs.events import Event
    from lora_forge.workflow.run_watching import Dispensable

    view = Failing(problem)
    watcher = Dispensable(view)
    with watcher.live():
        for _ in range(3):
            watcher.event(Event(0.0, 0.0))
    assert view.seen == 1
    assert [finding.code for finding in watcher.findings] == ["view-lost"]


def test_what_the_training_raises_passes_a_view_that_is_gone() -> None:
    from lora_forge.workflow.run_watching import Dispensable

    with pytest.raises(KeyError, match="of the training"), Dispensable(Failing(OSError())).live():
        raise KeyError("of the training")


def test_an_install_does_not_take_the_engine_from_under_a_training(world: World) -> None:
    run = world.project / "runs" / "using"
    process = world.train("--run-dir", str(run), FAKE_STEP_S="0.3")
    wait_until(lambda: steps_taken(run), process)
    code, told = world.forge("engine", "install", "--force", "--json")
    assert (code, told["error"]["code"]) == (11, "locked")
    assert f"the training in {run} (process {process.pid}" in told["error"]["message"]
    assert ended(process)[0] == 0
