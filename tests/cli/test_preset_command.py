"""``forge preset`` as a script or a person calls it."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lora_forge.cli.app import app
from lora_forge.errors import PresetError
from lora_forge.presets.copying import copy_preset

Draw = Any
SHIPPED = ("adaptive", "face-loha", "fast-iteration", "high-fidelity", "identity", "style", "style-lokr")


def forge(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def values(tree: Any) -> Any:
    """A plan's values alone: a copy is written elsewhere and may have other words for it."""
    if isinstance(tree, dict) and "source" in tree:
        return tree["value"]
    return {key: values(branch) for key, branch in tree.items()}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_copy_is_valid_and_gives_the_same_plan(name: str, draw_dataset: Draw, in_folder: Path) -> None:
    arguments = ("plan", "-d", str(draw_dataset()), "--family", "sdxl", "--preset", name)
    before = values(forge(*arguments)[1]["data"]["plan"])
    code, answer = forge("preset", "cp", name)
    assert (code, answer["data"]["path"]) == (0, str(in_folder / "presets" / f"{name}.yaml"))
    assert forge("preset", "validate", name)[0] == 0
    assert values(forge(*arguments)[1]["data"]["plan"]) == before


def test_a_copy_keeps_every_comment_below_the_schema_line(in_folder: Path) -> None:
    from lora_forge.presets.loader import shipped_folder

    forge("preset", "cp", "identity", "mine")
    first, _, rest = (in_folder / "presets" / "mine.yaml").read_text().partition("\n")
    assert first == "# yaml-language-server: $schema=./preset.schema.json"
    assert rest == (shipped_folder() / "identity.yaml").read_text()
    schema = json.loads((in_folder / "presets" / "preset.schema.json").read_text())
    assert "extends" in schema["properties"]


@pytest.mark.parametrize("taken", ["identity.yaml", "identity.yml"])
def test_a_copy_never_overwrites(taken: str, in_folder: Path) -> None:
    presets = in_folder / "presets"
    presets.mkdir()
    (presets / taken).write_text("extends: style\n")
    code, answer = forge("preset", "cp", "identity", "identity")
    assert (code, answer["error"]["code"]) == (3, "invalid-preset")
    assert (presets / taken).read_text() == "extends: style\n"
    assert [path.name for path in presets.iterdir()] == [taken]


def test_a_foreign_schema_file_stays_and_an_older_one_of_ours_is_renewed(in_folder: Path) -> None:
    schema = in_folder / "presets" / "preset.schema.json"
    schema.parent.mkdir()
    schema.write_text('{"title": "mine"}')
    _, answer = forge("preset", "cp", "style")
    assert [finding["code"] for finding in answer["findings"]] == ["schema-kept"]
    assert schema.read_text() == '{"title": "mine"}'
    schema.write_text('{"$comment": "written by forge 0.0.1"}')
    _, answer = forge("preset", "cp", "identity")
    assert answer["findings"] == []
    assert "properties" in json.loads(schema.read_text())


def test_a_copy_elsewhere_still_reaches_the_file_it_extends(in_folder: Path) -> None:
    presets = in_folder / "presets"
    presets.mkdir()
    (presets / "base.yaml").write_text("extends: identity\nseed: 7\n")
    (presets / "mine.yaml").write_text("# top\nextends: ./base.yaml  # ours\nnetwork: {rank: 9}\n")
    code, answer = forge("preset", "cp", "mine", "deep/er/copy.yaml")
    assert code == 0, answer
    assert "extends: ../../presets/base.yaml  # ours" in (in_folder / "deep" / "er" / "copy.yaml").read_text()
    _, shown = forge("preset", "show", "deep/er/copy.yaml")
    assert (shown["data"]["seed"]["value"], shown["data"]["network.rank"]["value"]) == (7, 9)


@pytest.mark.parametrize(("dest", "said"), [("../x", ".yaml"), ("Bad Name", "name"), ("x.txt/", ".yaml")])
def test_a_copy_cannot_be_called_anything(dest: str, said: str, in_folder: Path) -> None:
    code, answer = forge("preset", "cp", "identity", dest)
    assert code == 3
    assert said in answer["error"]["message"]
    assert list(in_folder.iterdir()) == []


def test_a_broken_preset_is_not_copied(in_folder: Path) -> None:
    (in_folder / "broken.yaml").write_text("a: 1\na: 2\n")
    code, answer = forge("preset", "cp", "broken.yaml", "mine")
    assert (code, answer["findings"][0]["code"]) == (3, "yaml-duplicate-key")
    assert not (in_folder / "presets").exists()


def test_a_seed_that_would_kill_the_training_is_refused_by_every_check(draw_dataset: Draw, in_folder: Path) -> None:
    (in_folder / "mine.yaml").write_text("extends: identity\nseed: 99999999999\n")
    code, answer = forge("preset", "validate", "mine.yaml")
    assert (code, [finding["where"] for finding in answer["findings"]]) == (3, ["mine.yaml:2:1"])
    code, answer = forge("plan", "-p", "identity", "-d", str(draw_dataset()), "--set", "seed=4294967296")
    assert (code, answer["findings"][0]["where"]) == (3, "--set seed")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engine: {options: {max_train_steps: 4}}", "engine-option-owned 2:20"),
        ("engine: {options: {wandb_api_key: abc}}", "engine-option-secret 2:20"),
        ("data: {min_bucket: 2048}", "bucket-min 2:8"),
        ("data: {bucket_step: 7}", "bucket-step 2:8"),
        ("data: {bucket_step: 2048}", "bucket-step 2:8"),
        ('precision: {mixed: "no"}', "fp8-mixed 2:13"),
        ("memory: {blocks_to_swap: 99}", "blocks-to-swap 2:10"),
    ],
)
def test_a_preset_that_no_plan_accepts_is_not_valid(text: str, said: str, in_folder: Path) -> None:
    (in_folder / "mine.yaml").write_text(f"extends: identity\n{text}\n")
    code, answer = forge("preset", "validate", "mine.yaml")
    found = [f"{finding['code']} {finding['where'].removeprefix('mine.yaml:')}" for finding in answer["findings"]]
    assert (code, answer["data"]["valid"], found) == (3, False, [said])


def test_a_preset_is_told_all_its_mistakes_at_once(in_folder: Path) -> None:
    lines = (
        "extends: identity",
        "network: {rank: x}",
        "engine: {options: {output_dir: /tmp, wandb_api_key: abc, foo: 1}}",
        "optimizer: {args: {a: 1}}",
        "memory: {blocks_to_swap: 99}",
        "rnk: 3",
    )
    (in_folder / "mine.yaml").write_text("\n".join(lines))
    _, answer = forge("preset", "validate", "mine.yaml")
    assert {finding["where"].split(":")[1] for finding in answer["findings"]} == {"2", "3", "4", "5", "6"}
    assert sum(finding["where"].startswith("mine.yaml:3") for finding in answer["findings"]) == 3


def test_a_preset_that_leaves_something_to_the_call_is_valid(in_folder: Path) -> None:
    (in_folder / "mine.yaml").write_text("families: [sdxl]\nreg_images: none\n")
    assert forge("preset", "validate", "mine.yaml")[0] == 0


@contextmanager
def files_at_most(size_bytes: int) -> Iterator[None]:
    """A disk on which no file can grow beyond this, as on one that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("room", "failed"), [(6_000, "preset.schema.json"), (100, "identity.yaml")])
def test_of_a_copy_that_fails_nothing_is_left_and_the_file_that_failed_is_named(
    room: int, failed: str, in_folder: Path
) -> None:
    with files_at_most(room), pytest.raises(PresetError, match=failed):
        copy_preset("identity", None, in_folder)
    assert list(in_folder.iterdir()) == []
    assert forge("preset", "cp", "identity")[0] == 0


def test_a_preset_with_a_misspelt_key_is_not_copied(in_folder: Path) -> None:
    (in_folder / "mine.yaml").write_text("extends: identity\nnetwork: {rnak: 3}\n")
    code, answer = forge("preset", "cp", "mine.yaml", "yours")
    assert (code, [finding["code"] for finding in answer["findings"]]) == (3, ["unknown-key"])
    assert not (in_folder / "presets").exists()


def test_show_says_what_the_policy_overrules(in_folder: Path) -> None:
    _, answer = forge("preset", "show", "identity")
    overruled = {key for key, leaf in answer["data"].items() if "overruled_by" in leaf}
    assert overruled == {"network.rank", "network.alpha", "schedule.repeats", "schedule.steps"}
    assert answer["data"]["network.rank"]["overruled_by"] == "policy identity"
    text = CliRunner().invoke(app, ["preset", "show", "identity"]).stdout
    line = next(line for line in text.splitlines() if line.startswith("network.rank "))
    assert "by policy identity (32 in fast-iteration.yaml:" in line
    assert line.endswith("is overruled)")


def test_show_leaves_alone_what_stands_in_the_policys_own_layer(in_folder: Path) -> None:
    (in_folder / "mine.yaml").write_text("extends: fast-iteration\npolicy: identity\nnetwork: {rank: 24}\n")
    _, answer = forge("preset", "show", "mine.yaml")
    assert "overruled_by" not in answer["data"]["network.rank"]
    assert answer["data"]["network.alpha"]["overruled_by"] == "policy identity"
    assert not any("overruled_by" in leaf for leaf in forge("preset", "show", "fast-iteration")[1]["data"].values())
