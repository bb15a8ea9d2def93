"""Laws of the option table: what the engine would swallow in silence is said here."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lora_forge.engine.dataset_schema import check_dataset_document
from lora_forge.engine.options import SCRIPTS, OptionValue, check_options, load_options
from lora_forge.engine.pin import COMMIT
from lora_forge.errors import EngineError

COUNTS = {
    "train_network": 193,
    "sdxl_train_network": 196,
    "flux_train_network": 215,
    "sd3_train_network": 218,
    "lumina_train_network": 213,
    "anima_train_network": 220,
    "hunyuan_image_train_network": 214,
}


def codes(options: Mapping[str, object], script: str = "flux_train_network") -> list[str]:
    return [finding.code for finding in check_options(load_options(script), options)]  # type: ignore[arg-type]


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_its_table_at_the_pin(script: str) -> None:
    table = load_options(f"{script}.py")
    assert len(table.options) == COUNTS[script]
    assert table.commit == COMMIT
    assert table.script == f"{script}.py"


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_default_passes_its_own_check(script: str) -> None:
    """Else the table and the check disagree about what a type is."""
    table = load_options(script)
    defaults: dict[str, OptionValue] = {o.dest: o.default for o in table.options.values() if o.default is not None}
    assert check_options(table, defaults) == []


def test_an_unknown_script_names_the_known_ones() -> None:
    with pytest.raises(EngineError, match="train_db") as problem:
        load_options("../options/train_db")
    assert "flux_train_network" in problem.value.hint


def test_a_misspelt_option_gets_its_right_name() -> None:
    (finding,) = check_options(load_options("train_network"), {"network-dim": 8})
    assert finding.code == "engine-option-unknown"
    assert "'network_dim'" in finding.hint


def test_an_option_of_another_script_is_unknown() -> None:
    assert codes({"t5xxl": "x"}) == []
    assert codes({"t5xxl": "x"}, "train_network") == ["engine-option-unknown"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("network_dim", True), ("network_dim", 8.0), ("network_dim", "8"), ("fp8_base", "false"), ("fp8_base", 1),
        ("resolution", 512), ("resolution", [512, 512]), ("network_args", "a=b"), ("network_args", [1, 2]),
        ("text_encoder_lr", [1e-4, 0]), ("text_encoder_lr", 1e-4), ("lr_warmup_steps", 10.0), ("lr_warmup_steps", True),
        ("lr_warmup_steps", "10%"), ("seed", None), ("learning_rate", float("nan")), ("learning_rate", True),
        ("output_dir", {"a": 1}),
    ],
)  # fmt: skip
def test_a_wrong_type_that_the_engine_would_swallow_is_refused(key: str, value: object) -> None:
    assert codes({key: value}) == ["engine-option-type"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("network_dim", 8), ("learning_rate", 1), ("learning_rate", 1e-4), ("lr_warmup_steps", 100),
        ("lr_warmup_steps", 0.1), ("fp8_base", False), ("resolution", "512,512"), ("network_args", ["a=b"]),
        ("network_args", []), ("text_encoder_lr", [1e-4, 0.0]), ("mixed_precision", "bf16"),
    ],
)  # fmt: skip
def test_what_the_engine_takes_passes(key: str, value: object) -> None:
    assert codes({key: value}) == []


def test_a_value_outside_the_choices_shows_them() -> None:
    (finding,) = check_options(load_options("flux_train_network"), {"mixed_precision": "banana"})
    assert finding.code == "engine-option-choice"
    assert "no, fp16, bf16" in finding.hint


def test_all_problems_come_at_once() -> None:
    assert len(codes({"network_dimm": 1, "network_dim": "x", "mixed_precision": "banana"})) == 3


def dataset(subset: Mapping[str, object] | None = None, **keys: object) -> dict[str, object]:
    return {"datasets": [{**keys, "subsets": [{"image_dir": "/d", **(subset or {})}]}]}


def test_a_plain_dataset_passes() -> None:
    document = {"general": {"caption_extension": ".txt"}, **dataset(resolution=[512, 768], batch_size=1)}
    assert check_dataset_document(document) == []


@pytest.mark.parametrize(
    ("document", "code", "where"),
    [
        (dataset(batchsize=1), "engine-dataset-unknown", "datasets[0].batchsize"),
        (dataset(prior_loss_weight=1.0), "engine-dataset-unknown", "datasets[0].prior_loss_weight"),
        (dataset({"batch_size": 1}), "engine-dataset-unknown", "datasets[0].subsets[0].batch_size"),
        (dataset(validation_split=1), "engine-dataset-type", "datasets[0].validation_split"),
        (dataset(batch_size=True), "engine-dataset-type", "datasets[0].batch_size"),
        (dataset(resolution="512,512"), "engine-dataset-type", "datasets[0].resolution"),
        (dataset({"face_crop_aug_range": [1, 3]}), "engine-dataset-type", "datasets[0].subsets[0].face_crop_aug_range"),
        ({"datasets": [{"subsets": [{}]}]}, "engine-dataset-missing", "datasets[0].subsets[0]"),
        ({"datasets": {}}, "engine-dataset-type", "datasets"),
        ({"datasets": [{"subsets": [1]}]}, "engine-dataset-type", "datasets[0].subsets"),
        ({"general": 1}, "engine-dataset-type", "general"),
        ({"generall": {}}, "engine-dataset-unknown", "generall"),
    ],
)  # fmt: skip
def test_what_the_engine_refuses_in_a_dataset_is_said_with_its_place(
    document: dict[str, object], code: str, where: str
) -> None:
    assert [(f.code, f.where) for f in check_dataset_document(document)] == [(code, where)]


def test_folders_and_metadata_do_not_mix_in_one_dataset() -> None:
    document = {"datasets": [{"subsets": [{"image_dir": "/d"}, {"metadata_file": "m.json"}]}]}
    assert "mixes" in check_dataset_document(document)[0].message


@pytest.mark.parametrize(("key", "value"), [("foo", 1), ("min_timestep", "x"), ("optimizer_args", 3), ("xformers", 1)])
def test_every_refused_option_says_what_to_try(key: str, value: OptionValue) -> None:
    (finding,) = check_options(load_options("flux_train_network"), {key: value})
    assert finding.hint
