"""Every fault that can be planted is found by its name, and a clean dataset is left in peace."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import FAULTS, Fault, draw_clean, reg_folder

from lora_forge.datasets.advice import CLIP_TOKENS, Advice, TokenLimit
from lora_forge.workflow.checking import usual_advice
from lora_forge.workflow.dataset_check import CheckResult, check_dataset


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clean(tmp_path_factory.mktemp("clean") / "photos")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clean(tmp_path_factory.mktemp("few") / "photos", 3)


def advice(fault: Fault) -> Advice:
    usual = usual_advice(fault.trigger)
    limit = TokenLimit(CLIP_TOKENS, "CLIP") if fault.clip else usual.token_limit
    return Advice(fault.subject, fault.trigger, usual.resolution, usual.fit, limit)


def planted(fault: Fault, few: Path, tmp_path: Path) -> tuple[Path, str]:
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in few.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder, fault.plant(folder)


def check(folder: Path, fault: Fault, tmp_path: Path) -> CheckResult:
    reg = reg_folder(folder) if fault.reg else None
    return check_dataset(folder, advice=advice(fault), reg=reg, cache_file=tmp_path / "cache" / "p.sqlite")


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_every_planted_fault_is_found_at_its_place(fault: Fault, few: Path, tmp_path: Path) -> None:
    folder, place = planted(fault, few, tmp_path)
    found = [one for one in check(folder, fault, tmp_path).findings if one.code == fault.code]
    assert found, f"{fault.name} was missed"
    assert any(one.where.removesuffix(":1").endswith(place.removesuffix(":1")) for one in found)
    assert all(one.message.endswith(".") and "{" not in one.message + one.hint for one in found)


def test_a_fault_of_one_file_blames_no_other_file(few: Path, tmp_path: Path) -> None:
    fault = next(fault for fault in FAULTS if fault.code == "image-blurred")
    folder, place = planted(fault, few, tmp_path)
    (found,) = check(folder, fault, tmp_path).findings
    assert (found.code, found.where) == ("image-blurred", str(folder / place))


def test_a_clean_dataset_of_forty_has_no_finding(clean: Path, tmp_path: Path) -> None:
    usual = usual_advice("ohwx")
    identity = Advice("identity", "ohwx", usual.resolution, usual.fit, TokenLimit(CLIP_TOKENS, "CLIP"))
    result = check_dataset(clean, advice=identity, cache_file=tmp_path / "p.sqlite")
    assert result.findings == ()
    assert (result.facts.images, len(result.pixels), result.exit_code) == (40, 40, 0)


def test_the_drawn_demo_has_no_finding(tmp_path: Path) -> None:
    from lora_forge.demo.draw import draw_dataset

    draw_dataset(tmp_path / "demo")
    usual = usual_advice("forgelin")
    identity = Advice("identity", "forgelin", usual.resolution, usual.fit, TokenLimit(CLIP_TOKENS, "CLIP"))
    result = check_dataset(tmp_path / "demo", advice=identity, cache_file=tmp_path / "p.sqlite")
    assert result.findings == ()


def test_every_remark_of_the_table_is_planted_once() -> None:
    from lora_forge.datasets.remarks import REMARKS

    needs_other_buckets = {"image-narrow"}
    assert set(REMARKS) - {fault.code for fault in FAULTS} == needs_other_buckets
