"""Laws of the engine's place: the lock's content names the environment, ``FORGE_HOME`` moves everything."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import pytest

from lora_forge.engine.children import clean_environment, masked
from lora_forge.engine.home import LOCKS, locate_engine, python_tag, variants
from lora_forge.engine.pin import COMMIT, REPOSITORY
from lora_forge.errors import EngineError


def test_forge_home_moves_checkout_and_environment(tmp_path: Path) -> None:
    home = locate_engine({"FORGE_HOME": str(tmp_path)})
    assert home.checkout == tmp_path / "sd-scripts"
    assert home.environment.parent == tmp_path / "engine"
    assert not (tmp_path / "engine").exists()


def test_a_source_checkout_keeps_the_engine_in_vendor() -> None:
    root = Path(__file__).resolve().parents[3]
    assert locate_engine({}).checkout == root / "vendor" / "sd-scripts"


@pytest.mark.parametrize("variant", sorted(variants()))
def test_an_environment_is_named_by_the_content_of_its_lock(tmp_path: Path, variant: str) -> None:
    home = locate_engine({"FORGE_HOME": str(tmp_path)}, variant=variant)
    digest = hashlib.sha256((LOCKS / f"{variant}.txt").read_bytes()).hexdigest()
    assert home.lock_sha256 == digest
    tag = python_tag((sys.version_info[0], sys.version_info[1]))
    assert home.environment.name == f"{variant}-{digest[:12]}-{tag}"


def test_an_unknown_variant_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cu99") as problem:
        locate_engine({"FORGE_HOME": str(tmp_path)}, variant="cu99")
    assert "cu124, cu128" in problem.value.hint


def test_a_variant_cannot_leave_the_locks_folder(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        locate_engine({"FORGE_HOME": str(tmp_path)}, variant="../locks/cu124")


def test_the_pin_is_one_whole_commit_over_https() -> None:
    assert re.fullmatch("[0-9a-f]{40}", COMMIT)
    assert REPOSITORY.startswith("https://")


def test_children_keep_proxies_and_lose_what_misleads_python() -> None:
    kept = clean_environment({"HTTPS_PROXY": "p", "PYTHONPATH": "x", "VIRTUAL_ENV": "y", "PIP_USER": "1"})
    assert kept["HTTPS_PROXY"] == "p"
    assert kept.keys().isdisjoint({"PYTHONPATH", "VIRTUAL_ENV", "PIP_USER"})


@pytest.mark.parametrize("secret", ["token", "user:p-w.d", "a%40b:c"])
def test_no_credential_in_a_url_survives_in_a_message(secret: str) -> None:
    assert secret not in masked(f"error: https://{secret}@host/simple/torch: 401")
