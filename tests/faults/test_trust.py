"""Trust: what a person, a dataset or the engine writes stays text, and secrets stay in the environment."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest
from fault_fuzz import PLAIN, draw_photos, texts
from fault_world import STEPS, World, ended, steps_taken, wait_until
from typer.testing import CliRunner

from lora_forge.cli.app import app
from lora_forge.engine.toml_text import dump_toml
from lora_forge.errors import InvalidInput

pytestmark = pytest.mark.processes

TROUBLED = Path(__file__).with_name("troubled_engine.py")
ORDERS = ("::", "##[", "##vso[", "##teamcity[")
FUZZED = 10_000
CLI_FUZZED = 100
CANARY = "canary-7f3a9c"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A forge whose engine is in trouble."""
    world = World(tmp_path_factory.mktemp("trust"))
    world.use_engine(TROUBLED)
    return world


# What the engine prints.


def obeyed(text: str) -> list[str]:
    """The lines that a CI runner would take for commands, or a terminal for control."""
    lines = text.splitlines()
    return [
        line
        for line in lines
        if line.lstrip().startswith("::") or any(order in line for order in ORDERS[1:]) or "\x1b" in line
    ]


@pytest.mark.parametrize("as_json", [True, False])
def test_nothing_that_the_engine_says_is_a_command_to_a_ci_runner(world: World, as_json: bool) -> None:
    arguments = [word for word in world.arguments() if as_json or word != "--json"]
    process = world.start(*arguments, env={"TROUBLE": "hostile"})
    out, err = (stream.decode() for stream in process.communicate(timeout=60))
    assert process.returncode == 1
    assert "pwned" in out + err, "what was said is still told"
    assert obeyed(out) == []
    assert obeyed(err) == []
    newest = max((world.project / "runs").iterdir())
    assert b"::error file=x::pwned" in (newest / "engine.log").read_bytes(), "the log keeps every byte"
    later = world.start("diagnose", newest.name, *(["--json"] if as_json else []))
    out, err = (stream.decode() for stream in later.communicate(timeout=60))
    assert "pwned" in out
    assert obeyed(out + err) == []


def test_a_hostile_message_cannot_break_the_json(world: World) -> None:
    code, told = ended(world.train(TROUBLE="hostile"))
    assert code == 1
    assert told["error"]["code"] == "failed"
    assert [finding["code"] for finding in told["findings"]].count("failed") == 1


# Out of memory, end to end.


def test_retry_smaller_goes_on_where_it_may_and_else_trains_in_a_new_run_that_names_its_parent(world: World) -> None:
    from lora_forge.runs.record import read_run

    process = world.train(
        "--retry-smaller", "--run-dir", "runs/big", "--set", "schedule.batch_size=4",
        "--set", "memory.gradient_checkpointing=false", TROUBLE="room=2",
    )  # fmt: skip
    out, err = process.communicate(timeout=120)
    told = json.loads(out)
    assert process.returncode == 0, err.decode()
    said = [line for line in err.decode().splitlines() if "(retry" in line]
    assert "going on with --set memory.gradient_checkpointing=true" in said[0]
    assert "again with --set schedule.batch_size=2" in said[1]
    runs = [read_run(world.project / "runs" / name) for name in ("big", "big-smaller2")]
    assert [(run.facts["parent"], len(run.attempts), run.done) for run in runs] == [
        (None, 2, False),
        (runs[0].uuid, 1, True),
    ]
    assert told["data"]["steps"] == STEPS
    assert told["data"]["plan"]["schedule"]["grad_accum"]["value"] == 2


def test_what_gave_way_in_a_retry_stays_given_when_the_run_goes_on(world: World) -> None:
    run = world.project / "runs" / "small"
    process = world.train(
        "--retry-smaller", "--run-dir", "runs/small", "--set", "memory.gradient_checkpointing=false",
        TROUBLE="room=1", FAKE_STEP_S="0.4",
    )  # fmt: skip
    wait_until(lambda: len(steps_taken(run)) >= 4, process)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 143
    code, told = ended(world.start("runs", "resume", "small", "--json", env={"TROUBLE": "room=1"}))
    assert code == 0, told
    assert told["data"]["plan"]["memory"]["gradient_checkpointing"]["value"] is True
    assert [each for each in told["findings"] if each["code"] == "changed"] == []
    code, told = ended(world.start("runs", "reproduce", "small", "--json"))
    assert (code, told["data"]["matched"]) == (0, True), told["data"]["unmatched"]


def test_without_retry_the_next_lever_is_offered_as_it_is_typed(world: World) -> None:
    code, told = ended(world.train("--set", "schedule.batch_size=4", TROUBLE="room=2"))
    assert (code, told["error"]["code"]) == (5, "gpu-out-of-memory")
    assert told["error"]["hint"].startswith("--set schedule.batch_size=2 --set schedule.grad_accum=2 (")


# Secrets.


def test_a_secret_in_the_environment_reaches_no_file_no_output_and_no_process_list(world: World) -> None:
    secrets = {
        name: f"{CANARY}-{index}"
        for index, name in enumerate(
            ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD", "SSH_PRIVATE", "GITHUB_TOKEN")
        )
    }
    process = world.train("--run-dir", "runs/secret", TROUBLE="nap", **secrets)
    run = world.project / "runs" / "secret"
    wait_until(lambda: any(run.glob("attempts/*/events.jsonl")), process)
    seen = [" ".join(each.cmdline()) for each in _tree(process.pid)]
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert len(seen) >= 2, "forge and the engine were looked at while they ran"
    assert not [line for line in seen if CANARY in line]
    assert CANARY.encode() not in out + err
    files = [path for path in run.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [str(path) for path in files if CANARY.encode() in path.read_bytes()] == []
    assert not [str(path) for path in world.home.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


def _tree(pid: int) -> list[psutil.Process]:
    forge = psutil.Process(pid)
    return [forge, *forge.children(recursive=True)]


# Fuzz: every text stays what it is, or is refused.


def test_ten_thousand_texts_survive_toml_byte_by_byte_or_are_refused() -> None:
    """Names, triggers, captions and paths all reach the engine as strings and lists of strings in TOML."""
    import toml

    refused = 0
    for text in texts(1, FUZZED):
        document = {"output_name": text, "datasets": [{"image_dir": text, "class_tokens": text}], "list": [text, "x"]}
        try:
            rendered = dump_toml(document)
        except InvalidInput as problem:
            refused += 1
            assert problem.exit_code == 3
            assert not PLAIN.fullmatch(text), repr(text)
            continue
        assert toml.loads(rendered) == document
        assert rendered.encode().decode() == rendered
    assert 0 < refused < FUZZED / 2


def test_triggers_and_names_through_the_whole_command_stay_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``forge plan`` on nasty triggers and names: 0 or 3, the trigger byte-exact, the name within its folder."""
    import toml

    photos = draw_photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORGE_HOME", str(tmp_path / "nowhere"))
    codes = []
    for text in texts(4, CLI_FUZZED):
        arguments = ["--preset", "identity", "--dataset", str(photos), f"--trigger={text}", f"--name={text}", "--json"]
        result = CliRunner().invoke(app, ["plan", *arguments])
        codes.append(result.exit_code)
        assert result.exit_code in (0, 3), (text, result.output, result.exception)
        assert obeyed(result.stdout) == []
        if result.exit_code == 0:
            data = json.loads(result.stdout)["data"]
            assert data["plan"]["trigger"]["value"] == text
            name = toml.loads(data["rendered"]["train_toml"])["output_name"]
            assert name and "/" not in name and not name.startswith(("-", "."))
            assert not [word for word in data["rendered"]["argv"] if text in word and len(text) > 6 and text != name]
    assert set(codes) == {0, 3}


def test_no_text_reaches_a_persons_terminal_as_control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = draw_photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    for text in ("a\x1b[2J", "a\n::error::b", "##[error]x", "[red]x[/]"):
        result = CliRunner().invoke(
            app, ["plan", "--preset", "identity", "--dataset", str(photos), f"--trigger={text}", "--explain"]
        )
        assert result.exit_code in (0, 3), result.output
        assert obeyed(result.output) == []
