"""``forge diagnose`` as a script or a person calls it, and the hand-over message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from failure_logs import CUDA_MEMORY, whole_log
from rule_cases import Case, plan_case
from typer.testing import CliRunner

from lora_forge.cli.app import app
from lora_forge.cli.handover import Handover, handover_rows, nearest_checkpoints
from lora_forge.plan.symptoms import CANONICAL_RULE, SYMPTOMS

PRESETS = Path(__file__).parents[2] / "docs" / "presets.md"


def forge(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["diagnose", *arguments])
    return result.exit_code, result.output


def asked(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["diagnose", *arguments, "--json"])
    answer = json.loads(result.stdout)
    assert answer["ok"] == (result.exit_code == 0), result.output
    assert isinstance(answer, dict)
    return answer


@pytest.fixture
def failed_run(in_folder: Path) -> Path:
    """A run whose trainer ran out of GPU memory at its second step."""
    folder = in_folder / "runs" / "jeff-001"
    (folder / "dataset").mkdir(parents=True)
    plan = plan_case(Case(preset="high-fidelity", images=23)).plan
    (folder / "plan.json").write_text(plan.model_dump_json())
    stamp = {"wall": 1.0, "mono": 1.0}
    events = [
        {"event": "start", "pid": 1, "engine": "flux_train_network"},
        {"event": "end", "outcome": "failed", "message": "OSError: an earlier start", "step": 0},
        {"event": "start", "pid": 2, "engine": "flux_train_network"},
        *({"event": "step", "step": n, "total": 2500, "epoch": 1, "loss": 0.15, "lr": {}} for n in (1, 2)),
        {"event": "end", "outcome": "out-of-memory", "message": CUDA_MEMORY.partition(": ")[2], "step": 2},
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps({**stamp, **event}) + "\n" for event in events))
    (folder / "engine.log").write_text(whole_log(CUDA_MEMORY))
    return folder


def test_a_run_without_a_readable_plan_is_still_diagnosed(failed_run: Path) -> None:
    (failed_run / "plan.json").write_text("{}")
    found = asked(str(failed_run))["data"]["diagnosis"]
    assert found["code"] == "gpu-out-of-memory"
    assert found["try"].startswith("--set memory.blocks_to_swap=16 (FLUX)"), "the general advice"
    code, text = forge("--symptom", "waxy", str(failed_run))
    assert code == 3
    assert "holds no plan" in text


def test_one_target_or_a_symptom_is_wanted(in_folder: Path) -> None:
    assert forge()[0] == 2
    assert forge("a.log", "b.log")[0] == 2


def test_any_log_is_diagnosed(in_folder: Path) -> None:
    (in_folder / "their.log").write_text(whole_log("OSError: [Errno 28] No space left on device"))
    found = asked("their.log")["data"]
    assert (found["state"], found["run"]) == ("failed", None)
    assert found["diagnosis"] == {
        "code": "disk-full",
        "cause": "the disk is full at step 400 of 2,000",
        "evidence": "OSError: [Errno 28] No space left on device",
        "try": "free some space (`df -h` shows where), or --run-dir DIR on another disk",
        "exit_code": 1,
        "file": None,
        "step": 400,
        "steps": 2000,
    }


@pytest.mark.parametrize("name", ["jeff-001", "runs/jeff-001"])
def test_a_run_is_diagnosed_by_name_or_path_from_its_last_start(failed_run: Path, name: str) -> None:
    found = asked(name)["data"]["diagnosis"]
    assert (found["code"], found["exit_code"], found["step"], found["steps"]) == ("gpu-out-of-memory", 5, 2, 2500)
    assert found["try"].startswith("--set memory.blocks_to_swap=8 (")


def test_a_person_reads_cause_evidence_and_what_to_try(failed_run: Path) -> None:
    code, text = forge("jeff-001")
    assert code == 0
    first, cause, evidence, remedy = text.splitlines()[:4]
    assert first == "gpu-out-of-memory (exit code 5)"
    assert cause.split(maxsplit=1) == ["cause", "the GPU ran out of memory at step 2 of 2,500"]
    assert evidence.split(maxsplit=1)[1].startswith("CUDA out of memory. Tried to allocate 2.25 GiB")
    assert remedy.split(maxsplit=1)[1].endswith("--retry-smaller does it")


def test_a_vanished_trainer_is_diagnosed_from_its_log(failed_run: Path) -> None:
    (failed_run / "events.jsonl").unlink()
    assert asked("jeff-001")["data"]["diagnosis"]["code"] == "gpu-out-of-memory"


def test_damaged_caches_are_shown_and_removed_only_when_asked(failed_run: Path) -> None:
    (failed_run / "ledger.jsonl").touch()
    cache = failed_run / "dataset" / "00001-0123456789ab_0768x0768_flux.npz"
    cache.write_bytes(b"junk")
    (shown,) = [finding for finding in asked("jeff-001")["findings"] if finding["code"] == "cache-damaged"]
    assert shown["where"] == str(cache) and "--mend" in shown["hint"]
    assert cache.exists()
    assert [finding["code"] for finding in asked("jeff-001", "--mend")["findings"]][-1] == "cache-removed"
    assert not cache.exists()


def test_a_run_that_was_never_started_says_so(in_folder: Path) -> None:
    (in_folder / "runs" / "empty").mkdir(parents=True)
    code, text = forge("empty")
    assert code == 3
    assert "nothing was started" in text


def test_what_is_not_there_is_named(in_folder: Path) -> None:
    code, text = forge("nothing.log")
    assert code == 3
    assert "nothing.log" in text


def test_a_log_without_an_error_says_that_it_names_none(in_folder: Path) -> None:
    (in_folder / "fine.log").write_text("prepare tokenizers\nsteps: 10%|#| 1/10 [00:01<00:09]\n")
    assert asked("fine.log")["data"]["state"] == "not recognised"
    (in_folder / "done.log").write_text("steps: 100%|#| 10/10 [00:01<00:00]\nmodel saved.\n")
    assert asked("done.log")["data"]["state"] == "ended well"
    assert forge("done.log")[1] == f"{in_folder / 'done.log'}: ended well\n"
    assert "read its last lines" in forge("fine.log")[1]


@pytest.mark.parametrize("json_too", [(), ("--json",)])
def test_a_log_cannot_give_orders_to_a_ci_runner(in_folder: Path, json_too: tuple[str, ...]) -> None:
    hostile = "RuntimeError: x\n::error::a\n  ::set-env name=b::c\nRuntimeError: ##[error]d\r::error::e\x1b[2J"
    (in_folder / "::error::name.log").write_text(hostile)
    _, text = forge("::error::name.log", *json_too)
    assert not any(line.lstrip().startswith("::") for line in text.splitlines())
    assert "##[" not in text
    assert "\x1b" not in text


# The table of symptoms.


def test_the_table_is_that_of_the_documentation() -> None:
    text = PRESETS.read_text(encoding="utf-8")
    section = text[text.index("## When the result disappoints") : text.index("Signs of over-fitting")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    assert rows[2:] == [[row.seen, row.cause, row.remedy] for row in SYMPTOMS]
    assert CANONICAL_RULE in text


def test_without_a_word_the_whole_table_is_shown(in_folder: Path) -> None:
    assert [row["word"] for row in asked("--symptom")["data"]["symptoms"]] == [row.word for row in SYMPTOMS]


@pytest.mark.parametrize("order", [("waxy", "jeff-001"), ("jeff-001", "waxy")])
def test_a_row_stands_beside_the_runs_own_figures(failed_run: Path, order: tuple[str, str]) -> None:
    data = asked("--symptom", *order)["data"]
    (row,) = data["symptoms"]
    assert row["figures"] == {"noise_offset": "0.1, without effect on FLUX.1", "rank": "64", "repeats": "1"}
    assert data["loss_hint"].startswith("smoothed loss 0.150: a smoothed loss under 0.2 is a hint")
    assert data["loss_hint"].endswith("on FLUX its scale says little")


def test_the_steps_to_try_come_from_the_runs_own(failed_run: Path) -> None:
    (row,) = asked("--symptom", "weak", "jeff-001")["data"]["symptoms"]
    assert row["settings"] == ["schedule.steps=3800"]
    assert row["figures"]["alpha_per_rank"] == "1 (64/64)"
    assert asked("--symptom", "weak", "nothing-of-it")["ok"] is False
    _, text = forge("--symptom", "weak", "jeff-001")
    assert "--set schedule.steps=3800" in text
    assert "steps per image" in text and CANONICAL_RULE in text


def test_a_word_that_no_row_knows_is_answered_with_those_that_are(in_folder: Path) -> None:
    code, text = forge("--symptom", "purple")
    assert code == 3
    assert "waxy" in text


# Handing over.


def finished(**changes: object) -> Handover:
    names = [f"ohwx-identity-step{step:08d}.safetensors" for step in (500, 1000, 1500)]
    plain: dict[str, object] = {
        "lora": Path("/runs/a/output/ohwx-identity.safetensors"),
        "size_bytes": 153_158_240,
        "steps": 2000,
        "subject": "identity",
        "trigger": "ohwx",
        "checkpoints": [Path("/runs/a/output") / name for name in names],
        "samples": Path("/runs/a/samples"),
        "loss_hint": "smoothed loss 0.150: a hint",
    }
    return Handover(**{**plain, **changes})  # type: ignore[arg-type]


def test_the_handover_says_all_that_is_needed_to_use_the_lora() -> None:
    assert handover_rows(finished()) == [
        ("LoRA", "/runs/a/output/ohwx-identity.safetensors (153.2 MB)"),
        ("copy it to", "models/Lora (WebUI) or models/loras (ComfyUI)"),
        ("prompt tag", "<lora:ohwx-identity:0.8> with ohwx in the prompt"),
        ("strength", "0.5 to 1.0"),
        ("two at once", "<lora:ohwx-identity:0.8> <lora:STYLE:0.6>: an identity at 0.8, a style at 0.6"),
        (
            "compare",
            "ohwx-identity-step00000500.safetensors (25 %), ohwx-identity-step00001000.safetensors (50 %), "
            "ohwx-identity.safetensors (100 %); the last is not always the best",
        ),
        ("pictures", "/runs/a/samples, by prompt and step"),
        ("loss", "smoothed loss 0.150: a hint"),
    ]


def test_a_style_is_handed_over_as_a_style() -> None:
    rows = dict(handover_rows(finished(subject="style", trigger=None)))
    assert rows["strength"].startswith("0.7 to 1.0")
    assert rows["two at once"].startswith("<lora:IDENTITY:0.8> <lora:ohwx-identity:0.6>")
    assert rows["prompt tag"] == "<lora:ohwx-identity:0.8>"


def test_what_a_run_has_not_is_not_spoken_of() -> None:
    rows = dict(handover_rows(finished(checkpoints=(), samples=None, loss_hint="")))
    assert not rows.keys() & {"compare", "pictures", "loss"}


@pytest.mark.parametrize(
    ("steps", "every", "nearest"), [(2000, 250, [500, 1250, 2000]), (600, 100, [200, 400, 600]), (300, 250, [250, 300])]
)
def test_the_files_nearest_to_30_60_and_100_percent_are_named(steps: int, every: int, nearest: list[int]) -> None:
    saved = [Path(f"x-step{step:08d}.safetensors") for step in range(every, steps, every)]
    assert [step for step, _ in nearest_checkpoints(finished(steps=steps, checkpoints=saved))] == nearest


def test_of_two_files_at_the_last_step_the_finished_one_is_named() -> None:
    last = Path("x-step00002000.safetensors")
    assert nearest_checkpoints(finished(checkpoints=[last]))[-1][1] == finished().lora


def test_words_between_colons_are_no_pictures(in_folder: Path) -> None:
    (in_folder / "a.log").write_text("RuntimeError: in :warning: of :smile:\n")
    assert "in :warning: of :smile:" in forge("a.log")[1]


@pytest.mark.parametrize(
    ("content", "state", "hint"),
    [
        (b"", "empty", "name another log"),
        (b"\n \n", "empty", "name another log"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "not a text", "name the engine's log"),
        (b"steps: 1/9\n", "not recognised", "read its last lines"),
    ],
)
def test_what_is_no_log_is_called_what_it_is(in_folder: Path, content: bytes, state: str, hint: str) -> None:
    (in_folder / "odd.log").write_bytes(content)
    assert asked("odd.log")["data"]["state"] == state
    assert hint in forge("odd.log")[1]


def test_a_log_that_ends_in_zeros_still_tells_what_it_told(in_folder: Path) -> None:
    (in_folder / "cut.log").write_bytes(whole_log(CUDA_MEMORY).encode() + b"\0" * 9000)
    assert asked("cut.log")["data"]["diagnosis"]["code"] == "gpu-out-of-memory"


def test_the_evidence_of_a_run_is_printed_once(failed_run: Path) -> None:
    evidence = asked(str(failed_run))["data"]["diagnosis"]["evidence"]
    assert evidence
    assert forge(str(failed_run))[1].count(evidence) == 1
