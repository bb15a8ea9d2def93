"""Laws of a status: read from notes alone, and nothing counts as ready without its note."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lora_forge.engine.home import EngineHome
from lora_forge.engine.stamps import (
    CheckoutStamp,
    EnvironmentStamp,
    write_checkout_stamp,
    write_environment_stamp,
)
from lora_forge.engine.status import EngineState, engine_status, verify_engine

PIN, OTHER = "a" * 40, "b" * 40


@pytest.fixture
def home(tmp_path: Path) -> EngineHome:
    return EngineHome(
        checkout=tmp_path / "sd-scripts",
        environment=tmp_path / "engine" / "x",
        variant="x",
        lock=tmp_path / "x.txt",
        lock_sha256="1" * 64,
        commit=PIN,
    )


def put_checkout(home: EngineHome, *, head: str = PIN, asked: str = PIN) -> None:
    (home.checkout / ".git").mkdir(parents=True, exist_ok=True)
    (home.checkout / ".git" / "HEAD").write_text(f"{head}\n")
    write_checkout_stamp(home.checkout, CheckoutStamp("https://h/x", asked))


def put_environment(home: EngineHome, *, lock_sha256: str = "1" * 64) -> None:
    home.python.parent.mkdir(parents=True, exist_ok=True)
    home.python.touch()
    write_environment_stamp(home.environment, EnvironmentStamp(lock_sha256, "3.11.7", "2.6.0"))


def test_nothing_there_is_missing(home: EngineHome) -> None:
    status = engine_status(home)
    assert (status.state, status.usable) == (EngineState.MISSING, False)
    assert status.findings[0].code == "engine-missing"


def test_both_halves_with_their_notes_are_ready(home: EngineHome) -> None:
    put_checkout(home)
    put_environment(home)
    status = engine_status(home)
    assert (status.state, status.reason, status.usable) == (EngineState.READY, "", True)
    assert (status.python_version, status.torch, status.verified) == ("3.11.7", "2.6.0", False)


@pytest.mark.parametrize("half", [put_checkout, put_environment])
def test_one_half_alone_is_incomplete(home: EngineHome, half: object) -> None:
    half(home)  # type: ignore[operator]
    assert engine_status(home).state is EngineState.INCOMPLETE
    assert not engine_status(home).usable


@pytest.mark.parametrize(
    "note", ["", "{", "[]", "{}", '{"schema_version": 1}', '{"schema_version": 2, "lock_sha256": "x"}', "\0"]
)
def test_a_torn_or_foreign_note_is_no_note(home: EngineHome, note: str) -> None:
    put_checkout(home)
    put_environment(home)
    (home.environment / "ready.json").write_text(note)
    assert engine_status(home).state is EngineState.INCOMPLETE
    (home.checkout / ".git" / "forge-checkout.json").write_text(note)
    assert engine_status(home).state is EngineState.INCOMPLETE


def test_a_lost_interpreter_is_incomplete(home: EngineHome) -> None:
    put_checkout(home)
    put_environment(home)
    home.python.unlink()
    assert "interpreter is gone" in engine_status(home).reason


def test_another_lock_is_another_environment(home: EngineHome) -> None:
    put_checkout(home)
    put_environment(home, lock_sha256="2" * 64)
    assert "another lock" in engine_status(home).reason


def test_a_pin_moved_on_purpose_is_usable_with_a_warning(home: EngineHome) -> None:
    put_checkout(home, head=OTHER, asked=OTHER)
    put_environment(home)
    status = engine_status(home)
    assert (status.state, status.usable) == (EngineState.MOVED, True)
    assert "option table may not match" in status.reason


def test_a_head_moved_behind_our_back_is_not_usable(home: EngineHome) -> None:
    put_checkout(home, head=OTHER, asked=PIN)
    put_environment(home)
    status = engine_status(home)
    assert (status.state, status.usable) == (EngineState.MOVED, False)


def test_moved_and_incomplete_is_incomplete(home: EngineHome) -> None:
    put_checkout(home, head=OTHER, asked=OTHER)
    assert engine_status(home).state is EngineState.INCOMPLETE


def test_verify_says_what_status_says_where_nothing_can_be_asked(home: EngineHome) -> None:
    assert verify_engine(home) == engine_status(home)


def test_a_status_is_plain_json(home: EngineHome) -> None:
    put_checkout(home)
    printed = json.loads(engine_status(home).model_dump_json())
    assert printed["state"] == "incomplete"
    assert printed["checkout"] == str(home.checkout)


@pytest.mark.processes
def test_a_status_needs_neither_git_nor_a_child_process(home: EngineHome) -> None:
    put_checkout(replace(home))
    code = (
        "import sys; from lora_forge.engine.home import locate_engine\n"
        "from lora_forge.engine.status import engine_status\n"
        "sys.addaudithook(lambda event, _: exit(1) if event == 'subprocess.Popen' else None)\n"
        "engine_status(locate_engine({'FORGE_HOME': sys.argv[1]}))\n"
        "sys.exit('git' in sys.modules)"
    )
    asked = subprocess.run([sys.executable, "-c", code, str(home.checkout.parent)], check=False)
    assert asked.returncode == 0
