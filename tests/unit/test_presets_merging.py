"""Layers → one preset; every mistake with the place that made it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lora_forge.findings import Finding
from lora_forge.presets.keys import preset_leaves
from lora_forge.presets.merge import merge_layers
from lora_forge.presets.model import Preset
from lora_forge.presets.schema import preset_schema
from lora_forge.presets.yaml_reader import read_settings
from lora_forge.settings import Layer, Source, Value, Written

BASE = "name: base\nfamilies: [flux]\n"


def layer(text: str, label: str = "a.yaml") -> Layer:
    values, findings = read_settings(text, source=Source.PRESET, label=label, leaves=preset_leaves())
    assert findings == []
    return Layer(Source.PRESET, label, values)


def findings_of(text: str) -> list[Finding]:
    return merge_layers([layer(BASE + text)])[2]


def test_the_highest_layer_wins_and_null_unwrites() -> None:
    low = layer(BASE + "network: {rank: 8, alpha: 4, dropout: 0.1}\n", "low.yaml")
    high = layer("network: {rank: 16, dropout: null}\n", "high.yaml")
    preset, origins, findings = merge_layers([low, high])
    assert findings == []
    assert preset is not None
    assert (preset.network.rank, preset.network.alpha, preset.network.dropout) == (16, 4.0, None)
    assert (origins["network.rank"].layer, origins["network.rank"].written.where) == (1, "high.yaml:1:11")
    assert (origins["network.alpha"].layer, origins["network.alpha"].written.where) == (0, "low.yaml:3:20")
    assert "network.dropout" not in origins


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("network: {rank: '16'}", 'network.rank is "16"; expected a whole number.'),
        ("network: {rank: 16.5}", "network.rank is 16.5; expected a whole number."),
        ("network: {rank: true}", "network.rank is true; expected a whole number."),
        ("network: {rank: 0}", "network.rank is 0; expected 1 or more."),
        ("network: {rank: 16385}", "network.rank is 16385; expected 16384 at the most."),
        ("network: {alpha: 1e30}", "network.alpha is 1e+30; expected 65504.0 at the most."),
        ("schedule: {steps: 1000001}", "schedule.steps is 1000001; expected 1000000 at the most."),
        ("schedule: {repeats: 10001}", "schedule.repeats is 10001; expected 10000 at the most."),
        ("schedule: {batch_size: 4097}", "schedule.batch_size is 4097; expected 4096 at the most."),
        ("data: {bucket_step: 4097}", "data.bucket_step is 4097; expected 4096 at the most."),
        ("sampling: {steps: 1001}", "sampling.steps is 1001; expected 1000 at the most."),
        ("sampling: {seed: -1}", "sampling.seed is -1; expected 0 or more."),
        ("seed: 4294967296", "seed is 4294967296; expected 4294967295 at the most."),
        ("network: {alpha: true}", "network.alpha is true; expected a number."),
        ("network: {kind: lorra}", "network.kind is \"lorra\"; expected 'lora', 'loha' or 'lokr'."),
        ("network: 16", "network is 16; expected a table of keys: "),
        ("augment: {flip: yes}", 'augment.flip is "yes"; expected true or false.'),
        ("optimizer: {name: 8}", "optimizer.name is 8; expected text."),
        ("optimizer: {args: [a]}", 'optimizer.args is ["a"]; expected a table such as {key: value}.'),
        ("optimizer: {args: {a.b: null}}", "optimizer.args.a.b is null; expected text, a number, true or false."),
        ("sampling: {prompts: hello}", 'sampling.prompts is "hello"; expected a list such as [a, b].'),
        ("sampling: {prompts: [1]}", "sampling.prompts.0 is 1; expected text."),
        ("data: {resolution: 1e9}", "data.resolution is 1000000000.0; expected a whole number."),
        ("loss: {noise_offset: .nan}", 'loss.noise_offset is ".nan"; expected a number.'),
    ],
)
def test_a_wrong_value_is_one_finding_with_key_value_and_expectation(text: str, said: str) -> None:
    (finding,) = findings_of(text + "\n")
    assert finding.message.startswith(said)
    assert finding.where.startswith("a.yaml:3:")
    assert finding.hint


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("sampling: {prompts: [a, 1]}", "a.yaml:3:25"),
        ("optimizer:\n  args:\n    a: 1\n    b: null", "a.yaml:6:5"),
        ("network:\n  rank: x", "a.yaml:4:3"),
    ],
)
def test_a_wrong_value_stands_at_the_column_of_its_own_part(text: str, place: str) -> None:
    (finding,) = findings_of(text + "\n")
    assert finding.where == place


@pytest.mark.parametrize(
    ("ending", "hint"), [("caption", "Write .caption."), ("a/b", "Correct captions.extension"), (".", "Correct")]
)
def test_an_ending_needs_its_dot(ending: str, hint: str) -> None:
    (finding,) = findings_of(f"captions: {{extension: {ending}}}\n")
    assert finding.message == f'captions.extension is "{ending}"; expected an ending with its dot, such as .txt.'
    assert finding.hint.startswith(hint)
    assert findings_of("captions: {extension: .wd14.txt}\n") == []


@pytest.mark.parametrize(("kind", "hint"), [("lohar", "Did you mean loha?"), ("zzz", "Write one of lora, loha, lokr.")])
def test_a_misspelt_choice_gets_the_nearest(kind: str, hint: str) -> None:
    (finding,) = findings_of(f"network: {{kind: {kind}}}\n")
    assert finding.hint == hint


def test_the_highest_seed_of_the_engine_is_taken_and_a_picture_may_have_a_higher_one() -> None:
    assert findings_of("seed: 4294967295\nsampling: {seed: 9223372036854775807}\n") == []


def test_a_whole_number_is_fine_where_a_number_is_wanted() -> None:
    preset, _, findings = merge_layers([layer(BASE + "network: {alpha: 8}\noptimizer: {max_grad_norm: 0}\n")])
    assert findings == []
    assert preset is not None
    assert (preset.network.alpha, preset.optimizer.max_grad_norm) == (8.0, 0.0)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("netwrok: {rnak: 3}", "Did you mean network.rank?"),
        ("rank: 3", "Did you mean network.rank?"),
        ("optimizer: {learnig_rate: 1e-4}", "Did you mean optimizer.learning_rate?"),
        ("optimizer: {args.weight_decay: 0.1}", "optimizer.args is one value: "),
        ("trigger: x", "It belongs to the run, not to a preset: give it as --trigger or in forge.yaml."),
        ("xyzzy: {}", "The tables are: augment, captions, "),
    ],
)
def test_an_unknown_key_gets_the_nearest_known_one(text: str, hint: str) -> None:
    (finding,) = findings_of(text + "\n")
    assert finding.code == "unknown-key"
    assert finding.where.startswith("a.yaml:3:")
    assert finding.hint.startswith(hint)


def test_an_unknown_key_alone_leaves_the_preset_usable() -> None:
    preset, origins, findings = merge_layers([layer(BASE + "netwrok: {rnak: 3}\n")])
    assert isinstance(preset, Preset)
    assert "netwrok.rnak" not in origins
    assert len(findings) == 1


def test_all_mistakes_come_at_once() -> None:
    found = findings_of("rnk: 1\nnetwork: {rank: 0, kind: x}\nschedule: {steps: a}\n")
    assert sorted(finding.where for finding in found) == ["a.yaml:3:1", "a.yaml:4:11", "a.yaml:4:20", "a.yaml:5:12"]


def test_a_missing_key_is_told_with_the_preset_that_lacks_it() -> None:
    preset, _, (finding,) = merge_layers([layer("name: x\n", "mine.yaml"), Layer(Source.CLI, "--set", {})])
    assert preset is None
    assert (finding.code, finding.where) == ("preset-missing-key", "mine.yaml")
    assert "families" in finding.message


def test_a_mistake_on_the_command_line_names_the_flag() -> None:
    wrong = Layer(Source.CLI, "--set", {"seed": Written("x", Source.CLI, "--set seed")})
    (finding,) = merge_layers([layer(BASE), wrong])[2]
    assert finding.where == "--set seed"


def test_a_hostile_file_of_unknown_keys_stays_bounded() -> None:
    many: Mapping[str, Written] = {f"k{n}": Written(1, Source.PRESET) for n in range(5000)}
    assert len(merge_layers([layer(BASE), Layer(Source.PRESET, "x", many)])[2]) < 100


def test_the_schema_knows_every_key_allows_null_and_requires_nothing() -> None:
    schema = preset_schema()
    assert preset_leaves() | {"extends"} == set(_schema_leaves(schema, schema, ""))
    assert "required" not in schema
    assert {"type": "null"} in _branches(schema, "name")
    assert {"type": "null"} in _branches(schema, "extends")


def _branches(schema: dict[str, object], key: str) -> list[object]:
    properties = schema["properties"]
    assert isinstance(properties, dict)
    branches = properties[key]["anyOf"]
    assert isinstance(branches, list)
    return branches


def _schema_leaves(root: dict[str, object], table: dict[str, object], prefix: str) -> list[str]:
    definitions, properties = root["$defs"], table["properties"]
    assert isinstance(definitions, dict)
    assert isinstance(properties, dict)
    leaves: list[str] = []
    for name, inner in properties.items():
        reference = next((one["$ref"] for one in inner["anyOf"] if "$ref" in one), None)
        if reference is None:
            leaves.append(prefix + name)
        else:
            section = definitions[reference.rpartition("/")[2]]
            assert section["additionalProperties"] is False
            leaves += _schema_leaves(root, section, f"{prefix}{name}.")
    return leaves


@pytest.mark.parametrize("value", [16, 1.5, "x", True, ["a"], {"a": 1}])
def test_no_value_of_any_type_raises(value: Value) -> None:
    for key in preset_leaves():
        values = {"name": Written("x", Source.PRESET), "families": Written(["flux"], Source.PRESET)}
        values[key] = Written(value, Source.PRESET, "a.yaml:1")
        preset, _, findings = merge_layers([Layer(Source.PRESET, "a.yaml", values)])
        assert (preset is None) == bool(findings)


@pytest.mark.parametrize("key", ["model", "models.model"])
def test_a_model_file_is_no_setting_of_a_preset_whichever_way_it_is_written(key: str) -> None:
    asked = Layer(Source.CLI, "--set", {key: Written("x", Source.CLI)})
    _, _, [finding] = merge_layers([layer(BASE), asked])
    assert "--model" in finding.hint
