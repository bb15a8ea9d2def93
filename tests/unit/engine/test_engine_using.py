"""Laws of an engine in use: trainings share it, and an installer that would replace it is told by whom it is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from lora_forge.engine import using
from lora_forge.engine.holding import holding
from lora_forge.engine.home import EngineHome
from lora_forge.engine.install import EngineState, engine_status, install_engine
from lora_forge.engine.using import lock_of, replacing, using_engine
from lora_forge.errors import Locked
from lora_forge.holder import myself

pytestmark = pytest.mark.processes

REPOSITORY = "https://engine.invalid/tiny"
USE = """
import sys
from pathlib import Path
from lora_forge.engine.using import _using
with _using(Path(sys.argv[1]), Path(sys.argv[2])):
    print("used", flush=True)
    sys.stdin.read()
"""


def user(place: Path, run: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", USE, str(place), str(run)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "used\n"
    return process


def install(home: EngineHome, *, force: bool = False) -> list[str]:
    said: list[str] = []
    install_engine(home, repository=REPOSITORY, report=said.append, force=force)
    return said


def test_an_engine_in_use_is_not_replaced_and_who_uses_it_is_named(home: EngineHome, tmp_path: Path) -> None:
    install(home)
    training = user(home.environment, tmp_path / "runs" / "jeff-001")
    stray = home.environment / "stray"
    stray.touch()
    with pytest.raises(Locked) as refused:
        install(home, force=True)
    assert refused.value.exit_code == 11
    assert f"the training in {tmp_path}/runs/jeff-001 (process {training.pid}, since 20" in refused.value.message
    assert refused.value.hint.endswith(f"forge runs stop jeff-001 --runs {tmp_path}/runs")
    assert stray.exists()
    assert engine_status(home).state is EngineState.READY
    training.communicate()
    install(home, force=True)
    assert not stray.exists()


def test_an_install_that_has_nothing_to_do_disturbs_no_training(home: EngineHome, tmp_path: Path) -> None:
    install(home)
    with using_engine(home, tmp_path / "run"):
        assert install(home) == []


def test_many_trainings_share_an_engine_and_the_last_one_tidies_up(home: EngineHome, tmp_path: Path) -> None:
    install(home)
    with using_engine(home, tmp_path / "one"):
        with using_engine(home, tmp_path / "two"), pytest.raises(Locked, match="by 1 more"), replacing(home.checkout):
            raise AssertionError
        with pytest.raises(Locked), replacing(home.checkout):
            raise AssertionError
    assert lock_of(home.checkout).read_bytes() == b""


def test_a_killed_training_uses_nothing(home: EngineHome, tmp_path: Path) -> None:
    install(home)
    training = user(home.environment, tmp_path)
    training.kill()
    training.communicate()
    install(home, force=True)


def test_a_training_does_not_start_on_an_engine_that_is_being_replaced(
    home: EngineHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(using, "RETRY_S", 0.0)
    install(home)
    held = using_engine(home, tmp_path)
    with replacing(home.environment), pytest.raises(Locked, match="just being installed"), held:
        raise AssertionError


def test_an_engine_of_another_account_is_used_without_a_name(home: EngineHome, tmp_path: Path) -> None:
    install(home)
    lock_of(home.environment).write_bytes(b"")

    def open_to_read_only(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode)

    real = os.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(using.os, "open", open_to_read_only)
        held = using_engine(home, tmp_path)
        held.__enter__()
    with pytest.raises(Locked, match="another account"), replacing(home.environment):
        raise AssertionError
    held.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("holder", "said"),
    [
        (replace(myself(), ticks=1), "left running"),
        (replace(myself(), boot="its boot", machine="another"), "on another machine"),
        (None, "waiting for another install"),
    ],
    ids=["reused pid", "another machine", "torn"],
)
def test_the_waiting_installer_believes_no_holder_that_is_another_process(
    tmp_path: Path, holder: object, said: str
) -> None:
    lock, heard = tmp_path / "lock", list[str]()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        lock.write_text(json.dumps(asdict(holder)) if holder else '{"pid": 1')  # type: ignore[call-overload]

        def hear(line: str) -> None:
            heard.append(line)
            other.communicate()

        with holding(lock, hear):
            pass
    assert said in heard[0]


HOLD = """
import sys
from pathlib import Path
from lora_forge.engine.holding import holding
with holding(Path(sys.argv[1]), print):
    print("held", flush=True)
    sys.stdin.read()
"""
