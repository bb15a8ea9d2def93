"""Every fault that can be planted is found by its name, and a clean dataset is left in peace."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import FAULTS, Fault, check_planted, draw_clean

from lora_forge.datasets.advice import CLIP_TOKENS, Advice, TokenLimit
from lora_forge.workflow.checking import usual_advice
from lora_forge.workflow.dataset_check import check_dataset


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clean(tmp_path_factory.mktemp("clean") / "photos")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clean(tmp_path_factory.mktemp("few") / "photos", 3)


DOCUMENT = Path(__file__).parents[2] / "docs" / "dataset-faults.md"


def documented() -> dict[str, str]:
    """Fault → forge's finding, as docs/dataset-faults.md has it."""
    rows = [line.split("|")[1:3] for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return {name.strip(): found.strip() for name, found in rows[2:]}


def planted(fault: Fault, few: Path, tmp_path: Path) -> tuple[Path, str]:
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in few.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder, fault.plant(folder)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_every_planted_fault_is_found_at_its_place(fault: Fault, few: Path, tmp_path: Path) -> None:
    folder, place = planted(fault, few, tmp_path)
    found = [one for one in check_planted(fault, folder, tmp_path / "cache").findings if one.code == fault.code]
    assert found, f"{fault.name} was missed"
    assert documented()[fault.name] == f"{found[0].severity.value} {fault.code}"
    assert any(one.where.removesuffix(":1").endswith(place.removesuffix(":1")) for one in found)
    assert all("{" not in one.message + one.hint for one in found)
    assert all(one.message.endswith(".") or fault.preset for one in found), "but a plan's own rules"


def test_a_fault_of_one_file_blames_no_other_file(few: Path, tmp_path: Path) -> None:
    fault = next(fault for fault in FAULTS if fault.code == "image-blurred")
    folder, place = planted(fault, few, tmp_path)
    (found,) = check_planted(fault, folder, tmp_path / "cache").findings
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
    """But for the one that tells of the machine, not of a picture: ``test_dataset_check_cache`` has it."""
    from lora_forge.datasets.remarks import REMARKS

    assert set(REMARKS) - {fault.code for fault in FAULTS} == {"image-no-memory"}


def test_the_document_of_the_faults_is_of_these_very_ones() -> None:
    """Its last column is the bare engine's; ``scripts/show_dataset_faults --markdown`` writes it anew."""
    assert list(documented()) == [fault.name for fault in FAULTS]
    assert f"{len(FAULTS)} faults" in DOCUMENT.read_text(encoding="utf-8")
