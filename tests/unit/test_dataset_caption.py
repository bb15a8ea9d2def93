"""Captions: what a template, a sheet or a command makes, and what is never touched."""

from __future__ import annotations

import csv
import io
import os
import shlex
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lora_forge.datasets.captioning import (
    Change,
    Proposal,
    Target,
    apply_proposals,
    check_template,
    fill_template,
    list_targets,
)
from lora_forge.datasets.captioning_command import caption_by_command, parse_command
from lora_forge.datasets.captioning_sheet import Row, guarded, read_sheet, unguarded, write_sheet
from lora_forge.datasets.captioning_wd14 import check_tagger, tag_images
from lora_forge.datasets.fixing_captions import one_line
from lora_forge.datasets.scan import scan_dataset
from lora_forge.errors import DatasetError, EngineError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (64, 64)).save(folder / f"{name}.png")
    (folder / "a.txt").write_text("ohwx, by hand\n")
    return folder


def targets(root: Path) -> list[Target]:
    return list_targets(scan_dataset(root, caption_extension=".txt")[0], ".txt")[0]


def target(before: str | None = None, folder: str = "/photos") -> Target:
    return Target("a.png", Path(folder) / "a.png", Path(folder) / "a.txt", before, "ohwx man")


def apply(proposals: list[Proposal], *, overwrite: bool = False, dry_run: bool = False) -> list[Change]:
    return list(apply_proposals(proposals, overwrite=overwrite, dry_run=dry_run))


@pytest.mark.parametrize(
    ("template", "caption", "text"),
    [
        ("{trigger}, a man standing outdoors", None, "ohwx, a man standing outdoors"),
        ("{class_tokens} in {folder}/{stem}", None, "ohwx man in photos/a"),
        ("{trigger}, {caption}", "a man", "ohwx, a man"),
        ("{trigger}, {caption}", "ohwx, a man", "ohwx, a man"),
        ("{trigger}, {caption} outdoors", "ohwx, a man", "ohwx, a man outdoors"),
        ("{trigger} {caption}", "ohwxes", "ohwx ohwxes"),
        ("{caption}, in {trigger} style", "a house, in ohwx style", "a house, in ohwx style"),
        ("  {trigger} ,\n two   spaces ", None, "ohwx , two spaces"),
        ("{caption}", "{trigger} {stem}", "{trigger} {stem}"),
    ],
)
def test_a_template_is_filled_once(template: str, caption: str | None, text: str) -> None:
    check_template(template, "ohwx")
    assert fill_template(template, target(), "ohwx", caption).after == text


@pytest.mark.parametrize("template", ["{nmae}", "{}", "{trigger.__class__}", " ", "{0}"])
def test_a_template_that_names_something_unknown_is_refused(template: str) -> None:
    with pytest.raises(DatasetError):
        check_template(template, "ohwx")


def test_a_template_that_needs_a_trigger_is_refused_without_one() -> None:
    with pytest.raises(DatasetError, match="needs a trigger"):
        check_template("{trigger}, a man", None)


def test_an_existing_caption_is_kept_until_somebody_says_overwrite(root: Path) -> None:
    wanted = [Proposal(each, "new words") for each in targets(root)]
    changes = apply(wanted)
    assert [change.action for change in changes] == ["kept", "new", "new"]
    assert (root / "a.txt").read_text() == "ohwx, by hand\n"
    changes = apply([Proposal(each, "new words") for each in targets(root)], overwrite=True)
    assert [change.action for change in changes] == ["changed", "same", "same"]
    assert changes[0].before == "ohwx, by hand"
    assert (root / "a.txt").read_bytes() == b"new words\n"


def test_a_caption_that_cannot_be_read_is_no_missing_one(root: Path) -> None:
    (root / "b.txt").write_bytes("café".encode("cp1252"))
    (root / "c.txt").touch()
    changes = apply([Proposal(each, "new words") for each in targets(root)])
    assert [change.action for change in changes] == ["kept", "kept", "new"]
    assert (root / "b.txt").read_bytes() == b"caf\xe9"


def test_a_dry_run_writes_nothing(root: Path) -> None:
    before = {path.name: path.read_bytes() for path in root.iterdir()}
    changes = apply([Proposal(each, "new words") for each in targets(root)], overwrite=True, dry_run=True)
    assert [change.action for change in changes] == ["changed", "new", "new"]
    assert {path.name: path.read_bytes() for path in root.iterdir()} == before


def test_a_link_to_elsewhere_is_not_written_through(root: Path, tmp_path: Path) -> None:
    (tmp_path / "shared.txt").write_text("shared\n")
    (root / "b.txt").symlink_to(tmp_path / "shared.txt")
    os.link(root / "a.txt", tmp_path / "second name.txt")
    apply([Proposal(each, "new words") for each in targets(root)], overwrite=True)
    assert (tmp_path / "shared.txt").read_text() == "shared\n"
    assert (tmp_path / "second name.txt").read_text() == "ohwx, by hand\n"
    assert (root / "b.txt").read_text() == (root / "a.txt").read_text() == "new words\n"


def test_two_images_of_one_stem_do_not_overwrite_each_other(root: Path) -> None:
    Image.new("RGB", (64, 64)).save(root / "a.jpg")
    found, findings = list_targets(scan_dataset(root, caption_extension=".txt")[0], ".txt")
    assert [each.name for each in found] == ["a.jpg", "b.png", "c.png"]
    assert [finding.code for finding in findings] == ["caption-shared"]


def test_each_caption_is_on_disk_before_the_next_is_made(root: Path) -> None:
    def slow() -> list[Proposal]:
        for each in targets(root):
            yield Proposal(each, "words")  # type: ignore[misc]
            if each.name == "b.png":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(apply_proposals(slow(), overwrite=False, dry_run=False))
    assert (root / "b.txt").read_text() == "words\n"
    assert not (root / "c.txt").exists()
    assert not list(root.glob(".*"))


# Sheets

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "'=1", "''=1", "'", "'quoted'", "＝1"]
CAPTIONS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=40).map(one_line)


@pytest.mark.parametrize("ending", ["csv", "md"])
@given(captions=st.lists(CAPTIONS, min_size=1, max_size=5))
def test_every_caption_survives_the_sheet(
    ending: str, captions: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / f"sheet.{ending}"
    rows = [Row(f"{number}, | = \\ é.png", caption) for number, caption in enumerate(captions)]
    write_sheet(file, rows)
    read, findings = read_sheet(file)
    assert [(row.image, row.caption) for row in read] == [(row.image, row.caption) for row in rows]
    assert not findings


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula_to_a_spreadsheet_and_none_is_lost(text: str, tmp_path: Path) -> None:
    assert unguarded(guarded(text)) == text
    write_sheet(tmp_path / "s.csv", [Row(text, text)])
    cells = list(csv.reader(io.StringIO((tmp_path / "s.csv").read_text("utf-8-sig"))))[1]
    assert not any(cell.startswith(("=", "+", "-", "@", "＝")) for cell in cells)
    assert read_sheet(tmp_path / "s.csv")[0][0][:2] == (text, text)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_whatever_a_spreadsheet_saves_is_read(separator: str, encoding: str, tmp_path: Path) -> None:
    lines = [("Number", "Caption", "Image"), ("1", f'"ohwx{separator} a ""man"" é"', "a.png"), ("", "", "")]
    text = "\r\n".join(separator.join(line) for line in lines)
    (tmp_path / "s.csv").write_bytes(text.encode(encoding))
    rows, findings = read_sheet(tmp_path / "s.csv")
    assert rows == [Row("a.png", one_line(f'ohwx{separator} a "man" é'), 2)]
    assert not findings


def test_a_caption_of_several_lines_is_put_on_one_and_said_so(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text('image,caption\na.png,"ohwx,\na man"\na.png,again\n')
    rows, findings = read_sheet(tmp_path / "s.csv")
    assert rows[0].caption == "ohwx, a man"
    assert [finding.code for finding in findings] == ["sheet-lines", "sheet-twice"]
    assert findings[1].where.endswith(":4")


@pytest.mark.parametrize("data", [b"", b"no,columns\n1,2\n", b"image,caption\n\xff\xfe,\xe9\n", b"\0\0\0"])
def test_what_is_no_sheet_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(data)
    with pytest.raises(DatasetError):
        read_sheet(tmp_path / "s.csv")


def test_words_around_a_markdown_table_are_passed_over(tmp_path: Path) -> None:
    table = "| image | caption |\n|---|---|\n| a.png | ohwx \\| a man |\n| b.png |\n"
    text = f"# Captions\n\nSome words.\n\n{table}\nThe end.\n"
    (tmp_path / "s.md").write_text(text)
    rows, _ = read_sheet(tmp_path / "s.md")
    assert rows == [Row("a.png", "ohwx | a man", 7), Row("b.png", "", 8)]


# Commands


def by_python(code: str) -> list[str]:
    return [sys.executable, "-c", code, "{image}"]


@pytest.mark.processes
def test_a_command_sees_no_shell_and_the_image_as_one_word(tmp_path: Path) -> None:
    image = tmp_path / "a; touch $(pwned) 'x' \"y\".png"
    image.touch()
    command = parse_command(
        f"{shlex.quote(sys.executable)} -c 'import sys; print(len(sys.argv), sys.argv[1])' {{image}}"
    )
    said = caption_by_command(command, image, env=os.environ)
    assert said.caption == one_line(f"2 {image}")


@pytest.mark.processes
@pytest.mark.parametrize(
    ("code", "caption", "problem"),
    [
        ("print('  a   man \\nmore')", "a man", ""),
        ("print()", None, "empty"),
        ("import sys; print('half'); sys.exit('no model')", None, "exit code 1: no model"),
        ("import sys; sys.stdout.buffer.write(b'\\xff')", None, "UTF-8"),
        ("import sys; sys.stdout.write('x' * 30_000_000); print('tail')", "x" * 65_536, ""),
    ],
)
def test_what_a_command_says_or_why_it_said_nothing(
    code: str, caption: str | None, problem: str, tmp_path: Path
) -> None:
    said = caption_by_command(by_python(code), tmp_path / "a.png", env=os.environ)
    assert said.caption == caption
    assert problem in said.problem


@pytest.mark.processes
def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time;"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    said = caption_by_command(by_python(code), tmp_path / "a.png", env=os.environ, timeout_s=3)
    assert "longer than 3 s" in said.problem
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _is_alive(pid):
        time.sleep(0.05)
    assert not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.processes
def test_a_program_that_is_not_there_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    said = caption_by_command(["no-such-program", "{image}"], tmp_path / "a.png", env=os.environ)
    assert "cannot be started" in said.problem


@pytest.mark.parametrize("text", ["prog", "prog 'open {image}", ""])
def test_a_command_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(DatasetError):
        parse_command(text)


# The engine's tagger

TAGGER = """
import argparse, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("folder")
for name in ("model_dir", "repo_id", "batch_size", "caption_extension"):
    parser.add_argument("--" + name)
parser.add_argument("--onnx", action="store_true")
parser.add_argument("--remove_underscore", action="store_true")
args = parser.parse_args()
model = pathlib.Path(args.model_dir, args.repo_id.replace("/", "_"))
assert (model / "model.onnx").exists() and args.onnx
for image in sorted(pathlib.Path(args.folder).iterdir()):
    image.with_suffix(args.caption_extension).write_text(f"1boy, {image.resolve().stem}\\n")
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "engine" / "finetune").mkdir(parents=True)
    (tmp_path / "engine" / "finetune" / "tag_images_by_wd14_tagger.py").write_text(TAGGER)
    (tmp_path / "wd-model").mkdir()
    (tmp_path / "wd-model" / "model.onnx").touch()
    (tmp_path / "wd-model" / "selected_tags.csv").touch()
    return tmp_path / "engine"


@pytest.mark.processes
def test_the_tagger_works_on_links_and_the_images_folder_stays_as_it_is(root: Path, checkout: Path) -> None:
    before = {path.name: path.read_bytes() for path in root.iterdir()}
    wanted = targets(root)
    model = checkout.parent / "wd-model"
    said = list(tag_images(wanted, Path(sys.executable), checkout, model, os.environ))
    assert [(proposal.target, proposal.after) for proposal in said] == [
        (each, f"1boy, {each.image.stem}") for each in wanted
    ]
    assert {path.name: path.read_bytes() for path in root.iterdir()} == before


@pytest.mark.processes
def test_what_the_tagger_lacks_is_said_before_anything_starts(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"model\.onnx"):
        check_tagger(Path(sys.executable), checkout, tmp_path, os.environ)
    with pytest.raises(EngineError, match="onnxruntime"):
        check_tagger(Path(sys.executable), checkout, tmp_path / "wd-model", os.environ)


def test_a_row_that_a_comma_tears_is_told_by_line_and_not_applied(tmp_path: Path) -> None:
    file = tmp_path / "s.csv"
    file.write_text('image,caption\n1.jpg,ohwx, a man, with comma\n2.jpg,"ohwx, a man"\n3.jpg,ohwx,,\n')
    rows, findings = read_sheet(file)
    assert [(row.image, row.caption) for row in rows] == [("2.jpg", "ohwx, a man"), ("3.jpg", "ohwx")]
    assert [(one.code, one.severity.value, one.where) for one in findings] == [("sheet-torn", "error", f"{file}:2")]


def test_a_row_that_a_bar_tears_is_told_by_line_and_not_applied(tmp_path: Path) -> None:
    file = tmp_path / "s.md"
    file.write_text("| image | caption |\n| --- | --- |\n| 1.jpg | ohwx, a | b |\n| 2.jpg | ohwx \\| b |\n")
    rows, findings = read_sheet(file)
    assert [(row.image, row.caption) for row in rows] == [("2.jpg", "ohwx | b")]
    assert [(one.code, one.where) for one in findings] == [("sheet-torn", f"{file}:3")]
    assert "\\|" in findings[0].hint


def test_a_sheet_with_columns_of_its_own_is_read(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("image,caption,mine\n1.jpg,ohwx,a note\n")
    (tmp_path / "s.md").write_text("| image | caption | mine |\n|---|---|---|\n| 1.jpg | ohwx | a note |\n")
    for ending in ("csv", "md"):
        rows, findings = read_sheet(tmp_path / f"s.{ending}")
        assert ([(row.image, row.caption) for row in rows], findings) == ([("1.jpg", "ohwx")], [])
