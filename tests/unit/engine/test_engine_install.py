"""Laws of an install: interrupted or doubled, it ends in a good engine, and half of one is never ready."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lora_forge.engine.environment import find_uv
from lora_forge.engine.holding import holding
from lora_forge.engine.home import EngineHome
from lora_forge.engine.install import EngineState, engine_status, install_engine, verify_engine
from lora_forge.errors import EngineError

REPOSITORY = "https://engine.invalid/tiny"

# Every ninth write is killed at; FORGE_KILL_STRIDE=1 tries them all.
KILL_STRIDE = int(os.environ.get("FORGE_KILL_STRIDE", "9"))

Start = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.processes


def quiet(line: str) -> None:
    """A person who is not listening."""


def install(home: EngineHome, **changes: object) -> list[str]:
    said: list[str] = []
    install_engine(home, repository=REPOSITORY, report=said.append, **changes)  # type: ignore[arg-type]
    return said


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=120)
    return output


def leftovers(home: EngineHome) -> list[str]:
    """Everything beside the engine that is neither the engine nor a lock file."""
    around = [*home.checkout.parent.iterdir(), *home.environment.parent.iterdir()]
    known = {home.checkout, home.environment, home.environment.parent}
    return [path.name for path in around if path not in known and path.suffix != ".lock"]


def assert_good(home: EngineHome) -> None:
    status = verify_engine(home)
    assert (status.state, status.verified) == (EngineState.READY, True), status.reason
    assert leftovers(home) == []


def test_an_install_ends_ready_and_verified(home: EngineHome) -> None:
    assert engine_status(home).state is EngineState.MISSING
    install(home)
    assert_good(home)
    assert engine_status(home).commit == home.commit
    assert verify_engine(home).versions["tiny"] == "1.0"


def test_a_second_install_keeps_what_is_good(home: EngineHome) -> None:
    install(home)
    made = (home.checkout.stat().st_ino, home.environment.stat().st_ino)
    assert install(home) == []
    assert (home.checkout.stat().st_ino, home.environment.stat().st_ino) == made


def test_force_makes_both_anew(home: EngineHome) -> None:
    install(home)
    (home.environment / "stray").touch()
    made = home.checkout.stat().st_ino
    install(home, force=True)
    assert not (home.environment / "stray").exists()
    assert home.checkout.stat().st_ino != made
    assert_good(home)


@pytest.mark.parametrize("moment", range(1, 8))
def test_killed_at_any_report_the_next_install_ends_good(home: EngineHome, installer: Start, moment: int) -> None:
    killed = installer(home, "report", moment)
    finish(killed)
    assert killed.returncode in (-signal.SIGKILL, 0)
    assert engine_status(home).state is not EngineState.READY or verify_engine(home).verified
    install(home)
    assert_good(home)


def test_killed_at_any_write_the_next_install_ends_good(home: EngineHome, installer: Start) -> None:
    """Renames, removals, new folders, opened files, children: a kill at one in KILL_STRIDE."""
    whole = finish(installer(home, "event"))
    moments = int(whole.split()[-1])
    assert moments > 20
    print(f"{moments} moments, one in {KILL_STRIDE}")
    for moment in range(1, moments + 1, KILL_STRIDE):
        shutil.rmtree(home.checkout.parent)
        killed = installer(home, "event", moment)
        finish(killed)
        assert killed.returncode == -signal.SIGKILL, moment
        assert engine_status(home).state is not EngineState.READY, moment
        install(home)
        assert_good(home)


def test_killed_while_replacing_a_good_engine_no_half_of_it_is_ready(home: EngineHome, installer: Start) -> None:
    install(home)
    moments = int(finish(installer(home, "forced")).split()[-1])
    half = 0
    for moment in range(moments // 2, moments, moments // 16):
        finish(installer(home, "forced", moment))
        if engine_status(home).state is EngineState.READY:
            assert verify_engine(home).verified, moment
            continue
        half += 1
        install(home)
        assert_good(home)
    assert half >= 3


def test_three_installs_at_once_do_the_work_once(home: EngineHome, installer: Start) -> None:
    together = [installer(home) for _ in range(3)]
    outputs = [finish(process) for process in together]
    assert [process.returncode for process in together] == [0, 0, 0], outputs
    said = "".join(outputs)
    assert said.count("fetching") == 1
    assert said.count("installing tiny.txt") == 1
    assert_good(home)


def test_an_orphaned_child_keeps_the_lock_of_its_killed_parent(tmp_path: Path) -> None:
    """Else two package installers would write into one environment."""
    lock = tmp_path / "lock"
    parent = (
        "import os, signal, subprocess, sys\nfrom pathlib import Path\n"
        "from lora_forge.engine.holding import holding\n"
        "with holding(Path(sys.argv[1]), print) as held:\n"
        "    child = subprocess.Popen(['sleep', '1.5'], pass_fds=(held,), stdout=subprocess.DEVNULL)\n"
        "    print(child.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    orphan = int(subprocess.run([sys.executable, "-c", parent, str(lock)], stdout=subprocess.PIPE, check=False).stdout)
    os.kill(orphan, 0)
    said: list[str] = []
    with holding(lock, said.append):
        state = Path(f"/proc/{orphan}/stat")
        assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"
    assert "left running" in said[0]


SLOW_UV = """#!/bin/sh
if [ "$1" = pip ] && [ -n "$UV_MARKS" ] && [ ! -e "$UV_MARKS/started" ]; then
    touch "$UV_MARKS/started"; sleep 2; touch "$UV_MARKS/ended"
fi
exec "$REAL_UV" "$@"
"""


@pytest.fixture
def slow_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A uv that dawdles over its first install where ``UV_MARKS`` says so."""
    script = tmp_path / "slow" / "uv"
    script.parent.mkdir()
    script.write_text(SLOW_UV)
    script.chmod(0o755)
    monkeypatch.setenv("REAL_UV", find_uv() or "")
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(find_uv() is None, reason="there is no uv to slow down")
@pytest.mark.usefixtures("slow_uv")
@pytest.mark.parametrize("child", ["UV_MARKS", "TINY_MARKS"])
def test_the_next_install_waits_for_a_child_left_running(
    home: EngineHome, installer: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: str
) -> None:
    """The package installer and the trial imports both write into the environment."""
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv(child, str(marks))
    killed = installer(home)
    while not (marks / "started").exists():
        assert killed.poll() is None
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    said = install(home)
    assert (marks / "ended").exists()
    assert any("left running" in line for line in said)
    finish(killed)
    assert_good(home)


def test_the_waiting_installer_names_the_holder(tmp_path: Path) -> None:
    lock, said, waiting = tmp_path / "lock", [], threading.Event()

    def hear(line: str) -> None:
        said.append(line)
        waiting.set()

    def wait_for_it() -> None:
        with holding(lock, hear):
            said.append("got it")

    with holding(lock, quiet):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
        thread = threading.Thread(target=wait_for_it)
        thread.start()
        assert waiting.wait(30)
        assert len(said) == 1
    thread.join(30)
    assert f"waiting for pid {os.getpid()}" in said[0]
    assert said[1:] == ["got it"]


def test_an_environment_whose_imports_fail_is_never_sealed(home: EngineHome) -> None:
    broken = replace(home, packages=("tiny", "absent_module"))
    with pytest.raises(EngineError, match="absent_module does not import"):
        install(broken)
    assert engine_status(broken).state is EngineState.INCOMPLETE
    assert "never finished" in engine_status(broken).reason


def test_a_wheel_that_differs_from_the_lock_is_refused(home: EngineHome) -> None:
    home.lock.write_text(home.lock.read_text().replace("sha256:", "sha256:0000")[:-5] + "\n")
    with pytest.raises(EngineError) as problem:
        install(home)
    assert "hash" in problem.value.message.lower()
    assert engine_status(home).state is EngineState.INCOMPLETE


def test_without_uv_the_standard_tools_build_the_same(
    home: EngineHome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").symlink_to(shutil.which("git") or "")
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr("lora_forge.engine.environment.find_uv", lambda: None)
    install(home)
    assert_good(home)
    assert (home.environment / "bin" / "pip").exists()


def test_uv_is_found_on_the_path_else_beside_forges_own_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A fresh machine without uv gets one from ``scripts/setup``; the engine's Python may hang on it."""
    beside = tmp_path / "prefix" / "uv" / "bin" / "uv"
    beside.parent.mkdir(parents=True)
    beside.write_text("#!/bin/sh\necho uv 0.9\n")
    beside.chmod(0o755)
    shim = tmp_path / "shims" / "uv"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setenv("PATH", f"{shim.parent}{os.pathsep}/bin")
    assert find_uv() == str(beside)
    shim.write_text("#!/bin/sh\nexit 0\n")
    assert find_uv() == str(shim)


def test_a_folder_that_cannot_be_written_is_one_clear_error(home: EngineHome, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = replace(home, checkout=tmp_path / "file" / "sd-scripts")
    with pytest.raises(EngineError, match="cannot write in") as problem:
        install(nowhere)
    assert "FORGE_HOME" in problem.value.hint
