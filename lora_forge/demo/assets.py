"""Everything that the demo trains with, made on the spot and kept for the next time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lora_forge.errors import EngineError, ForgeError

SEED = 42
DRAWING = 1  # raise it when the pictures change, so that older folders are drawn again
MODELS, DATASET, DATASET_STAMP = "models", "dataset", "dataset.json"
MAKER = Path(__file__).resolve().parent.parent / "guest" / "demo_models.py"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class DemoAssets:
    dataset: Path
    trigger: str
    model: Path
    clip_l: Path
    t5xxl: Path
    ae: Path
    tokenizer_cache: Path


def prepare_demo(folder: Path, *, engine_python: Path, engine_checkout: Path, run: Run = subprocess.run) -> DemoAssets:
    """Make the dataset and the models below ``folder``, or find them there from an earlier time.

    The models take about 1.5 GB of disk, though T5 alone reads as 9.5 GB: it is a
    hole in a file. They are made by the engine's own Python, which has torch.

    Raises:
        EngineError: the engine's Python does not start.
        ForgeError: a file cannot be written, or the engine's Python failed.
    """
    folder = folder.resolve()
    try:
        _prepare_dataset(folder)
    except OSError as failure:
        raise _unwritable(folder, failure) from failure
    _prepare_models(folder / MODELS, engine_python, engine_checkout, run)
    return _assets(folder)


def _prepare_dataset(folder: Path) -> None:
    """The stamp goes first and comes last, so that half a dataset is never taken for a whole one."""
    stamp = folder / DATASET_STAMP
    if _stamped(stamp) == _stamp(folder):
        return
    from lora_forge.demo.draw import draw_dataset

    folder.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    draw_dataset(folder / DATASET, seed=SEED)
    part = stamp.with_name(stamp.name + ".part")
    part.write_text(json.dumps(_stamp(folder), indent=1), encoding="utf-8")
    part.replace(stamp)


def _stamp(folder: Path) -> dict[str, object]:
    """What a complete dataset looks like now: a deleted or edited file changes it."""
    files = sorted((folder / DATASET).glob("*.*"))
    return {"seed": SEED, "drawing": DRAWING, "files": {path.name: path.stat().st_size for path in files}}


def _stamped(stamp: Path) -> object:
    try:
        return json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _prepare_models(folder: Path, python: Path, checkout: Path, run: Run) -> None:
    argv = [str(python), "-I", "-B", str(MAKER), str(folder), "--seed", str(SEED), "--pin", _pin(checkout)]
    try:
        ended = run(argv, cwd=checkout, capture_output=True, text=True, check=False)
    except OSError as failure:
        raise EngineError(
            f"the engine's Python does not start: {python}: {failure.strerror or failure}",
            "run: forge engine install",
        ) from failure
    if ended.returncode != 0:
        raise ForgeError(
            f"the demo's models could not be made in {folder}: {_last_line(ended.stderr)}",
            "check the free disk space there (2 GB are needed), and the engine with: forge engine verify",
        )


def _pin(checkout: Path) -> str:
    """The commit that the checkout is at; a detached HEAD is the hash itself."""
    try:
        return (checkout / ".git" / "HEAD").read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown"


def _last_line(text: str) -> str:
    """A Python traceback ends with what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _unwritable(folder: Path, failure: OSError) -> ForgeError:
    return ForgeError(
        f"the demo's dataset cannot be written to {folder / DATASET}: {failure.strerror or failure}",
        "choose a folder that is writable and has 2 GB free: forge demo --folder DIR",
    )


def _assets(folder: Path) -> DemoAssets:
    from lora_forge.demo.shots import TRIGGER

    models = folder / MODELS
    return DemoAssets(
        dataset=folder / DATASET,
        trigger=TRIGGER,
        model=models / "flux-demo.safetensors",
        clip_l=models / "clip-l-demo.safetensors",
        t5xxl=models / "t5xxl-demo.safetensors",
        ae=models / "ae-demo.safetensors",
        tokenizer_cache=models / "tokenizers",
    )
