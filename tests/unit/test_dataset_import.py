"""A dataset TOML of the engine's, and several folders with repeats of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_forge.datasets.importing import Imported, SubsetSource, import_dataset, is_refused, scan_sources
from lora_forge.engine.dataset_schema import check_dataset_document
from lora_forge.errors import InvalidInput
from lora_forge.findings import Finding
from lora_forge.plan.schedule import repeats_of
from lora_forge.project.request import Request, gather_request
from lora_forge.settings import Source, Value, Written
from lora_forge.workflow.gather import gather
from lora_forge.workflow.invocation import Invocation
from lora_forge.workflow.planning import decide


def draw(folder: Path, count: int, caption: str | None = "ohwx, scene {n}", ending: str = ".txt") -> Path:
    folder.mkdir(parents=True)
    for n in range(count):
        Image.new("RGB", (768, 768), (n * 9 % 256, 40, 90)).save(folder / f"{n:02d}.png", compress_level=1)
        if caption is not None:
            (folder / f"{n:02d}{ending}").write_text(caption.format(n=n) + "\n")
    return folder


def read(tmp_path: Path, text: str) -> Imported:
    file = tmp_path / "dataset.toml"
    file.write_text(text)
    return import_dataset(file, tmp_path, check_dataset_document)


def codes(findings: tuple[Finding, ...] | list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


WHOLE = """
[general]
shuffle_caption = true
caption_extension = ".caption"
keep_tokens = 1
num_repeats = 3

[[datasets]]
resolution = 640
batch_size = 2
enable_bucket = true
min_bucket_reso = 320
max_bucket_reso = 1024
bucket_no_upscale = true

  [[datasets.subsets]]
  image_dir = "portraits"
  num_repeats = 2

  [[datasets.subsets]]
  image_dir = "outdoors"
  class_tokens = "ohwx person"
  caption_extension = ".txt"

  [[datasets.subsets]]
  image_dir = "reg"
  is_reg = true
  num_repeats = 1
"""


def test_folders_and_settings_are_looked_up_as_the_engine_does(tmp_path: Path) -> None:
    imported = read(tmp_path, WHOLE)
    assert not imported.findings
    portraits, outdoors, reg = imported.sources
    assert (portraits.path, portraits.caption_extension, portraits.is_reg) == (
        tmp_path / "portraits",
        ".caption",
        False,
    )
    assert portraits.repeats is not None and portraits.repeats.value == 2
    assert outdoors.repeats is not None and outdoors.repeats.value == 3, "from [general]"
    assert (outdoors.class_tokens, outdoors.caption_extension) == ("ohwx person", ".txt")
    assert reg.is_reg
    assert {key: written.value for key, written in imported.settings.items()} == {
        "data.resolution": 640,
        "schedule.batch_size": 2,
        "data.min_bucket": 320,
        "data.max_bucket": 1024,
        "data.upscale": False,
        "captions.shuffle": True,
        "captions.keep_tokens": 1,
    }
    assert all(str(tmp_path / "dataset.toml") in written.where for written in imported.settings.values())


SUBSET = '[[datasets.subsets]]\nimage_dir = "a"\n'


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[[datasets]\n", "import-unreadable"),
        ("", "import-empty"),
        (f"[[datasets]]\nresolutoin = 512\n{SUBSET}", "engine-dataset-unknown"),
        (f"[[datasets]]\nbatch_size = 'two'\n{SUBSET}", "engine-dataset-type"),
        ("[[datasets]]\n[[datasets.subsets]]\nnum_repeats = 2\n", "engine-dataset-missing"),
        (f"[[datasets]]\nresolution = 512\n{SUBSET}[[datasets]]\nresolution = 768\n{SUBSET}", "import-several"),
        (f"[[datasets]]\nbatch_size = 1\n{SUBSET}[[datasets]]\nbatch_size = 2\n{SUBSET}", "import-several"),
        ('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "a"\nmetadata_file = "m.json"\n', "import-metadata"),
        (f"[[datasets]]\nresolution = [512, 768]\n{SUBSET}", "import-resolution"),
        (f'[[datasets]]\n{SUBSET}flip_aug = true\n[[datasets.subsets]]\nimage_dir = "b"\n', "import-differs"),
    ],
)
def test_what_forge_cannot_train_is_refused_with_its_place(tmp_path: Path, text: str, code: str | None) -> None:
    imported = read(tmp_path, text)
    assert is_refused(imported)
    assert code in codes(imported.findings)
    assert all("dataset.toml" in finding.where for finding in imported.findings)


def test_every_key_without_a_word_is_named_unless_it_is_the_engines_default(tmp_path: Path) -> None:
    text = f"[general]\ncaption_tag_dropout_rate = 0.1\nenable_wildcard = false\n[[datasets]]\n{SUBSET}"
    imported = read(tmp_path, text + 'face_crop_aug_range = [1.0, 2.0]\ncaption_prefix = "x"\ncache_info = true\n')
    told = {finding.where.rpartition(": ")[2] for finding in imported.findings}
    assert told == {
        "general.caption_tag_dropout_rate",
        "datasets[0].subsets[0].face_crop_aug_range",
        "datasets[0].subsets[0].caption_prefix",
    }
    assert not is_refused(imported)


def test_a_dataset_that_only_validates_is_not_trained_on(tmp_path: Path) -> None:
    text = f'[[datasets]]\n{SUBSET}[[datasets]]\nvalidation_split = 1.0\n[[datasets.subsets]]\nimage_dir = "held"\n'
    imported = read(tmp_path, text)
    assert [source.path.name for source in imported.sources] == ["a"]
    assert codes(imported.findings) == ["import-validation"]


def test_a_folder_named_twice_counts_once_as_in_the_engine(tmp_path: Path) -> None:
    imported = read(tmp_path, f"[[datasets]]\n{SUBSET}num_repeats = 4\n{SUBSET}num_repeats = 9\n")
    assert [source.repeats and source.repeats.value for source in imported.sources] == [4]
    assert codes(imported.findings) == ["import-twice"]


@pytest.mark.parametrize("data", [b"\xff\xfe", b"x" * 1_000_001, b"[a]\n[a]\n", b"a = [1, 'x']\n", b"\0"])
def test_a_damaged_file_is_a_finding(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "dataset.toml").write_bytes(data)
    imported = import_dataset(tmp_path / "dataset.toml", tmp_path, check_dataset_document)
    assert codes(imported.findings) == ["import-unreadable"]


def test_each_folder_is_read_with_its_own_caption_ending(tmp_path: Path) -> None:
    sources = [
        SubsetSource(draw(tmp_path / "a", 2, "from caption", ".caption"), caption_extension=".caption"),
        SubsetSource(draw(tmp_path / "b", 3, "from txt")),
    ]
    facts, findings = scan_sources(sources, caption_extension=".txt")
    assert [image.caption for subset in facts.subsets for image in subset.images] == ["from caption"] * 2 + [
        "from txt"
    ] * 3
    assert not findings


# The whole way


@pytest.fixture
def project(tmp_path: Path) -> Path:
    draw(tmp_path / "a" / "photos", 4)
    draw(tmp_path / "b" / "photos", 3)
    draw(tmp_path / "reg", 2, "a person")
    return tmp_path


def call(project: Path, dataset: Value, *settings: str) -> Invocation:
    return Invocation({"preset": "style", "dataset": dataset, "trigger": "ohwx"}, settings, {}, project)


def planned(project: Path, dataset: Value, *settings: str) -> Any:
    gathered = gather(call(project, dataset, *settings))
    return gathered, decide(gathered).plan


def test_several_folders_keep_their_own_repeats_though_they_are_called_alike(project: Path) -> None:
    gathered, plan = planned(
        project, ["{path: a/photos, repeats: 2}", "{path: b/photos, repeats: 5, class_tokens: x y}"]
    )
    repeats = plan.schedule.repeats
    assert [repeats_of(subset, repeats.value) for subset in gathered.dataset.subsets] == [2, 5]
    assert (repeats.source, repeats.where) == (Source.CLI, "--dataset")
    assert plan.data.images.value == 7
    assert sum(bucket.images for bucket in plan.data.buckets.value) == 4 * 2 + 3 * 5
    assert gathered.dataset.subsets[1].class_tokens == "x y"


def test_a_figure_for_all_from_a_higher_place_wins_over_single_folders(project: Path) -> None:
    (project / "forge.yaml").write_text("dataset: [{path: a/photos, repeats: 2}, {path: b/photos, repeats: 5}]\n")
    flags: dict[str, Value] = {"preset": "style", "trigger": "ohwx"}
    plain = decide(gather(Invocation(flags, (), {}, project))).plan.schedule.repeats
    assert sorted(plain.value.values()) == [2, 5]
    assert (plain.source, plain.where) == (Source.PROJECT, "forge.yaml:1:1")
    forced = decide(gather(Invocation(flags, ("schedule.repeats=7",), {}, project))).plan.schedule.repeats
    assert (forced.value, forced.source) == (7, Source.CLI)


def test_a_folder_without_repeats_takes_those_of_the_preset(project: Path) -> None:
    gathered, plan = planned(project, ["{path: a/photos, repeats: 9}", "b/photos"])
    assert [repeats_of(subset, plan.schedule.repeats.value) for subset in gathered.dataset.subsets] == [9, 1]


def test_a_toml_trains_what_its_folders_and_settings_say(project: Path) -> None:
    (project / "own.toml").write_text(
        "[[datasets]]\nresolution = 640\nbatch_size = 3\nenable_bucket = true\n"
        '[[datasets.subsets]]\nimage_dir = "a/photos"\nnum_repeats = 4\n'
        '[[datasets.subsets]]\nimage_dir = "b/photos"\n'
        '[[datasets.subsets]]\nimage_dir = "reg"\nis_reg = true\n'
    )
    gathered, plan = planned(project, "own.toml")
    assert [repeats_of(subset, plan.schedule.repeats.value) for subset in gathered.dataset.subsets] == [4, 1, 1]
    assert (plan.data.resolution.value, plan.schedule.batch_size.value) == (640, 3)
    assert (plan.data.resolution.source, plan.data.resolution.where) == (
        Source.PROJECT,
        f"{project / 'own.toml'}: resolution",
    )
    assert plan.data.reg_images.value == 2
    _, over = planned(project, "own.toml", "data.resolution=512")
    assert over.data.resolution.value == 512


def test_a_toml_of_one_plain_folder_is_enough_and_one_that_trains_nothing_is_refused(project: Path) -> None:
    (project / "own.toml").write_text('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "a/photos"\n')
    gathered, _ = planned(project, "own.toml")
    assert gathered.dataset.images == 4
    (project / "own.toml").write_text(
        '[[datasets]]\nvalidation_split = 1.0\n[[datasets.subsets]]\nimage_dir = "a/photos"\n'
    )
    with pytest.raises(InvalidInput) as refused:
        gather(call(project, "own.toml"))
    assert "import-empty" in codes(list(refused.value.findings))


def test_the_words_for_a_dataset_lead_to_the_same_dataset_from_anywhere(project: Path, tmp_path: Path) -> None:
    first, plan = planned(project, ["{path: a/photos, repeats: 2, caption_extension: .txt}", "b/photos"])
    words = first.request.dataset_words()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    second = gather(call(elsewhere, words))
    assert second.dataset == first.dataset or [s.images for s in second.dataset.subsets] == [
        s.images for s in first.dataset.subsets
    ]
    assert decide(second).plan.schedule.repeats.value == plan.schedule.repeats.value


def test_a_run_that_goes_on_asks_for_the_folders_it_began_with(project: Path) -> None:
    from lora_forge.runs.directory import RunDir
    from lora_forge.runs.ledger import new_ledger
    from lora_forge.runs.record import read_run
    from lora_forge.workflow.planning import plan_run
    from lora_forge.workflow.run_request import read_request, write_request

    begun = plan_run(call(project, ["{path: a/photos, repeats: 2}", "b/photos"]))
    run = RunDir(project / "run")
    run.path.mkdir()
    vouched = write_request(call(project, ["a/photos"]), begun, run)
    new_ledger(run.path).append("run", uuid="1abc", name="it", steps=1, request=vouched)
    again = read_request(Invocation({"preset": "style"}, (), {}, project), run, read_run(run.path))
    assert gather(again).dataset.subsets == begun.gathered.dataset.subsets
    other = read_request(
        Invocation({"preset": "style", "dataset": ["{path: reg, repeats: 3}", "b/photos"]}, (), {}, project),
        run,
        read_run(run.path),
    )
    assert [subset.folder for subset in gather(other).dataset.subsets] == [project / "reg", project / "b" / "photos"]


def asked(dataset: Value, tmp_path: Path) -> tuple[Request, list[Finding]]:
    request, _, findings = gather_request({"dataset": dataset}, {}, tmp_path)
    return request, findings


@pytest.mark.parametrize(
    "dataset",
    [
        "{path: a, repeats: 0}",
        "{path: a, repeats: two}",
        "{path: a, repeats: true}",
        "{path: a, class_tokens: ''}",
        "{path: a, caption_extension: txt}",
        "{repeats: 2}",
        "{path: a, repaets: 2}",
        "{path: a",
        ["a", 3],
        [""],
        {"path": 3},
    ],
)
def test_a_folder_that_is_asked_for_wrongly_is_told_and_none_is_taken(dataset: Value, tmp_path: Path) -> None:
    request, findings = asked(dataset, tmp_path)
    assert request.folders == ()
    assert findings


def test_a_path_is_a_path_whatever_is_in_it(tmp_path: Path) -> None:
    for name in ("a:2", "[x]", "a,b", "2*a", "./{odd}", "a@2", "x=y"):
        request, findings = asked(name, tmp_path)
        assert not findings
        assert Path(request.folders[0].path) == tmp_path / name
        assert request.folders[0].is_plain
        again, _ = asked(request.dataset_words(), tmp_path)
        assert again.folders[0].path == request.folders[0].path


@pytest.mark.parametrize(
    "text",
    [
        "dataset:\n  - {path: a, repeats: 2}\n  - b\n",
        "dataset:\n  - path: a\n    repeats: 2\n  - path: b\n",
        'dataset: [{"path": "a", "repeats": 2}, b]\n',
    ],
)
def test_forge_yaml_takes_folders_in_every_form_of_yaml(text: str, tmp_path: Path) -> None:
    (tmp_path / "forge.yaml").write_text(text)
    request, _, findings = gather_request({}, {}, tmp_path)
    assert not findings
    assert [(folder.path, folder.repeats) for folder in request.folders] == [
        (str(tmp_path / "a"), 2),
        (str(tmp_path / "b"), None),
    ]
    assert request.path("dataset") == tmp_path / "a"


def test_one_folder_as_a_table_is_enough(tmp_path: Path) -> None:
    (tmp_path / "forge.yaml").write_text("dataset: {path: a, repeats: 2}\n")
    request, _, findings = gather_request({}, {}, tmp_path)
    assert not findings
    assert request.folders[0].repeats == 2


def test_repeats_of_single_folders_stand_before_those_of_kohya_names(tmp_path: Path) -> None:
    folder = draw(tmp_path / "10_ohwx man", 2)
    facts, _ = scan_sources([SubsetSource(folder, Written(3, Source.CLI, "--dataset"))], caption_extension=".txt")
    assert facts.subsets[0].repeats == 3
