"""The lock: one writer, a name for people, and no guess about other machines."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from lora_forge.errors import InvalidInput, Locked
from lora_forge.holder import Holder, boot_id, machine_id, start_ticks
from lora_forge.runs import lock
from lora_forge.runs.lock import LOCK, TURN, holding_run, is_held, read_holder
from lora_forge.workflow.run_layout import holding_new

pytestmark = pytest.mark.processes

HOLD = "import sys, pathlib; from lora_forge.runs.lock import holding_run\n"
HOLD += "with holding_run(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


def other_process(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def ourselves(**changed: object) -> Holder:
    own = Holder(os.getpid(), start_ticks(os.getpid()), "2026-01-01T00:00:00+00:00", boot_id(), machine_id())
    return replace(own, **changed)  # type: ignore[arg-type]


def leave(folder: Path, holder: Holder) -> None:
    (folder / LOCK).write_text(json.dumps(asdict(holder)))


def test_a_second_writer_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    other = other_process(tmp_path)
    assert is_held(tmp_path)
    with pytest.raises(Locked, match=f"held by process {other.pid}, since 20") as refused, holding_run(tmp_path):
        raise AssertionError
    assert refused.value.exit_code == 11
    other.communicate()
    assert not is_held(tmp_path)


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    other = other_process(tmp_path)
    other.kill()
    other.communicate()
    holder = read_holder(tmp_path)
    assert holder is not None
    assert (holder.pid, holder.lives()) == (other.pid, False)
    assert not is_held(tmp_path)
    with holding_run(tmp_path):
        assert is_held(tmp_path)


def test_the_lock_is_given_back_with_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), holding_run(tmp_path):
        raise RuntimeError
    assert not is_held(tmp_path)
    assert read_holder(tmp_path) is None


@pytest.mark.parametrize(
    "changed", [{"ticks": 1}, {"pid": 2**22 - 1}, {"boot": "an earlier boot"}], ids=["reused pid", "dead", "reboot"]
)
def test_a_stale_holder_does_not_live_and_does_not_hold(tmp_path: Path, changed: dict[str, object]) -> None:
    stale = ourselves(**changed)
    assert not stale.lives()
    leave(tmp_path, stale)
    with holding_run(tmp_path):
        pass


def test_of_a_holder_on_another_machine_nothing_is_guessed(tmp_path: Path) -> None:
    leave(tmp_path, ourselves(boot="its boot", machine="another"))
    assert is_held(tmp_path)
    with pytest.raises(Locked, match="on another machine") as refused, holding_run(tmp_path):
        raise AssertionError
    assert str(tmp_path / LOCK) in refused.value.hint
    assert read_holder(tmp_path) is not None, "its name is left standing"


def test_where_the_filesystem_knows_no_locks_the_holder_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", unknown)
    leave(tmp_path, ourselves())
    assert is_held(tmp_path)
    with pytest.raises(Locked), holding_run(tmp_path):
        raise AssertionError
    leave(tmp_path, ourselves(ticks=1))
    assert not is_held(tmp_path)
    with holding_run(tmp_path):
        pass


def test_where_the_filesystem_knows_no_locks_one_of_many_starts_runs(tmp_path: Path) -> None:
    starts = [subprocess.Popen([sys.executable, "-c", START, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(8)]
    told = [start.communicate()[0] for start in starts]
    assert sorted(told) == [b"held"] + [b"refused"] * 7
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


START = """
import errno, fcntl, pathlib, sys, time
def unknown(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = unknown
from lora_forge.errors import Locked
from lora_forge.runs.lock import holding_run
try:
    with holding_run(pathlib.Path(sys.argv[1])):
        time.sleep(2)
        print("held", end="")
except Locked:
    print("refused", end="")
"""


@pytest.mark.parametrize("text", [b"", b"torn", b"dead"])
def test_a_turn_that_a_killed_start_left_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", unknown)
    (tmp_path / TURN).write_bytes(ourselves(ticks=1).as_json() if text == b"dead" else text)
    with holding_run(tmp_path):
        assert not (tmp_path / TURN).exists()
    (tmp_path / TURN).write_bytes(ourselves().as_json())
    with pytest.raises(Locked), holding_run(tmp_path):
        raise AssertionError


def test_where_there_are_neither_locks_nor_links_the_name_has_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", unknown)
    monkeypatch.setattr(os, "link", unknown)
    with holding_run(tmp_path):
        assert is_held(tmp_path)
    leave(tmp_path, ourselves())
    with pytest.raises(Locked), holding_run(tmp_path):
        raise AssertionError


def test_a_torn_name_is_no_holder(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text('{"pid": 12')
    assert read_holder(tmp_path) is None
    assert not is_held(tmp_path)


def test_no_host_is_named(tmp_path: Path) -> None:
    with holding_run(tmp_path):
        assert os.uname().nodename not in (tmp_path / LOCK).read_text()


def test_a_process_holds_what_it_holds_already(tmp_path: Path) -> None:
    with holding_run(tmp_path):
        with holding_run(tmp_path / ".." / tmp_path.name):
            assert is_held(tmp_path)
        assert is_held(tmp_path), "the outer block still does"
    assert not is_held(tmp_path)


def test_a_start_that_fails_leaves_no_folder_that_was_made_for_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), lock.holding_early(tmp_path / "runs" / "new"):
        assert is_held(tmp_path / "runs" / "new")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_start_that_fails_leaves_an_empty_folder_of_a_person_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), lock.holding_early(tmp_path):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_start_that_fails_takes_no_lock_from_one_that_made_the_folder_anew(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(RuntimeError), lock.holding_early(run):
        lock.leave_nothing(run, [run])  # as the layout does, before the error is told
        run.mkdir()
        other = other_process(run)
        raise RuntimeError
    assert is_held(run)
    other.communicate()


def test_no_lock_is_put_into_a_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with lock.holding_early(tmp_path), pytest.raises(InvalidInput, match="not empty"), holding_new(tmp_path):
        raise AssertionError
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "\udcff"])
def test_of_a_folder_only_its_lock_is_told_early(tmp_path: Path, name: str) -> None:
    with lock.holding_early(tmp_path / name):
        pass


REFUSED = """
import sys
sys.argv = ["forge", "train", "--json", "--run-dir", sys.argv[1]]
from lora_forge.cli import main
try:
    main()
except SystemExit as ended:
    heavy = [name for name in ("pydantic", "yaml", "rich.console", "lora_forge.workflow") if name in sys.modules]
    print(ended.code, *heavy, file=sys.stderr)
"""


def test_a_start_on_a_held_run_is_refused_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    with holding_run(tmp_path):
        done = subprocess.run([sys.executable, "-c", REFUSED, str(tmp_path)], capture_output=True, text=True)
    assert "held by process" in json.loads(done.stdout)["error"]["message"]
    assert done.stderr.split() == ["11"], done.stderr
