"""Who asked for what: flag, environment, forge.yaml, the user's own file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from lora_forge.findings import Finding
from lora_forge.presets.keys import RUN_KEYS
from lora_forge.project.request import Request, gather_request, without_requests
from lora_forge.settings import Layer, Source, Value


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def gather(
    cwd: Path, flags: Mapping[str, Value] | None = None, env: Mapping[str, str] | None = None
) -> tuple[Request, list[Layer], list[Finding]]:
    return gather_request(flags or {}, env or {}, cwd, user_file=cwd.parent / "user" / "forge.yaml")


def write_user_file(cwd: Path, text: str) -> None:
    folder = cwd.parent / "user"
    folder.mkdir()
    (folder / "forge.yaml").write_text(text)


def test_nothing_said_is_no_problem(cwd: Path) -> None:
    request, layers, findings = gather(cwd)
    assert request == Request()
    assert (layers, findings) == ([], [])


def test_the_request_has_a_field_for_every_key() -> None:
    assert tuple(Request.__dataclass_fields__) == (*RUN_KEYS, "folders", "unsound")


def test_flag_beats_environment_beats_project_beats_user(cwd: Path) -> None:
    write_user_file(cwd, "trigger: user\n")
    found = [gather(cwd)[0]]
    (cwd / "forge.yaml").write_text("\ntrigger: project  # our word\n")
    found.append(gather(cwd)[0])
    found.append(gather(cwd, env={"FORGE_TRIGGER": "env"})[0])
    found.append(gather(cwd, {"trigger": "flag"}, {"FORGE_TRIGGER": "env"})[0])
    triggers = [request.trigger for request in found]
    assert [(one.value, one.source) for one in triggers if one] == [
        ("user", Source.PROJECT),
        ("project", Source.PROJECT),
        ("env", Source.ENV),
        ("flag", Source.CLI),
    ]
    wheres = [one.where for one in triggers if one]
    assert wheres[0].endswith("user/forge.yaml:1:1")
    assert wheres[1:] == ["forge.yaml:2:1", "FORGE_TRIGGER", "--trigger"]
    assert triggers[1] is not None
    assert triggers[1].why == "our word"


def test_an_empty_variable_and_a_null_leave_the_word_to_the_next(cwd: Path) -> None:
    write_user_file(cwd, "trigger: user\n")
    (cwd / "forge.yaml").write_text("trigger: null\n")
    assert gather(cwd, env={"FORGE_TRIGGER": ""})[0].text("trigger") == "user"


def test_a_relative_path_belongs_to_the_file_that_names_it(cwd: Path) -> None:
    write_user_file(cwd, "models: {model: flux.safetensors, ae: /abs/ae.safetensors}\nruns: out\n")
    (cwd / "forge.yaml").write_text("dataset: photos\npreset: ./mine.yaml\n")
    request, _, findings = gather(cwd, {"clip_l": "clip.safetensors"}, {"FORGE_T5XXL": "../t5.safetensors"})
    user = cwd.parent / "user"
    assert findings == []
    assert request.path("model") == user / "flux.safetensors"
    assert request.path("runs") == user / "out"
    assert request.path("ae") == Path("/abs/ae.safetensors")
    assert request.path("dataset") == cwd / "photos"
    assert request.path("preset") == cwd / "mine.yaml"
    assert request.path("clip_l") == cwd / "clip.safetensors"
    assert request.path("t5xxl") == cwd / "../t5.safetensors"


def test_a_preset_name_is_not_made_a_path(cwd: Path) -> None:
    assert gather(cwd, {"preset": "identity"})[0].text("preset") == "identity"


def test_a_folder_called_dataset_is_the_fallback(cwd: Path) -> None:
    (cwd / "dataset").mkdir()
    found = gather(cwd)[0].dataset
    assert found is not None
    assert (found.value, found.source) == (str(cwd / "dataset"), Source.DEFAULT)
    assert gather(cwd, {"dataset": "other"})[0].path("dataset") == cwd / "other"


def test_no_fallback_takes_the_place_of_a_dataset_that_is_named_wrongly(cwd: Path) -> None:
    (cwd / "dataset").mkdir()
    request, _, findings = gather(cwd, {"dataset": "{paht: photos}"})
    assert request.path("dataset") is None
    assert {finding.code for finding in findings} == {"unknown-key", "project-value"}


def test_the_dataset_is_named_by_a_folder_that_is_trained_on(cwd: Path) -> None:
    request = gather(cwd, {"dataset": ["{path: people, reg: true}", "photos"]})[0]
    assert (request.path("dataset"), len(request.folders)) == (cwd / "photos", 2)
    assert gather(cwd, {"dataset": "{path: people, reg: true}"})[0].path("dataset") == cwd / "people"


def test_a_folder_named_twice_is_told_however_it_is_written(cwd: Path) -> None:
    """And is no error: a dataset TOML may do it, and its run goes on by the same words."""
    (cwd / "photos").mkdir()
    (cwd / "link").symlink_to("photos")
    for other in ("photos/", str(cwd / "photos"), "link"):
        request, _, findings = gather(cwd, {"dataset": ["photos", other]})
        assert [finding.code for finding in findings] == ["dataset-twice"], other
        assert len(request.folders) == 2


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ("datset: x\n", "forge.yaml:1:1", "Did you mean dataset?"),
        ("\nmodels: {clipl: x}\n", "forge.yaml:2:10", "Did you mean models.clip_l?"),
        ("model: x\n", "forge.yaml:1:1", "Did you mean models.model?"),
        ("network: {rank: 3}\n", "forge.yaml:1:11", "Preset settings go under `overrides:`"),
        ("models: x\n", "forge.yaml:1:1", "Write a table"),
        ("overrides: [a]\n", "forge.yaml:1:1", "Write a table"),
    ],
)
def test_a_misspelt_project_key_is_told_with_its_place(cwd: Path, text: str, where: str, hint: str) -> None:
    (cwd / "forge.yaml").write_text(text)
    _, _, (finding,) = gather(cwd)
    assert finding.where == where
    assert finding.hint.startswith(hint)


@pytest.mark.parametrize(
    "text",
    ["trigger: 7\n", "trigger: true\n", "trigger: ''\n", "dataset: [7]\n", "gpus: 0\n", "gpus: '2'\n", "gpus: true\n"],
)
def test_a_wrong_type_is_told_with_its_place_and_not_used(cwd: Path, text: str) -> None:
    (cwd / "forge.yaml").write_text(text)
    request, _, (finding,) = gather(cwd)
    assert (finding.code, finding.where) == ("project-value", "forge.yaml:1:1")
    assert request == Request()


@pytest.mark.parametrize(("text", "gpus", "wrong"), [("2", 2, 0), ("two", None, 1), ("-1", None, 1), ("²", None, 1)])
def test_gpus_from_the_environment_are_counted(cwd: Path, text: str, gpus: int | None, wrong: int) -> None:
    request, _, findings = gather(cwd, env={"FORGE_GPUS": text})
    assert (request.count("gpus"), len(findings)) == (gpus, wrong)


def test_no_word_of_yaml_1_1_surprises_a_trigger(cwd: Path) -> None:
    (cwd / "forge.yaml").write_text("trigger: no\n")
    assert gather(cwd)[0].text("trigger") == "no"


def test_unknown_forge_variables_are_warned_of(cwd: Path) -> None:
    env = {"FORGE_HOME": "/x", "FORGE_DATSET": "y", "PATH": "/bin"}
    _, _, (finding,) = gather(cwd, env=env)
    assert (finding.severity.value, finding.where) == ("warning", "FORGE_DATSET")
    assert finding.hint == "Did you mean FORGE_DATASET?"


def test_overrides_become_layers_lowest_first(cwd: Path) -> None:
    write_user_file(cwd, "overrides: {network: {rank: 4}}\n")
    (cwd / "forge.yaml").write_text("overrides:\n  network: {rank: 8}\n  optimizer: {args: {a: 1}}\n")
    _, layers, findings = gather(cwd, {"set": ["network.rank=16", "seed=1"]})
    assert findings == []
    assert [layer.source for layer in layers] == [Source.PROJECT, Source.PROJECT, Source.CLI]
    assert [layer.values["network.rank"].value for layer in layers] == [4, 8, 16]
    assert layers[1].values["optimizer.args"].value == {"a": 1}
    assert layers[1].values["network.rank"].where == "forge.yaml:2:13"


def test_every_wrong_set_is_told_and_the_right_ones_count(cwd: Path) -> None:
    _, (layer,), findings = gather(cwd, {"set": ["a", "seed=1", "b=[1"]})
    assert list(layer.values) == ["seed"]
    assert [finding.code for finding in findings] == ["invalid-set", "invalid-set"]


def test_problems_of_all_places_come_at_once(cwd: Path) -> None:
    write_user_file(cwd, "tigger: x\n")
    (cwd / "forge.yaml").write_text("trigger: 7\ngpus: x\nfamily: *a\n")
    _, _, findings = gather(cwd, {"set": ["x"]}, {"FORGE_X": "1"})
    assert len(findings) == 6


def test_a_forge_yaml_that_is_a_folder_or_a_broken_link_is_told(cwd: Path) -> None:
    (cwd / "forge.yaml").symlink_to("nowhere")
    assert [finding.code for finding in gather(cwd)[2]] == ["file-unreadable"]
    (cwd / "forge.yaml").unlink()
    (cwd / "forge.yaml").mkdir()
    assert [finding.code for finding in gather(cwd)[2]] == ["file-unreadable"]


def test_a_home_is_expanded_and_an_unknown_home_is_left_alone(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert gather(cwd, {"dataset": "~/photos"})[0].path("dataset") == Path("/home/ann/photos")
    strange = gather(cwd, {"dataset": "~nobody-of-this-name/x"})[0].path("dataset")
    assert strange == cwd / "~nobody-of-this-name/x"


def test_a_value_that_is_not_utf8_is_refused(cwd: Path) -> None:
    request, _, (finding,) = gather(cwd, {"dataset": "caf\udce9"})
    assert request.dataset is None
    assert finding.as_json()


def test_what_the_environment_asks_of_a_run_is_left_out_and_places_stay() -> None:
    env = {"FORGE_PRESET": "style", "FORGE_HOME": "/h", "FORGE_CACHE": "/c", "PATH": "/bin"}
    assert without_requests(env) == {"FORGE_HOME": "/h", "FORGE_CACHE": "/c", "PATH": "/bin"}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("preset: [identity]", 'preset is ["identity"]; expected one text, not a list.', "Write preset: identity."),
        ("trigger: {a: 1}", 'trigger is {"a": 1}; expected one text, not a table.', "Write trigger: and one text"),
        ("trigger: 12", "trigger is 12; expected text; put it in quotes.", 'Write trigger: "12".'),
        ("vram: big", 'vram is "big"; expected a whole number, 1 or more.', "such as vram: 24."),
        ("dataset: {a: 1, path: b}", "a is no key of a dataset folder.", "Known are: path"),
        ("dataset: {repeats: 2}", "A dataset folder is named without its path.", "Write path: photos."),
        ("dataset: {path: a, repeats: x}", "repeats of a dataset folder", "Write repeats: 2."),
        ("dataset: 3", "dataset is 3; expected text; put it in quotes.", 'Write dataset: "3".'),
        ("rank: 3", "There is no project setting rank.", "overrides.network.rank."),
        ("steps: 4", "There is no project setting steps.", "overrides.schedule.steps"),
        ("network: {rank: 3}", "There is no project setting network.rank.", "overrides.network.rank."),
        ("trigerr: a", "There is no project setting trigerr.", "Did you mean trigger?"),
        ("- preset", "The file must be a table of keys, such as `preset: identity`.", "`forge init`"),
    ],
)
def test_a_wrong_line_says_what_to_write_instead(cwd: Path, text: str, message: str, hint: str) -> None:
    (cwd / "forge.yaml").write_text(text + "\n")
    _, _, [finding] = gather(cwd)
    assert finding.message.startswith(message)
    assert hint in finding.hint
    assert finding.where.startswith("forge.yaml:1:1")
