"""Names, paths and ``extends``: which files make a preset."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_forge.errors import PresetError
from lora_forge.presets.loader import list_presets, load_preset_layers, parse_set
from lora_forge.presets.merge import merge_layers
from lora_forge.settings import Source, Value


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    project, shipped = tmp_path / "presets", tmp_path / "shipped"
    project.mkdir()
    shipped.mkdir()
    (shipped / "base.yaml").write_text("about: shipped base\nfamilies: [flux]\nnetwork: {rank: 8, alpha: 4}\n")
    (shipped / "small.yaml").write_text("extends: base\nnetwork: {rank: 4}\n")
    return project, shipped


def ranks(name: str, folders: tuple[Path, Path], cwd: Path) -> list[Value]:
    layers, findings = load_preset_layers(name, folders=folders, cwd=cwd)
    assert findings == []
    return [layer.values["network.rank"].value for layer in layers]


def test_the_extended_preset_comes_first(folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert ranks("small", folders, tmp_path) == [8, 4]


def test_the_project_folder_is_searched_before_the_shipped_one(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[0] / "base.yml").write_text("families: [flux]\nnetwork: {rank: 9}\n")
    assert ranks("base", folders, tmp_path) == [9]


def test_a_preset_may_extend_the_next_one_of_its_own_name(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[0] / "base.yaml").write_text("extends: base\nnetwork: {rank: 9}\n")
    assert ranks("base", folders, tmp_path) == [8, 9]


def test_a_path_is_taken_from_the_current_folder_and_extends_from_its_own(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    inner = tmp_path / "mine"
    inner.mkdir()
    (inner / "a.yaml").write_text("extends: ./b.yaml\nnetwork: {rank: 1}\n")
    (inner / "b.yaml").write_text("extends: base\nnetwork: {rank: 2}\n")
    assert ranks("mine/a.yaml", folders, tmp_path) == [8, 2, 1]
    layers, _ = load_preset_layers("mine/a.yaml", folders=folders, cwd=tmp_path)
    assert layers[2].values["network.rank"].where == "mine/a.yaml:2:11"


def test_a_file_without_a_name_is_called_what_it_is_saved_as(folders: tuple[Path, Path], tmp_path: Path) -> None:
    preset, _, _ = merge_layers(load_preset_layers("small", folders=folders, cwd=tmp_path)[0])
    assert preset is not None
    assert preset.name == "small"


@pytest.mark.parametrize("name", ["smal", "Small", "..", "", "a b", "-x", "small\n", "ｓmall"])
def test_what_is_not_a_known_name_is_refused_with_the_list(
    name: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(PresetError) as refused:
        load_preset_layers(name, folders=folders, cwd=tmp_path)
    assert "base, small" in refused.value.hint


def test_a_misspelt_name_gets_its_neighbour(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(PresetError) as refused:
        load_preset_layers("smal", folders=folders, cwd=tmp_path)
    assert refused.value.hint.startswith("Did you mean small?")


@pytest.mark.parametrize("path", ["none.yaml", "./base", "../base.yaml", "presets/", "a/\0.yaml"])
def test_a_path_that_is_no_file_is_refused(path: str, folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(PresetError):
        load_preset_layers(path, folders=folders, cwd=tmp_path)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("extends: loop\n", "preset-cycle"),
        ("extends: ./loop.yaml\n", "preset-cycle"),
        ("extends: nowhere\n", "preset-extends"),
        ("extends: ./nowhere.yaml\n", "preset-extends"),
        ("extends: [base]\n", "preset-extends"),
        ("extends: 3\n", "preset-extends"),
    ],
)
def test_a_wrong_extends_is_a_finding_at_its_line(
    text: str, code: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (folders[0] / "loop.yaml").write_text("# loop\n\n" + text)
    _, (finding,) = load_preset_layers("loop", folders=folders, cwd=tmp_path)
    assert (finding.code, finding.where) == (code, "presets/loop.yaml:3:1")


def test_two_presets_that_extend_each_other_are_a_cycle(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[0] / "loop.yaml").write_text("extends: turn\n")
    (folders[0] / "turn.yaml").write_text("extends: loop\n")
    layers, (finding,) = load_preset_layers("loop", folders=folders, cwd=tmp_path)
    assert len(layers) == 2
    assert (finding.code, finding.where) == ("preset-cycle", "presets/turn.yaml:1:1")


def test_the_list_shows_what_each_name_reaches(folders: tuple[Path, Path]) -> None:
    (folders[0] / "small.yaml").write_text("about: mine\nextends: base\n")
    (folders[0] / "Not A Name.yaml").write_text("about: never\n")
    listed = [(entry.name, entry.about, entry.extends) for entry in list_presets(folders)]
    assert listed == [("base", "shipped base", ""), ("small", "mine", "base")]


def test_folders_that_do_not_exist_hold_no_presets(tmp_path: Path) -> None:
    assert list_presets([tmp_path / "none"]) == []


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("network.rank=24", 24),
        ("network.rank = 24 ", 24),
        ("optimizer.learning_rate=3e-5", 3e-5),
        ("augment.flip=true", True),
        ("augment.flip=yes", "yes"),
        ("network.dropout=null", None),
        ("about=''", ""),
        ("about=a: b # c", "a: b # c"),
        ("about=a=b", "a=b"),
        ("about='24'", "24"),
        ("sampling.prompts=[a, '{trigger}, b']", ["a", "{trigger}, b"]),
        ("optimizer.args={weight_decay: 0.01, fused: no}", {"weight_decay": 0.01, "fused": "no"}),
    ],
)
def test_set_reads_the_same_scalars_as_a_file(argument: str, value: Value) -> None:
    key, written = parse_set(argument)
    assert (written.value, written.source, written.where) == (value, Source.CLI, f"--set {key}")


@pytest.mark.parametrize(
    "argument",
    ["", "network.rank", "network.rank=", "network.rank= ", "=3", "a=[1", "a={b: *c}", "a=1e999", "a=\udcff"],
)
def test_set_refuses_what_it_cannot_read(argument: str) -> None:
    with pytest.raises(PresetError):
        parse_set(argument)
