"""What makes the engine import code, compared with the engine's own source."""

from __future__ import annotations

import re
from pathlib import Path

from lora_forge.plan.optimizers import BUILT_IN, NOT_INSTALLED
from lora_forge.presets.trust import CODE_OPTIONS

SCRIPTS = ("train_network.py", "library/train_util.py")


def test_the_known_optimizers_are_those_the_engine_names(engine_checkout: Path) -> None:
    source = (engine_checkout / "library" / "train_util.py").read_text(encoding="utf-8")
    body = source[source.index("def get_optimizer(") : source.index("def get_optimizer_train_eval_fn(")]
    named = {name.lower() for name in re.findall(r'optimizer_type == "(\w+)"\.lower\(\)', body)}
    assert {name for name in named if not name.startswith(NOT_INSTALLED)} == {name.lower() for name in BUILT_IN}
    assert any(name.startswith(NOT_INSTALLED) for name in named)


def test_the_engine_imports_by_name_where_forge_thinks_it_does(engine_checkout: Path) -> None:
    """One import for each option that names code; a further one would be a further way in."""
    sources = [(engine_checkout / script).read_text(encoding="utf-8") for script in SCRIPTS]
    assert sum(source.count("importlib.import_module(") for source in sources) == len(CODE_OPTIONS)
