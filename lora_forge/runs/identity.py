"""What a run was made of, so that it can be told from another and made again.

Nothing here names a person or a machine: paths are relative to the run or to the
home folder, the environment comes by an allow-list, and values of secrets never.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lora_forge import __version__
from lora_forge.datasets.rejected import Rejected
from lora_forge.runs.ledger import Json
from lora_forge.runs.source import source_commit
from lora_forge.runs.staging import StagedFile

ALLOWED_ENVIRONMENT = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "CUBLAS_WORKSPACE_CONFIG",
    "HF_HUB_OFFLINE",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TRANSFORMERS_OFFLINE",
)
PLAIN_VALUE = re.compile(r"[\w.,:=+-]{0,200}")
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
# Windows' homes under WSL and those of the network too.
HOME_OF_ANYONE = re.compile(
    r"(?<![\w.~-])(?:"
    r"(?:/mnt/[a-z]|/export|/usr|/net/[^/\s]+|/Volumes/[^/\s]+)?/(?:home|Users)/[^/\s'\"]+"
    r"|(?:/run)?/media/[^/\s'\"]+"
    r"|/root(?=/|$))"
)
EDGE_BYTES = 1 << 20


def new_uuid() -> str:
    return str(uuid.uuid4())


def digest(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def without_names(text: str, run: Path) -> str:
    """The text with this run as ``.``, home folders as ``~``, and no e-mail address.

    >>> without_names("/home/jeff/runs/a-001/plan.json by jeff@x.org", Path("/home/jeff/runs/a-001"))
    './plan.json by (e-mail)'
    >>> without_names("--model=/home/jeff/flux.safetensors", Path("/srv/a"))
    '--model=~/flux.safetensors'
    >>> without_names("/mnt/c/Users/jeff/a.png and /media/jeff/disk/b.png", Path("/srv/a"))
    '~/a.png and ~/disk/b.png'
    """
    text = text.replace(f"{run}{os.sep}", f".{os.sep}")
    home = os.path.expanduser("~")  # noqa: PTH111  # never raises
    if len(home) > 1:
        text = re.sub(rf"(?<![\w.~-]){re.escape(home)}(?=/|$)", "~", text)
    return EMAIL.sub("(e-mail)", HOME_OF_ANYONE.sub("~", text))


def relative_word(word: str, run: Path) -> str:
    """One word of a command: a path as seen from the run, unless it lies in a home folder."""
    shown = without_names(word, run)
    return os.path.relpath(shown, run) if shown.startswith(os.sep) else shown


def plan_facts(plan: Mapping[str, Json], run: Path) -> dict[str, Json]:
    """A plan's JSON as the ledger keeps it: values and sources; its reasons may name folders, and decide nothing."""
    if "value" in plan and "source" in plan:
        text = without_names(json.dumps(plan["value"], ensure_ascii=False), run)
        return {"value": json.loads(text), "source": plan["source"]}
    return {key: plan_facts(branch, run) for key, branch in plan.items() if isinstance(branch, dict)}


def environment_facts(env: Mapping[str, str]) -> dict[str, Json]:
    """What of the environment bears on a training, and nothing that could be a secret."""
    return {
        name: env[name] for name in ALLOWED_ENVIRONMENT if name in env and PLAIN_VALUE.fullmatch(env[name]) is not None
    }


def software_facts() -> dict[str, Json]:
    return {
        "forge": __version__,
        "commit": source_commit(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def driver_facts() -> dict[str, Json]:
    """The GPU driver and the newest CUDA it knows; empty where there is none."""
    try:
        import pynvml

        pynvml.nvmlInit()
        version = pynvml.nvmlSystemGetDriverVersion()
        cuda = int(pynvml.nvmlSystemGetCudaDriverVersion())
    except Exception:  # noqa: BLE001  # a library of many moods, and nothing here is worth a failed start
        return {}
    text = version.decode(errors="replace") if isinstance(version, bytes) else str(version)
    return {"driver": text, "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}"}


def model_facts(paths: Mapping[str, Path]) -> dict[str, Json]:
    """Each base-model file: name, size, and a digest of its edges, which costs nothing at any size.

    The edges hold a safetensors header whole or in most part. The SHA-256 of all
    of it comes later, from the engine, which reads the file anyway.
    """
    return {name: _model(path) for name, path in sorted(paths.items())}


def dataset_facts(files: Sequence[StagedFile], rejected: Iterable[Rejected], run: Path) -> dict[str, Json]:
    told: list[Json] = [
        {"name": f.name, "size_bytes": f.size_bytes, "sha256": f.sha256, "caption_sha256": f.caption_sha256}
        for f in files
    ]
    turned_away: list[Json] = [{"name": without_names(each.name, run), "why": each.why} for each in rejected]
    return {"sha256": dataset_digest(files), "files": told, "rejected": turned_away}


def dataset_digest(files: Iterable[StagedFile]) -> str:
    """One digest of all pictures and captions, in their order."""
    return digest("\n".join(f"{f.name} {f.sha256} {f.caption_sha256}" for f in files))


def _model(path: Path) -> Json:
    told: dict[str, Json] = {"file": path.name}
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            first = file.read(EDGE_BYTES)
            file.seek(max(0, size - EDGE_BYTES))
            edges = digest(first + file.read(EDGE_BYTES))
    except OSError:
        return told
    return {**told, "size_bytes": size, "edges_sha256": edges}
