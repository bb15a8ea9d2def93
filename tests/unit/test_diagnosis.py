"""From a log to one cause: every row by its own words, in a log full of noise."""

from __future__ import annotations

from pathlib import Path

import pytest
from diagnosis_document import document
from failure_logs import CUDA_MEMORY, LAUNCHER, LINES, NOISE, launched, whole_log

from lora_forge.errors import Diverged, ForgeError, InvalidInput, NoUsableLora, OutOfMemory
from lora_forge.families import load_family
from lora_forge.findings import error
from lora_forge.neutral import json_without_commands, neutral
from lora_forge.plan.smaller import Smaller
from lora_forge.runs.caches import damaged_caches, forget_caches, remove_damaged_caches
from lora_forge.runs.cause import cause_of, refusal
from lora_forge.runs.diagnosis import CAUSES, RECENT_LINES, Diagnosis, diagnose_lines
from lora_forge.runs.diagnosis_log import HEAD_BYTES, TAIL_BYTES, ended_well, read_log, seen_lines
from lora_forge.runs.diagnosis_run import Known, person_file
from lora_forge.runs.directory import RunDir
from lora_forge.runs.outcome import Outcome

DOCUMENT = Path(__file__).parents[2] / "docs" / "diagnosis.md"
EXAMPLES = [(code, line) for code, lines in LINES.items() for line in lines]
EXIT_CODES = {1, 3, 4, 5, 6, 7, 33}


def diagnosed(log: str) -> Diagnosis:
    found = diagnose_lines(seen_lines(log.encode()))
    assert found is not None
    return found


@pytest.mark.parametrize(("code", "line"), EXAMPLES, ids=[f"{code}-{n}" for n, (code, _) in enumerate(EXAMPLES)])
def test_each_cause_is_told_from_its_own_words(code: str, line: str) -> None:
    found = diagnosed(whole_log(line))
    assert found.code == code
    assert found.evidence.split() == line.split()


def test_every_cause_has_an_example_and_a_code_of_its_own() -> None:
    codes = [row.code for row in CAUSES]
    assert sorted(codes) == sorted(LINES)
    assert {row.error.exit_code for row in CAUSES} == EXIT_CODES


def test_every_cause_says_what_to_try_and_where_it_was_seen() -> None:
    for row in CAUSES:
        assert row.hint and row.source and row.seen in ("R", "S", "I"), row.code
        assert not row.what.endswith("."), row.code


def test_no_sentence_keeps_a_placeholder() -> None:
    for _, line in EXAMPLES:
        found = diagnosed(whole_log(line))
        assert "{" not in found.sentence + found.hint
        assert not found.sentence.endswith(":")


def test_the_document_is_written_from_the_table() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "scripts/show_diagnosis --write"


def test_a_log_of_noise_alone_names_no_cause() -> None:
    assert diagnose_lines(NOISE[:6]) is None


def test_what_a_launcher_raises_is_no_cause() -> None:
    assert diagnose_lines(LAUNCHER) is None


def test_the_last_failure_counts_not_one_long_before() -> None:
    between = ["steps: x"] * (RECENT_LINES + 1)
    found = diagnose_lines([CUDA_MEMORY, *between, "RuntimeError: shape mismatch"])
    assert found is not None and found.code == "failed"


def test_without_a_late_failure_an_old_one_still_speaks() -> None:
    found = diagnose_lines([CUDA_MEMORY, *["quiet"] * (RECENT_LINES + 1)])
    assert found is not None and found.code == "gpu-out-of-memory"


def test_a_picture_named_a_few_lines_before_its_exception_is_the_one() -> None:
    log = "Error loading file: /runs/a/dataset/01-p/00003-0123456789ab.png\n" + whole_log(
        "OSError: image file is truncated (119 bytes not processed)"
    )
    found = diagnosed(log)
    assert (found.code, found.file) == ("bad-image", "/runs/a/dataset/01-p/00003-0123456789ab.png")
    assert found.sentence == f"a picture cannot be read: {found.file} at step 400 of 2,000"


def test_a_path_that_was_wrapped_at_80_columns_is_one_path_again() -> None:
    wrapped = (
        "2026-01-01 09:35:26 ERROR    Error loading file:           train_util.py:2960\n"
        "                             /mnt/data/photographs/autumn/s\n"
        "                             et-two/0012.png               \n"
    )
    assert diagnosed(wrapped).file == "/mnt/data/photographs/autumn/set-two/0012.png"


def test_a_bar_that_overwrote_itself_counts_once() -> None:
    bar = b"".join(b"\rsteps: %d%%|#| %d/9 [00:01<00:01]" % (step * 11, step) for step in range(1, 9))
    assert len(seen_lines(b"begin\n" + bar + b"\nOSError: boom\n")) == 3


def test_the_step_is_read_from_the_bar() -> None:
    found = diagnosed(whole_log(CUDA_MEMORY))
    assert (found.step, found.total) == (400, 2000)
    assert found.sentence == "the GPU ran out of memory at step 400 of 2,000"


def test_a_training_that_ended_well_is_no_failure() -> None:
    log = [CUDA_MEMORY, "steps: 100%|####| 9/9 [00:01<00:00]", "model saved."]
    assert ended_well(log)
    assert not ended_well([*log, "Traceback (most recent call last):", "OSError: boom"])


def test_a_gigabyte_of_log_is_read_by_its_ends(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    with log.open("wb") as file:
        file.write(b"the first line\n")
        file.truncate(1 << 30)
        file.seek(0, 2)
        file.write(("\n" + whole_log(CUDA_MEMORY)).encode())
    lines = read_log(log)
    assert lines[0] == "the first line"
    assert sum(map(len, lines)) < 2 * (HEAD_BYTES + TAIL_BYTES)
    found = diagnose_lines(lines)
    assert found is not None and found.code == "gpu-out-of-memory"


def test_a_log_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no-such"):
        read_log(tmp_path / "no-such.log")


@pytest.mark.parametrize(
    "hostile",
    [
        "::error::pwned",
        "  ::set-output name=x::y",
        "##[command]x",
        "a ##vso[task.x]y",
        "##teamcity[x]",
        "\x1b]0;t\x07::add-mask::x",
    ],
)
def test_evidence_holds_no_command_for_a_ci_runner(hostile: str) -> None:
    found = diagnosed(whole_log(f"RuntimeError: {hostile}") + hostile + "\n")
    for text in (neutral(hostile), neutral(f"x\n{hostile}"), found.evidence, found.sentence):
        assert not any(line.lstrip().startswith("::") for line in text.splitlines())
        assert "##[" not in text and "##vso[" not in text and "##teamcity[" not in text
        assert "\x1b" not in text
    assert "##[" not in json_without_commands('"##[x]"')


def test_the_table_of_symptoms_gives_every_row_without_a_word_and_none_for_nonsense() -> None:
    from lora_forge.plan.symptoms import SYMPTOMS, loss_hint, symptoms_like

    flux, sdxl = load_family("flux"), load_family("sdxl")
    assert symptoms_like(None) == SYMPTOMS == symptoms_like("")
    assert symptoms_like("purple") == ()
    assert loss_hint(flux, None) == loss_hint(flux, 0.2) == ""
    assert "on FLUX" in loss_hint(flux, 0.1)
    assert loss_hint(sdxl, 0.1).endswith("no proof")


# What an outcome adds: the guest's word, the kernel's signal.


def outcome(**changes: object) -> Outcome:
    plain: dict[str, object] = {
        "exit_code": 1, "signal": None, "outcome": "vanished", "message": "", "last_step": 12, "total": 100,
        "wall_s": 1.0, "first_step_s": None, "evidence": (),
    }  # fmt: skip
    return Outcome(**{**plain, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "code", "exit_code"),
    [
        ({"signal": 11, "exit_code": None}, "segfault", 1),
        ({"signal": 7, "exit_code": None}, "bus-error", 1),
        ({"exit_code": 137}, "killed", 33),
        ({"exit_code": 137, "memory_kills": 1}, "killed-for-memory", 5),
        ({"memory_kills": 1, "evidence": ("RuntimeError: odd",)}, "failed", 1),
        ({"exit_code": 143}, "terminated", 33),
        ({"signal": 9, "exit_code": None, "evidence": ("OSError: [Errno 28] No space left",)}, "disk-full", 1),
        ({"signal": 9, "exit_code": None, "evidence": ("RuntimeError: odd",)}, "killed", 33),
        ({"signal": 9, "exit_code": None, "killed": True, "evidence": ("RuntimeError: odd",)}, "failed", 1),
        ({"outcome": "failed", "message": "OSError: [Errno 116] Stale file handle"}, "mount-lost", 33),
        ({"outcome": "out-of-memory", "message": "something new"}, "host-out-of-memory", 5),
        ({"outcome": "diverged", "message": "the loss is nan at step 2"}, "diverged", 6),
        ({"outcome": "no-data", "message": "the engine found no images to train on"}, "no-data", 7),
        ({"outcome": "failed", "message": "AssertionError: odd"}, "engine-assertion", 1),
        ({"exit_code": 3, "evidence": ("the last words",)}, "silent", 1),
    ],
)
def test_each_end_has_its_code(changes: dict[str, object], code: str, exit_code: int) -> None:
    found = cause_of(outcome(**changes))
    assert found is not None
    assert (found.code, found.exit_code) == (code, exit_code)
    assert found.message and found.hint


def test_what_the_guest_says_goes_before_what_the_log_holds() -> None:
    found = cause_of(outcome(outcome="failed", message="MemoryError", evidence=("OSError: [Errno 28] No space",)))
    assert found is not None and found.code == "host-out-of-memory"


def test_the_log_names_the_file_that_the_guests_word_does_not() -> None:
    said = ("Error loading file: /photos/12.png  train_util.py:2960", "OSError: image file is truncated")
    found = cause_of(outcome(outcome="failed", message="OSError: image file is truncated", evidence=said))
    assert found is not None and "/photos/12.png" in found.message


def test_the_evidence_travels_as_a_finding() -> None:
    found = cause_of(outcome(evidence=(launched("SIGSEGV: 11"),)))
    assert found is not None
    (finding,) = found.findings
    assert (finding.code, finding.severity.value) == ("segfault", "info")
    assert "SIGSEGV" in finding.message


def test_out_of_memory_offers_the_next_lever_as_a_setting() -> None:
    gpu, host = Smaller(("memory.blocks_to_swap=8",), "w", "c"), Smaller(("memory.cache_to_disk=true",), "w", "c")
    known = Known(gpu_levers=(gpu,), host_levers=(host,), uuid="u")
    on_gpu = cause_of(outcome(outcome="out-of-memory", message="CUDA out of memory. Tried"), known)
    on_host = cause_of(outcome(outcome="out-of-memory", message="MemoryError"), known)
    assert isinstance(on_gpu, OutOfMemory) and isinstance(on_host, OutOfMemory)
    assert on_gpu.smaller == ("memory.blocks_to_swap=8",) and "--set memory.blocks_to_swap=8" in on_gpu.hint
    assert on_host.smaller == ("memory.cache_to_disk=true",)
    assert on_gpu.run == "u"


def test_without_a_lever_the_general_advice_stands() -> None:
    found = cause_of(outcome(outcome="out-of-memory", message="CUDA out of memory"))
    assert isinstance(found, OutOfMemory) and found.smaller == () and found.hint


def test_a_diverged_training_is_told_its_own_learning_rate() -> None:
    from rule_cases import Case, plan_case

    from lora_forge.workflow.run_diagnosis import calmer

    def hint(**settings: object) -> str:
        changed = {
            f"optimizer.{key}" if key == "learning_rate" else f"precision.{key}": v for key, v in settings.items()
        }
        plan = plan_case(Case(changed, family="sdxl")).plan  # type: ignore[arg-type]
        known = Known(calmer=calmer(plan))
        found = cause_of(outcome(outcome="diverged", message="the loss is nan at step 2"), known)
        refused = refusal([error("lora-nan", "it")], known)
        assert found is not None and refused is not None and found.hint == refused.hint
        return found.hint

    assert hint(learning_rate=3e-4, mixed="bf16") == "--set optimizer.learning_rate=0.00015 (half of it)"
    assert hint(learning_rate=1.0, mixed="fp16").endswith("=0.5 (half of it), or --set precision.mixed=bf16")


def test_a_refused_lora_has_its_code() -> None:
    assert refusal([]) is None
    for code, expected, kind in (
        ("lora-missing", "no-output", NoUsableLora),
        ("lora-rank", "no-usable-lora", NoUsableLora),
        ("lora-nan", "diverged", Diverged),
    ):
        found = refusal([error(code, "it")])
        assert type(found) is kind and found.code == expected


# What a run adds: the person's own file, and caches that may be removed.


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    folder = tmp_path / "runs" / "a-001"
    (folder / "dataset" / "01-p").mkdir(parents=True)
    (folder / "ledger.jsonl").touch()
    return RunDir(folder)


def test_a_staged_name_leads_back_to_the_persons_own_file(run: RunDir, tmp_path: Path) -> None:
    own = tmp_path / "my photos" / "jeff 12.png"
    own.parent.mkdir()
    own.write_bytes(b"x")
    link = run.dataset / "01-p" / "00003-0123456789ab.png"
    link.symlink_to(own)
    assert person_file(str(link)) == str(own)
    assert person_file("00003-0123456789ab.png", run) == str(own)
    assert person_file(str(link.with_name("00003-0123456789ab_0768x0768_flux.npz"))) == str(own)
    assert person_file("/elsewhere/12.png", run) == "/elsewhere/12.png"
    assert person_file("00009-0123456789ab.png", run) == "00009-0123456789ab.png"


def npz(path: Path) -> Path:
    import numpy as np

    np.savez(path, latents=np.arange(400.0))
    return path


def test_only_damaged_caches_of_the_runs_own_staging_folder_are_removed(run: RunDir, tmp_path: Path) -> None:
    folder = run.dataset / "01-p"
    good, cut, flipped = (npz(folder / f"{name}.npz") for name in ("good", "cut", "flipped"))
    cut.write_bytes(cut.read_bytes()[:300])
    data = bytearray(flipped.read_bytes())
    data[900] ^= 1
    flipped.write_bytes(data)
    (folder / "empty.npz").touch()
    own = tmp_path / "own.npz"
    own.write_bytes(b"a person's own, damaged")
    (folder / "linked.npz").symlink_to(own)
    (folder / "1.txt").write_text("a caption")
    assert damaged_caches(run) == (cut, folder / "empty.npz", flipped)
    assert remove_damaged_caches(run) == (cut, folder / "empty.npz", flipped)
    assert good.exists() and own.exists() and (folder / "linked.npz").is_symlink() and (folder / "1.txt").exists()
    assert damaged_caches(run) == ()
    forget_caches(run)
    assert not good.exists()
    assert own.exists() and (folder / "linked.npz").is_symlink() and (folder / "1.txt").exists()


def test_what_lies_in_a_dataset_folder_that_is_no_runs_is_never_removed(run: RunDir) -> None:
    (run.path / "ledger.jsonl").unlink()
    own = run.dataset / "01-p" / "own.npz"
    own.write_bytes(b"a person's own, no archive")
    assert remove_damaged_caches(run) == ()
    forget_caches(run)
    assert own.exists()


@pytest.mark.parametrize("log", ["/dev/zero", "."])
def test_what_is_no_file_is_no_log(log: str) -> None:
    with pytest.raises(InvalidInput, match="is no file"):
        read_log(Path(log))


def test_a_staging_folder_that_leads_elsewhere_is_left_alone(run: RunDir, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.npz").write_bytes(b"junk")
    (run.dataset / "02-q").symlink_to(elsewhere)
    assert remove_damaged_caches(run) == ()
    assert (elsewhere / "x.npz").exists()


def test_an_error_keeps_the_code_of_its_kind_unless_told() -> None:
    assert (OutOfMemory("m").code, OutOfMemory("m", code="x").code, ForgeError("m").code) == (
        "out-of-memory", "x", "failed",
    )  # fmt: skip
