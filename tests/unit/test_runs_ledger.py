"""The ledger: whole or not at all, and believed only as far as it is sound."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lora_forge.runs.ledger as ledger_module
from lora_forge.errors import ForgeError, InvalidInput
from lora_forge.runs.commit import describe_file, is_as_recorded, place_file, write_whole
from lora_forge.runs.ledger import LEDGER, MIRROR, Ledger, Reading, new_ledger, open_ledger, read_ledger
from lora_forge.runs.record import fold, read_run

RUN = {"uuid": "0b5c-whole", "name": "jeff", "steps": 12, "plan_sha256": "p"}


def filled(folder: Path, count: int = 4) -> Ledger:
    ledger = Ledger(folder, Reading((), b"", damaged=False), clock=lambda: 1.5)
    ledger.append("run", **RUN)
    for number in range(1, count):
        ledger.append("note", number=number, text='Zeile\nmit "Anführung" und 猫')
    return ledger


def test_what_was_appended_is_read_back_in_order(tmp_path: Path) -> None:
    filled(tmp_path)
    reading = read_ledger(tmp_path)
    assert [(record.seq, record.kind) for record in reading.records] == [
        (1, "run"),
        (2, "note"),
        (3, "note"),
        (4, "note"),
    ]
    assert not reading.damaged
    assert open_ledger(tmp_path).append("note", number=4).seq == 5


def test_each_line_is_plain_json_with_its_version(tmp_path: Path) -> None:
    filled(tmp_path)
    for line in (tmp_path / LEDGER).read_text().splitlines():
        assert json.loads(line)["v"] == 1


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A ledger's text, for both its files."""
    folder = tmp_path_factory.mktemp("text")
    filled(folder)
    return (folder / LEDGER).read_bytes()


@pytest.mark.parametrize("name", [LEDGER, MIRROR])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_changed_bit_is_noticed_and_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, name: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    for each in (LEDGER, MIRROR):
        (folder / each).write_bytes(text)
    sound = read_ledger(folder).records
    content = bytearray(text)
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    (folder / name).write_bytes(content)
    reading = read_ledger(folder)
    assert reading.damaged
    assert reading.records == sound


def test_a_lost_last_line_is_noticed_by_the_mirror(tmp_path: Path) -> None:
    filled(tmp_path)
    lines = (tmp_path / LEDGER).read_bytes().splitlines(keepends=True)
    (tmp_path / LEDGER).write_bytes(b"".join(lines[:-1]))
    reading = read_ledger(tmp_path)
    assert reading.damaged
    assert len(reading.records) == len(lines)


def test_both_copies_damaged_leave_the_longer_sound_beginning(tmp_path: Path) -> None:
    filled(tmp_path)
    for name, cut in ((LEDGER, 2), (MIRROR, 3)):
        lines = (tmp_path / name).read_bytes().splitlines(keepends=True)
        (tmp_path / name).write_bytes(b"".join(lines[:cut]) + b"garbage")
    reading = read_ledger(tmp_path)
    assert reading.damaged
    assert len(reading.records) == 3


def test_lines_taken_from_another_ledger_are_not_believed(tmp_path: Path) -> None:
    for name, count in (("a", 3), ("b", 4)):
        (tmp_path / name).mkdir()
        ledger = new_ledger(tmp_path / name)
        ledger.append("run", **{**RUN, "uuid": name})
        for number in range(1, count):
            ledger.append("note", number=number)
    own = (tmp_path / "a" / LEDGER).read_bytes().splitlines(keepends=True)
    other = (tmp_path / "b" / LEDGER).read_bytes().splitlines(keepends=True)
    (tmp_path / "a" / LEDGER).write_bytes(b"".join([*own, other[-1]]))
    assert len(read_ledger(tmp_path / "a").records) == 3


def test_a_mirror_one_record_behind_is_no_damage(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    before = (tmp_path / MIRROR).read_bytes()
    ledger.append("note", number=9)
    (tmp_path / MIRROR).write_bytes(before)  # killed between the two writes
    reading = read_ledger(tmp_path)
    assert not reading.damaged
    assert len(reading.records) == 5


def test_a_damaged_ledger_is_mended_by_the_next_record(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / LEDGER).write_bytes(b"")
    open_ledger(tmp_path).append("note", number=9)
    reading = read_ledger(tmp_path)
    assert not reading.damaged
    assert len(reading.records) == 5


@pytest.mark.parametrize("at", [1, 3])
def test_a_newer_forges_ledger_is_no_damage_and_is_left_alone(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, at - 1) if at > 1 else None
    with monkeypatch.context() as newer:
        newer.setattr(ledger_module, "VERSION", 2)
        ledger = Ledger(tmp_path, Reading((), b"", damaged=False)) if at == 1 else _reopened(tmp_path, newer)
        ledger.append("run", **RUN)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InvalidInput, match="written by a newer forge: version 2"):
        open_ledger(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def _reopened(folder: Path, newer: pytest.MonkeyPatch) -> Ledger:
    newer.setattr(ledger_module, "VERSION", 1)
    ledger = open_ledger(folder)
    newer.setattr(ledger_module, "VERSION", 2)
    return ledger


def test_a_folder_without_a_ledger_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no run of forge"):
        read_ledger(tmp_path)
    (tmp_path / LEDGER).write_bytes(b"{}\n")
    with pytest.raises(InvalidInput, match="damaged beyond its first line"):
        read_ledger(tmp_path)


def test_threads_may_append_together(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 1)
    threads = [threading.Thread(target=lambda: ledger.append("note", number=1)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record.seq for record in read_ledger(tmp_path).records] == list(range(1, 10))


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = filled(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(ForgeError, match="No space left on device") as told:
        ledger.append("note", number=9)
    assert (told.value.code, told.value.exit_code) == ("disk-full", 1)
    monkeypatch.undo()
    assert ledger.append("note", number=10).seq == 5


def test_the_clock_orders_nothing(tmp_path: Path) -> None:
    times = iter([2e9, 1e9, 3e9])
    ledger = Ledger(tmp_path, Reading((), b"", damaged=False), lambda: next(times))
    ledger.append("run", **RUN)
    for step in (3, 6):
        ledger.append("state", step=step, attempt=1, name=f"step{step:08d}", files=[])
    assert [state.step for state in fold(tmp_path, ledger.records).states] == [3, 6]


def test_a_dropped_state_is_gone_until_it_is_made_again(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 1)
    for kind, more in (("state", {"step": 3, "attempt": 1, "files": []}), ("state-dropped", {"why": "old"})):
        ledger.append(kind, name="step00000003", **more)
    assert read_run(tmp_path).states == ()
    ledger.append("state", name="step00000003", step=3, attempt=2, files=[])
    assert [state.attempt for state in read_run(tmp_path).states] == [2]


def test_a_placed_file_outlives_the_attempt_that_made_it(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"weights")
    place_file(source, target)
    source.unlink()
    assert target.read_bytes() == b"weights"


def test_files_are_copied_where_hard_links_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    (tmp_path / "a").write_bytes(b"weights")
    place_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"weights"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_link_in_the_place_of_a_file_is_not_what_was_committed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    record = describe_file(tmp_path / "a", tmp_path)
    assert is_as_recorded(tmp_path, record)
    (tmp_path / "a").rename(tmp_path / "other")
    (tmp_path / "a").symlink_to("other")
    assert not is_as_recorded(tmp_path, record)


def test_what_a_killed_writer_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".it.pending").write_bytes(b"half of a much longer text")
    write_whole(tmp_path / "it", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
    assert (tmp_path / "it").read_bytes() == b"whole"
