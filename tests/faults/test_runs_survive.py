"""Runs that survive: resuming, refusing, telling; ``test_fault_suite`` breaks them."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import signal
from pathlib import Path

import fault_cases as faults
import fault_world
import pytest
from fault_watching import has_entered
from fault_world import DIFFUSERS_UNET, NAME, STEPS, World, ended, lora_content, steps_taken, wait_until, write_model

from lora_forge.datasets.pixels import content_digest
from lora_forge.datasets.splitting import HeldImage, Holdout, write_holdout
from lora_forge.engine.home import locate_engine
from lora_forge.engine.stamps import EnvironmentStamp, write_environment_stamp
from lora_forge.runs.ledger import has_ledger
from lora_forge.runs.record import read_run
from lora_forge.runs.resume import plan_values

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def stopped(world: World) -> Path:
    """A run that was stopped with two states committed."""
    run = world.project / "runs" / "stopped-001"
    process = world.train("--run-dir", str(run), FAKE_STEP_S="0.25")
    wait_until(lambda: len(steps_taken(run)) >= 8, process)
    process.send_signal(signal.SIGTERM)
    code, told = ended(process)
    assert code == 143, told
    assert "state kept at step" in told["error"]["message"]
    assert "forge runs resume stopped-001" in told["error"]["hint"]
    return run


def test_a_run_stopped_five_times_ends_as_an_undisturbed_one(world: World, undisturbed: faults.Reference) -> None:
    run = world.project / "five"
    for stop in range(1, 6):
        resume = ("--resume",) if stop > 1 else ()
        process = world.train(*resume, "--run-dir", str(run), FAKE_STEP_S="0.5")
        wait_until(lambda stop=stop: len(steps_taken(run)) >= 2 * stop, process)  # type: ignore[misc]
        process.send_signal(signal.SIGINT)
        assert ended(process)[0] == 130
    code, told = faults.resume(world, run)
    assert code == 0, told
    assert told["data"]["attempts"] == 6
    assert faults.as_reference(run, undisturbed) == ""
    assert [event["step"] for event in steps_taken(run)] == list(range(1, STEPS + 1)), "no step was taken twice"


def test_a_damaged_newest_state_is_passed_over_and_said(
    world: World, undisturbed: faults.Reference, stopped: Path, tmp_path: Path
) -> None:
    run = tmp_path / "damaged-001"
    shutil.copytree(stopped, run, symlinks=True)
    newest = max(read_run(run).states, key=lambda state: state.seq)
    (run / "states" / newest.name / "random_states_0.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    code, told = faults.resume(world, run)
    assert code == 0, told
    assert {"state-damaged", "resumed"} <= {finding["code"] for finding in told["findings"]}
    assert faults.as_reference(run, undisturbed) == ""


def test_a_state_that_the_ledger_does_not_vouch_for_is_never_used(world: World, stopped: Path, tmp_path: Path) -> None:
    run = tmp_path / "planted-001"
    shutil.copytree(stopped, run, symlinks=True)
    newest = max(read_run(run).states, key=lambda state: state.seq)
    shutil.copytree(run / "states" / newest.name, run / "states" / "step00000011")
    code, told = faults.resume(world, run)
    assert code == 0, told
    assert any(f"goes on from step {newest.step} of" in finding["message"] for finding in told["findings"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("network.rank=8", "network.rank was 256, now 8"),
        ("schedule.batch_size=2", "schedule.batch_size was 1, now 2"),
        ("schedule.steps=24", "schedule.steps was 12, now 24"),
        ("data.resolution=576", "data.resolution was 512, now 576"),
        ("optimizer.learning_rate=0.5", "optimizer.learning_rate was 0.0001, now 0.5"),
    ],
)
def test_what_would_be_another_training_is_refused_with_the_difference(
    world: World, stopped: Path, change: str, said: str
) -> None:
    code, told = world.forge(*world.arguments("--resume", "--run-dir", str(stopped), "--set", change))
    assert code == 3
    assert said in told["error"]["message"]
    assert "may change" in told["error"]["hint"]


def test_changed_pictures_captions_and_base_models_are_refused(world: World, stopped: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(world.project / "photos", photos)
    (photos / "1.txt").write_text("ohwx, somebody else\n")
    code, told = world.forge("train", "--resume", "--json", "--run-dir", str(stopped), "--dataset", str(photos))
    assert code == 3
    assert "was 'one caption', now 'another caption'" in told["error"]["message"]
    other = tmp_path / "base.safetensors"
    other.write_bytes((world.root / "base.safetensors").read_bytes()[:-1] + b"\1")
    code, told = world.forge("train", "--resume", "--json", "--run-dir", str(stopped), "--model", str(other))
    assert code == 3
    assert "base model model" in told["error"]["message"]


def test_a_moved_dataset_and_a_new_cadence_may_change(
    world: World, undisturbed: faults.Reference, stopped: Path, tmp_path: Path
) -> None:
    run, photos = tmp_path / "moved-001", tmp_path / "photos"
    shutil.copytree(stopped, run, symlinks=True)
    shutil.copytree(world.project / "photos", photos)
    code, told = world.forge(
        *("train", "--resume", "--json", "--run-dir", str(run), "--dataset", str(photos)),
        *("--set", "schedule.checkpoint_every=2"),
    )
    assert code == 0, told
    assert any("schedule.checkpoint_every was 3, now 2" in finding["message"] for finding in told["findings"])
    lora = f"{NAME}.safetensors"
    assert lora_content(run / "output" / lora) == undisturbed.loras[lora]


def test_a_moved_and_renamed_dataset_is_trained_on_where_it_is_now(
    world: World, undisturbed: faults.Reference, stopped: Path, tmp_path: Path
) -> None:
    run, pictures = tmp_path / "renamed-001", tmp_path / "pictures"
    shutil.copytree(stopped, run, symlinks=True)
    shutil.copytree(world.project / "photos", pictures)
    code, told = world.forge("train", "--resume", "--json", "--run-dir", str(run), "--dataset", str(pictures))
    assert code == 0, told
    staged = {file["name"]: (run / "dataset" / file["name"]).readlink() for file in dataset_files(run)}
    assert {path.parent for path in staged.values()} == {pictures}
    assert {Path(name).parent.name for name in staged} == {"01-photos"}
    assert str(run / "dataset" / "01-photos") in (run / "dataset.toml").read_text()
    assert faults.as_reference(run, undisturbed) == ""


def dataset_files(run: Path) -> list[dict[str, str]]:
    return read_run(run).facts["dataset"]["files"]  # type: ignore[call-overload,index,return-value]


@pytest.mark.parametrize("name", ["plan.json", "request.json", "preset.yaml"])
def test_a_damaged_view_or_request_keeps_no_run_from_going_on(
    world: World, undisturbed: faults.Reference, stopped: Path, tmp_path: Path, name: str
) -> None:
    run, sound = tmp_path / "hurt-001", (stopped / name).read_bytes()
    shutil.copytree(stopped, run, symlinks=True)
    (run / name).write_bytes(sound.replace(b"fast", b"fist").replace(b"12", b"13")[:-9])
    code, told = world.forge("runs", "resume", run.name, "--runs", str(run.parent), "--json")
    assert code == 0, told
    assert faults.as_reference(run, undisturbed) == ""
    if name == "plan.json":
        view, before = (dict(plan_values(json.loads(text))) for text in ((run / name).read_bytes(), sound))
        assert view == before, "the view was made anew"


def test_a_request_damaged_in_both_its_copies_is_refused(world: World, stopped: Path, tmp_path: Path) -> None:
    run = tmp_path / "hurt-001"
    shutil.copytree(stopped, run, symlinks=True)
    for name in ("request.json", ".request.mirror.json"):
        (run / name).write_text((run / name).read_text().replace("ohwx", "ohwy"))
    code, told = world.forge("runs", "resume", run.name, "--runs", str(run.parent), "--json")
    assert code == 3
    assert "request.json is not what it was when the run began" in told["error"]["message"]
    assert faults.resume(world, run)[0] == 0, "named again, it goes on"


def test_what_cannot_be_written_beside_a_committed_lora_is_a_warning(world: World, tmp_path: Path) -> None:
    run = tmp_path / "unwritable-001"
    process = world.train("--run-dir", str(run), FAKE_STEP_S="0.1")
    wait_until(lambda: steps_taken(run), process)
    (run / "result.json").mkdir()
    code, told = ended(process)
    assert (code, told["data"]["verified"]) == (0, True), told
    assert [each["message"] for each in told["findings"] if each["code"] == "result-not-written"]
    assert read_run(run).done


def test_an_attempt_that_was_killed_is_closed_by_the_next_one(world: World, tmp_path: Path) -> None:
    run = tmp_path / "killed-001"
    process = world.train("--run-dir", str(run), FAKE_STEP_S="0.2")
    wait_until(lambda: len(steps_taken(run)) >= 7, process)
    faults.kill_hard(process)
    process = world.train("--run-dir", str(run), "--resume", FAKE_LOAD_S="30")
    wait_until(lambda: has_entered("loading", run, 2, process), process)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 143
    _, told = world.forge("runs", "ls", "--runs", str(run.parent), "--json")
    (row,) = told["data"]["runs"]
    assert (row["step"] >= 6, row["loss"] is not None) == (True, True), "the loss of the last attempt that took a step"
    first, second = read_run(run).attempts
    assert (first.outcome, first.from_step) == ("killed", 0)
    assert first.to_step is not None
    assert first.to_step >= 7
    assert first.ended is not None
    assert 1.0 < first.ended - first.began < 30
    assert (second.outcome, second.from_step, second.to_step) == ("stopped", 6, 6)
    code, told = faults.resume(world, run)
    assert (code, told["data"]["wall_s"] > 1.5) == (0, True), "the killed attempt's time counts"


def test_each_attempt_says_what_it_was_made_with_and_a_change_is_told_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    home = locate_engine({"FORGE_HOME": str(world.home)})
    for number, torch in enumerate(("2.6.0", "2.7.1", "2.7.1"), start=1):
        write_environment_stamp(home.environment, EnvironmentStamp(home.lock_sha256, "3.11.0", torch))
        process = world.train("--resume", FAKE_STEP_S="0.3")
        wait_until(lambda number=number: len(steps_taken(world.run)) >= 2 * number, process)  # type: ignore[misc]
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 143
    code, told = faults.resume(world, world.run)
    assert code == 0, told
    assert [each["message"] for each in told["findings"] if each["code"] == "changed"] == []
    _, shown = world.forge("runs", "show", world.run.name, "--json")
    rows = shown["data"]["attempts"]
    assert [row["engine"]["torch"] for row in rows] == ["2.6.0", "2.7.1", "2.7.1", "2.7.1"]
    assert all(row["machine"]["cpus"] and "commit" in row["software"] for row in rows)


def test_another_torch_since_the_last_attempt_is_said(world: World, stopped: Path, tmp_path: Path) -> None:
    home, run = locate_engine({"FORGE_HOME": str(world.home)}), tmp_path / "torch-001"
    shutil.copytree(stopped, run, symlinks=True)
    sound = EnvironmentStamp(home.lock_sha256, "3.11.0", "2.6.0")
    write_environment_stamp(home.environment, sound._replace(torch="2.7.1"))
    try:
        code, told = faults.resume(world, run)
    finally:
        write_environment_stamp(home.environment, sound)
    assert code == 0, told
    assert "changed for this attempt: engine torch was '2.6.0', now '2.7.1'" in [
        finding["message"] for finding in told["findings"]
    ]


def test_a_base_model_changed_in_its_middle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fault_world.MODEL, "first_stage_model.decoder.y", (2 << 20,))
    world = World(tmp_path)
    process = world.train(FAKE_STEP_S="0.3")
    wait_until(lambda: read_run(world.run).models if has_ledger(world.run) else None, process)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 143
    model = world.root / "base.safetensors"
    sound = model.read_bytes()
    model.write_bytes(sound[: len(sound) // 2] + b"\1" + sound[len(sound) // 2 + 1 :])
    code, told = faults.resume(world, world.run)
    assert (code, "now 'another SHA-256'" in told["error"]["message"]) == (3, True), told
    model.write_bytes(sound)
    assert faults.resume(world, world.run)[0] == 0, "put back, it is the same, whatever its time"


def test_a_base_model_in_a_folder_is_known_by_its_weights(tmp_path: Path) -> None:
    world = World(tmp_path)
    folder, name = tmp_path / "diffusers", "model/unet/diffusion_pytorch_model.safetensors"
    unet = folder / name.removeprefix("model/")
    write_model(unet, DIFFUSERS_UNET)
    process = world.train("--model", str(folder), FAKE_STEP_S="0.3")
    wait_until(lambda: read_run(world.run).models if has_ledger(world.run) else None, process)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 143
    record, sound = read_run(world.run), unet.read_bytes()
    assert set(record.facts["base_models"]) == {name}  # type: ignore[arg-type]
    assert record.models[name].sha256 == hashlib.sha256(sound).hexdigest()
    unet.write_bytes(sound[:-1] + b"\1")
    code, told = world.forge("runs", "resume", world.run.name, "--json")
    assert (code, f"base model {name} was" in told["error"]["message"]) == (3, True), told
    code, told = world.forge("runs", "reproduce", world.run.name, "--json")
    assert [row["key"] for row in told["data"]["unmatched"]] == [f"base model {name}"]
    unet.write_bytes(sound)
    world.forge("runs", "resume", world.run.name, "--json")
    assert len(read_run(world.run).attempts) == 2, "put back, it is the same; the fake's LoRA is of another model"


def test_a_finished_run_says_so_and_starts_nothing(world: World, undisturbed: faults.Reference) -> None:
    code, told = world.forge(*world.arguments("--resume", "--run-dir", "undisturbed"))
    assert (code, told["data"]["already_done"]) == (0, True)
    assert len(read_run(world.project / "undisturbed").attempts) == 1


def test_resume_finds_the_latest_unfinished_run_of_the_name(tmp_path: Path) -> None:
    world = World(tmp_path)
    code, told = world.forge(*world.arguments("--resume"))
    assert code == 0, "without any run, it begins one"
    said = [each["message"] for each in told["findings"] if each["code"] == "nothing-to-resume"]
    assert said == [f"no unfinished run of {NAME} under runs: beginning anew"]
    process = world.train(FAKE_STEP_S="0.4")
    second = world.project / "runs" / f"{NAME}-002"
    wait_until(lambda: len(steps_taken(second)) >= 4, process)
    code, _ = world.forge("runs", "stop", f"{NAME}-002", "--json")
    assert code == 0
    assert ended(process)[0] == 143
    code, told = world.forge(*world.arguments("--resume"))
    assert (code, Path(told["data"]["run_dir"]).name) == (0, f"{NAME}-002"), told
    assert "nothing-to-resume" not in {each["code"] for each in told["findings"]}
    code, told = world.forge(*world.arguments("--resume"))
    assert (code, told["data"]["already_done"]) == (0, True)


def test_a_run_is_told_reproduced_and_removed(world: World, undisturbed: faults.Reference, stopped: Path) -> None:
    runs = ("--runs", str(stopped.parent), "--json")
    code, told = world.forge("runs", "show", "stopped-001", *runs)
    assert code == 0
    assert [(a["from_step"], a["outcome"], a["signal"]) for a in told["data"]["attempts"]] == [
        (0, "stopped", signal.SIGTERM)
    ]
    code, again = world.forge("runs", "reproduce", told["data"]["uuid"][:8], *runs)
    assert (code, again["data"]["matched"], again["data"]["unmatched"]) == (0, True, [])
    code, started = world.forge("runs", "reproduce", "stopped-001", "--start", *runs)
    assert code == 0, started
    child = Path(started["data"]["run_dir"])
    assert read_run(child).facts["parent"] == told["data"]["uuid"]
    assert world.loras(child) == undisturbed.loras
    code, told = world.forge("runs", "diff", "stopped-001", child.name, *runs)
    assert (code, told["data"]["plan"], told["data"]["data"]) == (0, [], [])
    assert world.forge("runs", "rm", child.name[:-1], *runs)[0] == 3
    assert world.forge("runs", "rm", child.name, "--keep-lora", *runs)[0] == 0
    assert {path.name for path in child.rglob("*") if path.is_file()} == set(undisturbed.loras)


def test_a_running_run_is_not_removed(world: World) -> None:
    run = world.project / "runs" / "busy-001"
    process = world.train("--run-dir", str(run), FAKE_STEP_S="1")
    wait_until(lambda: len(steps_taken(run)) >= 1, process)
    code, told = world.forge("runs", "rm", "busy-001", "--json")
    assert (code, told["error"]["code"]) == (11, "locked")
    assert f"process {process.pid}" in told["error"]["message"]
    assert world.forge("runs", "stop", "busy-001", "--json")[0] == 0
    assert ended(process)[0] == 143


def test_no_name_of_a_machine_or_person_is_written(world: World, undisturbed: faults.Reference) -> None:
    ledger = (world.project / "undisturbed" / "ledger.jsonl").read_text()
    assert platform.node() not in ledger
    assert str(world.root) not in ledger
    assert "@" not in ledger


def test_the_ledger_says_what_the_run_was_made_of(world: World, undisturbed: faults.Reference) -> None:
    first = json.loads((world.project / "undisturbed" / "ledger.jsonl").read_text().splitlines()[0])
    assert first["base_models"]["model"]["file"] == "base.safetensors"
    assert len(first["dataset"]["files"]) == 4
    content = (world.root / "base.safetensors").read_bytes()
    assert read_run(world.project / "undisturbed").models["model"].sha256 == hashlib.sha256(content).hexdigest()


def test_an_event_line_that_makes_no_sense_keeps_no_run_from_going_on(
    world: World, undisturbed: faults.Reference, stopped: Path, tmp_path: Path
) -> None:
    run = tmp_path / "events-001"
    shutil.copytree(stopped, run, symlinks=True)
    with (run / "attempts" / "01" / "events.jsonl").open("a") as file:
        file.write('{"event":"step","wall":1e999,"mono":1,"step":1e999,"total":12,"epoch":1,"loss":0.1}\n')
    assert faults.resume(world, run)[0] == 0
    assert world.loras(run) == undisturbed.loras


def test_a_run_trained_anew_says_what_does_not_match(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.forge(*world.arguments())[0] == 0
    (world.project / "photos" / "1.txt").write_text("ohwx, somebody else\n")
    again = ("runs", "reproduce", world.run.name, "--start")
    _, planned = world.forge(*again[:-1], "--json")
    said = [each for each in planned["findings"] if each["code"] == "not-matched"]
    assert ["now 'another caption'" in each["message"] for each in said] == [True]
    code, told = world.forge(*again, "--json")
    assert (code, [each for each in told["findings"] if each["code"] == "not-matched"]) == (0, said)
    process = world.start(*again, env={"FAKE_STEP_S": "0.3"})
    child = world.project / "runs" / f"{NAME}-003"
    wait_until(lambda: len(steps_taken(child)) >= 2, process)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate()
    assert (process.returncode, "cannot be matched: " in text.decode()) == (143, True)
    assert text.index(b"cannot be matched: ") < text.index(b"run directory "), "before the training"


@pytest.fixture(scope="module")
def holding_out(world: World) -> Path:
    """A run that was stopped, and that holds a picture out."""
    run = world.project / "runs" / "holding-001"
    process = world.train("--run-dir", str(run), "--set", "data.validation=1", FAKE_STEP_S="0.25")
    wait_until(lambda: len(steps_taken(run)) >= 4, process)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 143
    return run


@pytest.mark.parametrize("damaged", [b"", b'{"seed": 7, "images": []}', None])
def test_a_run_keeps_to_the_hold_out_in_its_ledger_whatever_became_of_the_file(
    world: World, holding_out: Path, tmp_path: Path, damaged: bytes | None
) -> None:
    run = tmp_path / "holding-001"
    shutil.copytree(holding_out, run, symlinks=True)
    file = run / "photos.holdout.json"
    sound = file.read_bytes()
    file.unlink() if damaged is None else file.write_bytes(damaged)
    named = (run.name, "--runs", str(run.parent), "--json")
    code, told = world.forge("runs", "reproduce", *named)
    assert (code, told["data"]["unmatched"]) == (0, []), told
    code, told = world.forge("runs", "resume", *named)
    assert code == 0, told
    assert file.read_bytes() == sound, "written anew, for people"


def test_a_new_hold_out_in_the_project_is_for_the_runs_to_come(world: World, holding_out: Path, tmp_path: Path) -> None:
    run, file = tmp_path / "holding-001", world.project / "photos.holdout.json"
    shutil.copytree(holding_out, run, symlinks=True)
    (held,) = json.loads(file.read_bytes())["images"]
    photos = world.project / "photos"
    other = next(path for path in sorted(photos.glob("*.png")) if path.name != held["name"])
    write_holdout(file, Holdout(7, (HeldImage(content_digest(str(other)), other.name),)), photos)
    code, told = faults.resume(world, run, "--set", "data.validation=1")
    assert code == 0, told
    assert json.loads((run / file.name).read_bytes())["images"] == [held]
    assert json.loads(file.read_bytes())["images"][0]["name"] == other.name
