"""Captions by the engine's WD14 tagger, run in the engine's own Python on links of its own.

The script writes its captions beside the images it is given and fetches a model
that it does not find; so it gets a folder of links, a model that was looked at
before, and no network.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lora_forge.datasets.captioning import Proposal, Target
from lora_forge.datasets.fixing_captions import one_line
from lora_forge.errors import DatasetError, EngineError, ForgeError

SCRIPT = Path("finetune") / "tag_images_by_wd14_tagger.py"
MODEL_FILES = ("model.onnx", "selected_tags.csv")
NEEDED = ("onnx", "onnxruntime", "huggingface_hub", "cv2")
_ENDING = ".txt"


def check_tagger(python: Path, checkout: Path, model: Path, env: Mapping[str, str]) -> None:
    """Everything that the tagger needs, before anything is started.

    Raises:
        DatasetError: the model folder is not one.
        EngineError: the script or one of its packages is missing.
    """
    missing = [name for name in MODEL_FILES if not (model / name).is_file()]
    if missing:
        message = f"the tagger's model folder {model} lacks {' and '.join(missing)}"
        raise DatasetError(message, "--model DIR of a WD14 tagger in ONNX form")
    if not (checkout / SCRIPT).is_file():
        raise EngineError(f"the engine's {SCRIPT} is not there", "forge engine install")
    lacking = [name for name in NEEDED if not _imports(python, name, env)]
    if lacking:
        message = f"the tagger needs {', '.join(lacking)}, which the engine's Python lacks"
        hint = f"--command with a tagger of your own, or add them: {python} -m pip install {' '.join(lacking)}"
        raise EngineError(message, hint)


def tag_images(
    targets: Sequence[Target], python: Path, checkout: Path, model: Path, env: Mapping[str, str]
) -> Iterator[Proposal]:
    """Tag every target in one call of the script.

    Raises:
        ForgeError: the script failed.
    """
    with tempfile.TemporaryDirectory(prefix="forge-tagger-") as folder:
        links = _link_all(targets, Path(folder))
        argv = [str(python), str(checkout / SCRIPT), *_arguments(Path(folder), model)]
        offline = {**env, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        done = subprocess.run(
            argv, cwd=checkout, env=offline, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode != 0:
            last = one_line("".join(done.stderr.strip().splitlines()[-1:]))[:300]
            raise ForgeError(f"the tagger ended with exit code {done.returncode}: {last}", "--command runs another one")
        for target, link in zip(targets, links, strict=True):
            yield _proposal(target, link.with_suffix(_ENDING))


def _arguments(folder: Path, model: Path) -> list[str]:
    """The script looks for its model in ``model_dir`` under the name in ``repo_id``."""
    place = model.resolve()
    named = ["--model_dir", str(place.parent), "--repo_id", place.name]
    return [str(folder), *named, "--onnx", "--batch_size", "1", "--caption_extension", _ENDING, "--remove_underscore"]


def _link_all(targets: Sequence[Target], folder: Path) -> list[Path]:
    """Numbered, since names from several folders may be the same; endings in lower case, as the script wants them."""
    links = [folder / f"{number:06d}{target.image.suffix.lower()}" for number, target in enumerate(targets)]
    for target, link in zip(targets, links, strict=True):
        link.symlink_to(target.image.absolute())
    return links


def _proposal(target: Target, file: Path) -> Proposal:
    try:
        text = one_line(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return Proposal(target, None, "the tagger wrote no caption for it")
    return Proposal(target, text or None, "" if text else "the tagger found no tag above its threshold")


def _imports(python: Path, name: str, env: Mapping[str, str]) -> bool:
    argv = [str(python), "-c", f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"]
    try:
        return subprocess.run(argv, env=dict(env), capture_output=True, check=False).returncode == 0
    except OSError:
        return False
