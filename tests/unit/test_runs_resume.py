"""Going on: only from what the ledger vouches for, and only as the same training."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_forge.presets.loader import parse_set
from lora_forge.runs.commit import describe_file
from lora_forge.runs.directory import RunDir
from lora_forge.runs.ledger import Ledger, new_ledger
from lora_forge.runs.prune import prune_states, sweep_states
from lora_forge.runs.record import as_json, fold
from lora_forge.runs.resume import (
    choose_state,
    dataset_differences,
    is_sound,
    plan_differences,
    settings_since,
    shown,
    vram_since,
    way_out,
)
from lora_forge.runs.staging import StagedFile


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


@pytest.fixture
def ledger(run: RunDir) -> Ledger:
    """A run with states at steps 3, 6 and 9."""
    ledger = new_ledger(run.path)
    ledger.append("run", uuid="u", name="jeff", steps=12, plan_sha256="p")
    for step in (3, 6, 9):
        save_state(run, ledger, step)
    return ledger


def save_state(run: RunDir, ledger: Ledger, step: int) -> Path:
    folder = run.states / f"step{step:08d}"
    folder.mkdir(parents=True)
    for name in ("optimizer.bin", "random_states_0.pkl"):
        (folder / name).write_bytes(name.encode() + bytes([step]) * 100)
    files = as_json(describe_file(path, folder) for path in sorted(folder.iterdir()))
    ledger.append("state", step=step, attempt=1, name=folder.name, files=files)
    return folder


def chosen(run: RunDir, ledger: Ledger) -> tuple[int | None, list[int]]:
    choice = choose_state(run.states, fold(run.path, ledger.records))
    return choice.state.step if choice.state else None, [state.step for state in choice.damaged]


def test_the_newest_sound_state_is_taken(run: RunDir, ledger: Ledger) -> None:
    assert chosen(run, ledger) == (9, [])


def test_a_damaged_state_is_passed_over_for_the_one_before(run: RunDir, ledger: Ledger) -> None:
    (run.states / "step00000009" / "optimizer.bin").write_bytes(b"")
    assert chosen(run, ledger) == (6, [9])
    (run.states / "step00000006" / "random_states_0.pkl").unlink()
    assert chosen(run, ledger) == (3, [9, 6])


def test_an_extra_file_in_a_state_is_not_vouched_for(run: RunDir, ledger: Ledger) -> None:
    (run.states / "step00000009" / "extra.pkl").write_bytes(b"planted")
    assert chosen(run, ledger) == (6, [9])


def test_a_link_in_a_state_is_not_vouched_for(run: RunDir, ledger: Ledger, tmp_path: Path) -> None:
    file = run.states / "step00000009" / "optimizer.bin"
    file.rename(tmp_path / "same.bin")
    file.symlink_to(tmp_path / "same.bin")
    assert chosen(run, ledger) == (6, [9])
    (run.states / "step00000006").rename(tmp_path / "moved")
    (run.states / "step00000006").symlink_to(tmp_path / "moved")
    assert chosen(run, ledger) == (3, [9, 6])


def test_without_a_sound_state_it_begins_anew(run: RunDir, ledger: Ledger) -> None:
    for folder in run.states.iterdir():
        (folder / "optimizer.bin").unlink()
    assert chosen(run, ledger) == (None, [9, 6, 3])


def test_the_last_two_states_are_kept(run: RunDir, ledger: Ledger) -> None:
    assert [state.step for state in prune_states(run, ledger)] == [3]
    assert sorted(path.name for path in run.states.iterdir()) == ["step00000006", "step00000009"]
    assert [state.step for state in fold(run.path, ledger.records).states] == [6, 9]


def test_a_state_is_let_go_of_before_it_goes(run: RunDir, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        prune_states(run, ledger)
    monkeypatch.undo()
    assert chosen(run, ledger) == (9, []), "what the ledger still names is all there"
    assert sweep_states(run, ledger) == ("step00000003",)


def test_what_lies_among_the_states_without_a_record_is_swept(run: RunDir, ledger: Ledger, tmp_path: Path) -> None:
    person = tmp_path / "person"
    person.mkdir()
    (run.states / ".step00000012.partial").mkdir()
    (run.states / "step00000012").symlink_to(person)
    assert sweep_states(run, ledger) == (".step00000012.partial", "step00000012")
    assert person.is_dir(), "a link is removed, not what it leads to"
    assert chosen(run, ledger) == (9, [])


def test_a_missing_folder_is_not_sound(run: RunDir, ledger: Ledger) -> None:
    state = fold(run.path, ledger.records).states[0]
    assert not is_sound(run.states / "nowhere", state)


def leaf(value: object) -> dict[str, object]:
    return {"value": value, "source": "CLI", "why": "", "where": ""}


@pytest.mark.parametrize(
    ("key", "breaks"),
    [
        ("network.rank", True),
        ("schedule.steps", True),
        ("schedule.batch_size", True),
        ("data.resolution", True),
        ("optimizer.name", True),
        ("seed", True),
        ("schedule.checkpoint_every", False),
        ("sampling.prompts", False),
        ("memory.blocks_to_swap", False),
        ("memory.cache_latents", True),
        ("precision.mixed", True),
    ],
)
def test_only_what_bears_on_no_number_may_change(key: str, breaks: bool) -> None:
    section, _, name = key.rpartition(".")

    def plan(value: int) -> dict[str, object]:
        return {section: {name: leaf(value)}} if section else {name: leaf(value)}

    (found,) = plan_differences(plan(1), plan(2))
    assert (found.key, found.before, found.after, found.breaks) == (key, 1, 2, breaks)


def test_another_source_of_the_same_value_is_no_difference() -> None:
    assert plan_differences({"seed": leaf(42)}, {"seed": {**leaf(42), "source": "PRESET"}}) == ()


def plan(**leaves: tuple[object, str]) -> dict[str, object]:
    """A plan of the memory and the samples, ``section__key=(value, source)``."""
    tree: dict[str, object] = {}
    for name, (value, source) in leaves.items():
        section, _, key = name.partition("__")
        tree.setdefault(section, {})[key] = {"value": value, "source": source}  # type: ignore[index]
    return tree


def test_what_a_person_or_a_retry_changed_since_is_asked_for_again() -> None:
    begun = plan(
        memory__gradient_checkpointing=(False, "CLI"),
        memory__blocks_to_swap=(None, "DEFAULT"),
        memory__cache_to_disk=(False, "DEFAULT"),
        sampling__prompts=(["a"], "DEFAULT"),
        network__rank=(8, "CLI"),
    )
    last = plan(
        memory__gradient_checkpointing=(True, "CLI"),
        memory__blocks_to_swap=(22, "MACHINE"),
        memory__cache_to_disk=(False, "CLI"),
        sampling__prompts=(["über, b", "{c}: 'd'"], "PROJECT"),
        network__rank=(8, "CLI"),
    )
    said = dict(map(parse_set, settings_since(begun, last)))
    assert {key: written.value for key, written in said.items()} == {
        "memory.gradient_checkpointing": True,
        "sampling.prompts": ["über, b", "{c}: 'd'"],
    }
    assert settings_since(begun, begun) == ()


def test_samples_that_were_turned_off_stay_off() -> None:
    on = plan(sampling__every=(100, "DEFAULT"), sampling__seed=(42, "DEFAULT"), sampling__prompts=(["a"], "DEFAULT"))
    off = plan(sampling__every=(None, "CLI"), sampling__seed=(None, "CLI"), sampling__prompts=([], "CLI"))
    assert settings_since(on, off) == ("sampling.enabled=false",)


def test_a_card_that_was_named_since_is_named_again_and_a_found_one_is_not() -> None:
    found, named = {"vram_gib": {**leaf(79.2), "source": "MACHINE"}}, {"vram_gib": leaf(12.0)}
    assert (vram_since(found, named), vram_since(named, found), vram_since(named, named)) == (12, None, None)


def file(name: str = "01-a/00001-x.png", sha256: str = "a", caption: str | None = "c") -> StagedFile:
    return StagedFile(name, 10, sha256 * 64, caption)


def test_pictures_and_captions_are_compared_by_content() -> None:
    assert dataset_differences([file()], [file()]) == ()
    assert "picture" in shown(dataset_differences([file()], [file(sha256="b")]))
    assert "caption" in shown(dataset_differences([file()], [file(caption="d")]))
    (count,) = dataset_differences([file()], [file(), file("2")])
    assert str(count) == "dataset images was 1, now 2"


def test_a_folders_other_name_is_said_once_and_how_to_go_on() -> None:
    before = [file(f"01-10_a/{place}.png") for place in "12"]
    (found,) = dataset_differences(before, [file(f"01-5_a/{place}.png") for place in "12"])
    assert str(found) == "dataset folder was '10_a', now '5_a'"
    assert way_out([found]).startswith("go on as it was begun, its folders named as they were, or")


def test_many_differences_are_counted_not_listed() -> None:
    before, after = ([file(f"01-a/{place}.png", sha256) for place in range(20)] for sha256 in "ab")
    many = dataset_differences(before, after)
    assert shown(many).endswith("; and 14 more")
