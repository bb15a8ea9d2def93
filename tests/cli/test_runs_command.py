"""``forge runs`` on runs that were written down, without any process."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from lora_forge.cli.app import app
from lora_forge.presets.loader import shipped_folder
from lora_forge.runs.commit import describe_file, place_file
from lora_forge.runs.directory import RunDir
from lora_forge.runs.ledger import LEDGER, MIRROR, new_ledger
from lora_forge.runs.model_hashes import hash_model
from lora_forge.runs.record import as_json, read_run
from lora_forge.runs.resume import plan_values
from lora_forge.settings import Source, Written
from lora_forge.workflow.invocation import Invocation
from lora_forge.workflow.planning import plan_run, staged_names
from lora_forge.workflow.run_comparing import model_changes, named_as_begun
from lora_forge.workflow.run_layout import plan_json
from lora_forge.workflow.run_request import read_request, write_request

Draw = Any
ENDS: dict[str, tuple[str, int]] = {
    "stopped-001": ("stopped", 5),
    "failed-001": ("failed", 7),
    "done-001": ("done", 12),
}


def forge(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["runs", *arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def text(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["runs", *arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.fixture
def runs(in_folder: Path) -> Path:
    """Four runs: stopped, failed, done, and one that was killed with forge."""
    folder = in_folder / "runs"
    for index, (name, end) in enumerate(ENDS.items()):
        write_run(folder / name, f"{index}abc-uuid", rank=16 + index, end=end)
    write_run(folder / "killed-001", "3abc-uuid", rank=16, end=None)
    (folder / "notes").mkdir()
    return folder


def write_run(folder: Path, uuid: str, *, rank: int, end: tuple[str, int] | None) -> None:
    run = RunDir(folder)
    run.attempt(1).make()
    run.output.mkdir()
    leaf = {"value": rank, "source": "CLI", "why": "", "where": ""}
    files = [{"name": "01-a/1.png", "size_bytes": 1, "sha256": uuid, "caption_sha256": None}]
    ledger = new_ledger(folder)
    facts = {"plan": {"network": {"rank": leaf}}, "steps": 12, "name": folder.name[:-4]}
    ledger.append("run", uuid=uuid, parent=None, dataset={"files": files}, engine={"commit": uuid[:4]}, **facts)  # type: ignore[arg-type]
    ledger.append("attempt", number=1, from_step=0, state=None, environment={})
    events = [
        {"event": "step", "wall": 1, "mono": step, "step": step, "total": 12, "epoch": 1, "loss": 0.5}
        for step in (1, 2, 3)
    ]
    run.attempt(1).events_jsonl.write_text("".join(json.dumps(event) + "\n" for event in events))
    run.attempt(1).engine_log.write_text("")
    run.point_to(run.attempt(1))
    if end is None:
        return
    outcome, step = end
    signum = 15 if outcome == "stopped" else None
    told = {"exit_code": None, "signal": None, "stop_signal": signum, "cause": None, "message": None}
    ledger.append("attempt-end", number=1, outcome=outcome, to_step=step, wall_s=1.0, killed=False, **told)
    if outcome == "done":
        lora = run.lora("done")
        lora.write_bytes(b"weights")
        ledger.append("checkpoint", step=12, attempt=1, final=True, files=as_json([describe_file(lora, folder)]))


def test_every_run_is_listed_with_how_it_stands(runs: Path) -> None:
    code, told = forge("ls")
    rows = {row["run"]: (row["status"], row["step"], row["steps"]) for row in told["data"]["runs"]}
    assert code == 0
    assert rows == {
        "done-001": ("done", 12, 12),
        "failed-001": ("failed", 7, 12),
        "killed-001": ("stopped", 0, 12),
        "stopped-001": ("stopped", 5, 12),
    }
    assert "stopped-001" in text("ls")


def test_a_run_whose_ledger_cannot_be_believed_is_listed_as_damaged(runs: Path) -> None:
    for name in (LEDGER, MIRROR):
        (runs / "done-001" / name).write_bytes(b"\0" * 100)
    code, told = forge("ls")
    assert code == 0
    assert {row["run"]: row["status"] for row in told["data"]["runs"]}["done-001"] == "damaged"
    assert [finding["code"] for finding in told["findings"]] == ["run-damaged"]
    assert forge("show", "done-001")[0] == 3


def test_no_runs_is_no_error(in_folder: Path) -> None:
    assert forge("ls") == (0, {**forge("ls")[1], "ok": True})
    assert "no run in" in text("ls")


def test_the_story_of_a_killed_run_says_how_far_it_came(runs: Path) -> None:
    _, told = forge("show", "killed-001")
    (attempt,) = told["data"]["attempts"]
    assert (attempt["outcome"], attempt["from_step"], attempt["to_step"]) == ("killed", 0, 3)
    assert "steps 0 to 3, killed together with forge" in text("show", "killed-001")
    assert "stopped by SIGTERM" in text("show", "stopped-001")


def test_a_folder_of_another_name_among_the_attempts_is_none(runs: Path) -> None:
    attempts = runs / "killed-001" / "attempts"
    before = forge("show", "killed-001")[1]["data"]["attempts"]
    shutil.copytree(attempts / "01", attempts / "01-copy", symlinks=True)
    assert (forge("ls")[0], forge("show", "killed-001")[0]) == (0, 0)
    assert forge("show", "killed-001")[1]["data"]["attempts"] == before


def test_an_event_that_makes_no_sense_hides_no_run(runs: Path) -> None:
    events = runs / "killed-001" / "attempts" / "01" / "events.jsonl"
    events.write_text(
        events.read_text() + '{"event":"step","wall":1,"mono":1,"step":1e999,"total":12,"epoch":1,"loss":0.1}\n'
    )
    assert forge("ls")[0] == 0
    assert forge("show", "killed-001")[1]["data"]["attempts"][0]["to_step"] == 3


def test_a_run_is_found_by_a_unique_prefix_of_its_uuid(runs: Path) -> None:
    assert forge("show", "2abc")[1]["data"]["run"] == "done-001"
    code, told = forge("show", "nothing")
    assert (code, told["error"]["hint"]) == (3, "forge runs ls")
    write_run(runs / "twin-001", "2abc-other", rank=1, end=None)
    code, told = forge("show", "2abc")
    assert (code, "more than one run" in told["error"]["message"]) == (3, True)


def test_two_runs_differ_in_plan_data_and_environment(runs: Path) -> None:
    _, told = forge("diff", "stopped-001", "failed-001")
    assert told["data"]["plan"] == [{"key": "network.rank", "before": 16, "after": 17}]
    assert [row["key"] for row in told["data"]["data"]] == ["01-a/1.png"]
    assert [row["key"] for row in told["data"]["environment"]] == ["engine.commit"]
    assert "network.rank: 16 → 17" in text("diff", "stopped-001", "failed-001")


def test_removing_wants_the_whole_name_and_stays_in_the_folder(runs: Path, tmp_path: Path) -> None:
    assert forge("rm", "failed")[0] == 3
    assert forge("rm", "1abc")[0] == 3
    assert forge("rm", "failed-001")[0] == 0
    assert not (runs / "failed-001").exists()
    outside = tmp_path / "outside-001"
    write_run(outside, "9abc-uuid", rank=1, end=None)
    (runs / "outside-001").symlink_to(outside)
    code, told = forge("rm", "outside-001")
    assert (code, outside.exists()) == (3, True)
    assert "a link" in told["error"]["message"]


def test_the_lora_can_be_kept(runs: Path) -> None:
    _, told = forge("rm", "done-001", "--keep-lora")
    assert [Path(path).name for path in told["data"]["kept"]] == ["done.safetensors"]
    assert [path.name for path in (runs / "done-001").rglob("*")] == ["output", "done.safetensors"]


def test_a_whole_lora_that_no_ledger_knows_is_kept_too(runs: Path) -> None:
    output = RunDir(runs / "killed-001").attempt(1).output
    for name in ("killed", "killed-step00000003"):
        save_file({"x": np.ones(8, np.float32)}, str(output / f"{name}.safetensors"))
    whole = (output / "killed.safetensors").read_bytes()
    (output / "killed.partial.safetensors").write_bytes(whole)
    (output / "cut.safetensors").write_bytes(whole[:-1])
    _, told = forge("rm", "killed-001", "--keep-lora")
    kept = ["killed-step00000003.safetensors", "killed.safetensors"]
    assert [Path(path).name for path in told["data"]["kept"]] == kept
    assert {path.name for path in (runs / "killed-001").rglob("*")} == {"output", *kept}


def test_the_sound_copy_of_a_damaged_lora_is_what_is_kept(runs: Path) -> None:
    run = RunDir(runs / "done-001")
    place_file(run.lora("done"), run.attempt(1).output / "done.safetensors")
    run.lora("done").unlink()
    run.lora("done").write_bytes(b"weig")
    assert forge("rm", "done-001", "--keep-lora")[0] == 0
    assert run.lora("done").read_bytes() == b"weights"


def test_what_a_killed_removal_left_is_in_nobodys_way(runs: Path) -> None:
    left = runs / ".done-001.removing"
    shutil.copytree(runs / "failed-001", left, symlinks=True)
    assert forge("rm", "done-001")[0] == 0
    assert not left.exists()
    assert not (runs / "done-001").exists()


def test_a_run_that_cannot_be_removed_says_why(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, _to: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    code, told = forge("rm", "done-001")
    assert (code, told["error"]["message"]) == (1, "done-001 cannot be removed: Permission denied")


def test_stopping_what_does_not_run_says_so(runs: Path) -> None:
    code, told = forge("stop", "stopped-001")
    assert (code, told["findings"][0]["code"]) == (0, "not-running")


def test_the_ledgers_plan_counts_whatever_became_of_plan_json(runs: Path) -> None:
    before = forge("diff", "stopped-001", "done-001")
    (runs / "stopped-001" / "plan.json").write_text("{}")
    assert forge("diff", "stopped-001", "done-001") == before


PRESETS = sorted(path.stem for path in shipped_folder().glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "settings", [(), ("network.rank=20", "schedule.steps=77", "policy=tiers")], ids=["plain", "set"]
)
def test_a_run_asked_for_again_is_planned_alike(
    preset: str, settings: tuple[str, ...], draw_dataset: Draw, in_folder: Path
) -> None:
    flags = {"preset": preset, "dataset": str(draw_dataset(12)), "trigger": "ohwx", "vram": 24}
    call = Invocation(flags, settings, {}, in_folder)
    planned = plan_run(call)
    run = RunDir(in_folder / "runs" / "it-001")
    run.path.mkdir(parents=True)
    vouched = write_request(call, planned, run)
    new_ledger(run.path).append("run", uuid="1abc", name="it", steps=1, request=vouched)
    (in_folder / "forge.yaml").write_text("overrides:\n  network:\n    rank: 3\n")
    again = plan_run(read_request(Invocation({}, (), {"FORGE_TRIGGER": "other"}, in_folder), run, read_run(run.path)))
    before, after = (dict(plan_values(json.loads(plan_json(each)))) for each in (planned, again))
    assert after == before


@pytest.mark.parametrize(
    ("begun", "now", "staged"), [("photos", "pictures", "photos"), ("10_jeff", "5_jeff", "5_jeff")]
)
def test_a_folder_keeps_the_name_it_had_unless_that_says_repeats(
    begun: str, now: str, staged: str, draw_dataset: Draw, in_folder: Path
) -> None:
    folder = draw_dataset(2).rename(in_folder / now)
    planned = plan_run(Invocation({"preset": "style", "dataset": str(folder), "trigger": "ohwx"}, (), {}, in_folder))
    files = [{"name": f"01-{begun}/1.png", "size_bytes": 1, "sha256": "a", "caption_sha256": None}]
    new_ledger(in_folder).append("run", uuid="1abc", name="it", steps=1, dataset={"files": files})  # type: ignore[dict-item]
    assert staged_names(named_as_begun(planned, read_run(in_folder)).gathered) == (staged,)


def test_a_run_whose_ledger_tells_of_a_model_folder_only_that_it_is_one_goes_on(
    draw_dataset: Draw, in_folder: Path
) -> None:
    """As forge once wrote it; what was hashed since is held to, and a file in the folder's place is another model."""
    flags = {"preset": "style", "dataset": str(draw_dataset(2)), "trigger": "ohwx"}
    unet = in_folder / "sdxl" / "unet" / "diffusion_pytorch_model.safetensors"
    unet.parent.mkdir(parents=True)
    unet.write_bytes(b"weights")
    planned = plan_run(Invocation(flags, (), {}, in_folder)).gathered

    def changes(model: Path) -> list[str]:
        gathered = replace(planned, model_paths={"model": Written(str(model), Source.CLI)})
        return [each.key for each in model_changes(gathered, read_run(in_folder))]

    told: Any = {"model": {"file": "sdxl", "folder": True}}
    ledger = new_ledger(in_folder)
    ledger.append("run", uuid="1abc", name="it", steps=1, base_models=told)
    assert (changes(in_folder / "sdxl"), changes(unet)) == ([], ["base model model"])
    hashed = hash_model(unet)
    assert hashed
    ledger.append("model", name="model/unet/diffusion_pytorch_model.safetensors", **hashed._asdict())
    unet.write_bytes(b"others")
    assert changes(in_folder / "sdxl") == ["base model model/unet/diffusion_pytorch_model.safetensors"]


def test_runs_are_looked_for_where_forge_train_makes_them(
    runs: Path, in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.rename(in_folder / "elsewhere")
    assert forge("ls")[1]["data"]["runs"] == []
    (in_folder / "forge.yaml").write_text("runs: elsewhere\n")
    assert len(forge("ls")[1]["data"]["runs"]) == len(ENDS) + 1
    (in_folder / "forge.yaml").unlink()
    monkeypatch.setenv("FORGE_RUNS", "elsewhere")
    assert len(forge("ls")[1]["data"]["runs"]) == len(ENDS) + 1
    asked = CliRunner().invoke(app, ["diagnose", "failed-001", "--json"])
    assert "there is neither" not in asked.stdout
    assert json.loads(asked.stdout)["data"]["run"].endswith("failed-001")


def test_a_run_keeps_the_brackets_of_its_name(runs: Path) -> None:
    name = "x[v2] [bold]-001"
    write_run(runs / name, "9abc-uuid", rank=16, end=("done", 12))
    assert name in text("ls")
    assert text("show", name).startswith(f"{name} is done")
    assert text("stop", name).startswith(f"{name} is done")
    assert text("diff", name, name).startswith(f"{name} and {name} were made alike")
    assert text("rm", name) == f"removed {name}\n"


def hint_for_the_preset(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["train", "--resume", *arguments, "--json"])
    assert result.exit_code == 3, result.stdout
    findings = json.loads(result.stdout)["findings"]
    return str(next(each["hint"] for each in findings if each["code"] == "preset-missing"))


def test_resuming_without_a_preset_names_the_one_run_that_is_unfinished(runs: Path) -> None:
    for name in ("failed-001", "killed-001"):
        shutil.rmtree(runs / name)
    assert hint_for_the_preset() == "forge runs resume stopped-001"
    runs.rename(runs.with_name("my runs"))
    assert hint_for_the_preset("--runs", "my runs") == "forge runs resume stopped-001 --runs 'my runs'"
    assert hint_for_the_preset("--runs", "none").startswith("--preset identity")


def test_resuming_without_a_preset_lists_the_runs_that_are_unfinished(runs: Path) -> None:
    assert hint_for_the_preset().startswith("forge runs resume ID, with one of failed-001, killed-001, stopped-001;")


def test_resuming_without_a_preset_where_nothing_is_unfinished_says_both(in_folder: Path) -> None:
    result = CliRunner().invoke(app, ["train", "--resume", "--json"])
    findings = {each["code"]: each["message"] for each in json.loads(result.stdout)["findings"]}
    assert (result.exit_code, findings["preset-missing"]) == (3, "no preset was named")
    assert findings["nothing-to-resume"] == "no unfinished run under runs"


def test_the_list_names_its_columns_and_every_row_stands_below_them(runs: Path) -> None:
    header, *rows = text("ls").splitlines()
    assert header.split() == ["run", "status", "steps", "loss", "LoRA", "begun"]
    assert len(rows) == 4
    for title in ("status", "loss"):
        column = header.index(title)
        assert all(row[column - 1] == " " and row[column] != " " for row in rows), title


def test_how_a_run_stands_is_a_sentence(runs: Path) -> None:
    said = {name: text("show", name).splitlines()[0] for name in (*ENDS, "killed-001")}
    assert said == {
        "stopped-001": "stopped-001 was stopped at step 5 of 12",
        "failed-001": "failed-001 failed at step 7 of 12",
        "done-001": "done-001 is done at step 12 of 12",
        "killed-001": "killed-001 was stopped at step 0 of 12",
    }
    assert text("stop", "failed-001") == "failed-001 failed at step 7 of 12\n"


def test_a_file_in_the_place_of_the_runs_folder_is_called_a_file(draw_dataset: Draw, in_folder: Path) -> None:
    (in_folder / "file").write_text("")
    code, told = forge("ls", "--runs", "file")
    assert (code, told["error"]["message"]) == (3, f"{in_folder / 'file'} is a file, not a folder of runs")
    asked = ("-p", "identity", "-d", str(draw_dataset()), "--runs", "file", "--json")
    for command in ("plan", "train"):
        result = CliRunner().invoke(app, [command, *asked])
        messages = [each["message"] for each in json.loads(result.stdout)["findings"]]
        assert result.exit_code == 3
        assert f"no run directory can be made below {in_folder / 'file'}, which is a file" in messages
