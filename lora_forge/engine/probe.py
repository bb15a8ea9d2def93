"""Ask the engine's Python what it can import: the only proof that an environment works."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lora_forge.engine.children import run_child
from lora_forge.errors import EngineError

ANSWER = "forge-probe:"

# Runs in the engine's Python. Libraries print while they are imported, hence the marked line.
QUESTION = """
import importlib, importlib.metadata, json, platform, re, sys
checkout, *modules = sys.argv[1:]
if checkout:
    sys.path.insert(0, checkout)
failed, versions = {}, {}
for module in modules:
    try:
        importlib.import_module(module)
    except BaseException as problem:
        failed[module] = f"{type(problem).__name__}: {problem}"
for installed in importlib.metadata.distributions():
    versions[re.sub("[-_.]+", "-", installed.metadata["Name"]).lower()] = installed.version
torch = sys.modules.get("torch")
cuda = bool(torch and torch.cuda.is_available())
print("\\n%s%s" % ("forge-probe:", json.dumps({
    "python": platform.python_version(),
    "versions": versions,
    "failed": failed,
    "cuda": (torch.version.cuda or "") if torch else "",
    "cuda_available": cuda,
    "device": torch.cuda.get_device_name(0) if cuda else "",
})))
"""


class Probe(NamedTuple):
    """What answered: ``failed`` maps a module to its error, ``cuda`` is what torch was built for."""

    python: str
    versions: dict[str, str]
    failed: dict[str, str]
    cuda: str
    cuda_available: bool
    device: str


def probe(
    python: Path, modules: Sequence[str], *, checkout: Path | None = None, keep_open: Sequence[int] = ()
) -> Probe:
    """Import ``modules`` in ``python``, with the engine's own on the path where ``checkout`` is given.

    Importing writes compiled modules into the environment, so an installer
    hands its lock down through ``keep_open``.

    Raises:
        EngineError: the interpreter itself does not run or dies while importing.
    """
    argv = [str(python), "-I", "-c", QUESTION, str(checkout or ""), *modules]
    lines: list[str] = []
    try:
        ended = run_child(argv, cwd=python.parent, report=lines.append, keep_open=keep_open)
    except (OSError, subprocess.SubprocessError) as problem:
        raise EngineError(f"the engine's Python does not run: {python}: {problem}", REBUILD) from problem
    answer = next((line[len(ANSWER) :] for line in reversed(lines) if line.startswith(ANSWER)), None)
    if answer is None:
        died = f"ended with {ended.returncode}: {ended.tail[-400:]}"
        raise EngineError(f"the engine's Python died while importing {', '.join(modules)}; it {died}", REBUILD)
    return Probe(**json.loads(answer))


REBUILD = "forge engine install --force"
