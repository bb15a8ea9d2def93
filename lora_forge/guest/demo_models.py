"""Makes the demo's base model, text encoders, autoencoder and tokenizers, from a seed alone.

Runs inside the engine's Python with the engine's checkout as working directory:

    python -I demo_models.py FOLDER --seed 42 --pin COMMIT

Widths are the true ones of FLUX.1-dev, so that fp8, bf16 and the LoRA modules
behave as on the real model; only the blocks are 1 + 1 instead of 19 + 38. The
T5 encoder is a hole in a file: 9.5 GB to the reader, a few KB on the disk.
Shapes come from the engine's own classes on torch's meta device.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import math
import os
import shutil
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

MODEL = "flux-demo.safetensors"
CLIP_L = "clip-l-demo.safetensors"
T5XXL = "t5xxl-demo.safetensors"
AE = "ae-demo.safetensors"
TOKENIZERS = "tokenizers"
STAMP = "models.json"

Shapes = dict[str, tuple[int, ...]]
Fill = Callable[[str, tuple[int, ...]], memoryview]

BYTES_PER_WEIGHT = 2  # bf16, as FLUX.1-dev is published
CLIP_BOS, CLIP_EOS = 49406, 49407  # CLIP pools at the highest id, so the end must be 49407
CLIP_FOLDERS = ("openai_clip-vit-large-patch14", "laion_CLIP-ViT-bigG-14-laion2B-39B-b160k")
T5_FOLDER = "google_t5-v1_1-xxl"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--pin", default="unknown")
    args = parser.parse_args(argv)
    make_models(args.folder, seed=args.seed, pin=args.pin)
    return 0


def make_models(folder: Path, *, seed: int, pin: str) -> None:
    """Write every file that is not there yet; a complete folder costs no import of torch.

    The stamp is written last: without it, whatever lies there is made again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second demo waits, then finds all of it made
        wanted: dict[str, object] = {"seed": seed, "pin": pin, "recipe": _recipe()}
        if is_complete(folder, wanted):
            return
        (folder / STAMP).unlink(missing_ok=True)
        _write_all(folder, seed)
        _write_text(folder / STAMP, json.dumps({**wanted, "files": _sizes(folder)}, indent=1))


def is_complete(folder: Path, wanted: dict[str, object]) -> bool:
    """Whether the stamp names this seed, pin and recipe, and every file has the size it names."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        files = stamp.pop("files")
    except (OSError, ValueError, KeyError):
        return False
    return bool(stamp == wanted and files == _sizes(folder))


def _write_all(folder: Path, seed: int) -> None:
    sys.path.insert(0, str(Path.cwd()))  # the engine's checkout
    random = random_weights(seed)
    write_weights(folder / MODEL, flux_shapes(double_blocks=1, single_blocks=1), random)
    write_weights(folder / CLIP_L, clip_l_shapes(), random)
    write_weights(folder / T5XXL, t5xxl_shapes(), None)
    write_weights(folder / AE, ae_shapes(), random)
    write_tokenizers(folder / TOKENIZERS)


def _recipe() -> str:
    """A digest of this file: an edited recipe makes the models again."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def _sizes(folder: Path) -> dict[str, int]:
    tokenizers = [f"{TOKENIZERS}/{name}/tokenizer_config.json" for name in (*CLIP_FOLDERS, T5_FOLDER)]
    return {name: _size(folder / name) for name in (MODEL, CLIP_L, T5XXL, AE, *tokenizers)}


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


# Shapes, from the engine's own classes


def flux_shapes(*, double_blocks: int, single_blocks: int) -> Shapes:
    """The names of BFL's own file; the engine counts blocks by them and knows dev by guidance_in."""
    import torch
    from library import flux_models

    params = replace(flux_models.configs["dev"].params, depth=double_blocks, depth_single_blocks=single_blocks)
    with torch.device("meta"):
        return _shapes(flux_models.Flux(params))


def ae_shapes() -> Shapes:
    import torch
    from library import flux_models

    with torch.device("meta"):
        return _shapes(flux_models.AutoEncoder(flux_models.configs["dev"].ae_params))


def clip_l_shapes() -> Shapes:
    from library import flux_utils

    return _shapes(flux_utils.load_clip_l(None, None, "cpu", state_dict={}))


def t5xxl_shapes() -> Shapes:
    """Without ``encoder.embed_tokens``, which is the same tensor as ``shared`` and in no real file."""
    from library import flux_utils

    shapes = _shapes(flux_utils.load_t5xxl("", None, "cpu", state_dict={}))
    return {name: shape for name, shape in shapes.items() if "embed_tokens" not in name}


def _shapes(module: object) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}  # type: ignore[attr-defined]


# Weights


def random_weights(seed: int) -> Fill:
    """Weights that neither vanish nor blow up: std 1/sqrt(fan-in), norm scales 1, small biases.

    Each tensor has a generator of its own, so its values do not depend on what was drawn before.
    """
    import torch

    def fill(name: str, shape: tuple[int, ...]) -> memoryview:
        generator = torch.Generator().manual_seed(seed * 2**32 + zlib.crc32(name.encode()))
        values = torch.randn(shape, generator=generator) * _std(name, shape)
        if len(shape) < 2 and not name.endswith("bias"):
            values += 1.0  # the scale of a norm
        return memoryview(values.to(torch.bfloat16).contiguous().view(torch.uint8).numpy().reshape(-1))

    return fill


def _std(name: str, shape: tuple[int, ...]) -> float:
    if len(shape) < 2:
        return 0.02 if name.endswith("bias") else 0.0
    return 1 / math.sqrt(math.prod(shape[1:]))


RANDOM_WEIGHTS = "random_weights"  # marks the files, so that forge never picks one by itself


def write_weights(path: Path, shapes: Shapes, fill: Fill | None) -> None:
    """Stream a bf16 safetensors file, one tensor in memory at a time; no ``fill`` leaves zeros as a hole."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        header = _header(shapes)
        file.write(header)
        for name, shape in shapes.items() if fill else ():
            file.write(fill(name, shape))
        file.truncate(len(header) + sum(map(_size_bytes, shapes.values())))
        file.flush()
        os.fsync(file.fileno())
    _publish(part, path)


def _header(shapes: Shapes) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt", RANDOM_WEIGHTS: "true"}}
    start = 0
    for name, shape in shapes.items():
        end = start + _size_bytes(shape)
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)  # the format asks for 8-byte alignment
    return len(text).to_bytes(8, "little") + text


def _size_bytes(shape: tuple[int, ...]) -> int:
    return BYTES_PER_WEIGHT * math.prod(shape)


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _publish(part, path)


def _publish(part: Path, path: Path) -> None:
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# Tokenizers


def write_tokenizers(folder: Path) -> None:
    """Lay out CLIP-L, OpenCLIP bigG and T5 as the engine's ``tokenizer_cache_dir`` is searched."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in CLIP_FOLDERS:
        write_clip_tokenizer(folder / name)
    write_t5_tokenizer(folder / T5_FOLDER)


def write_clip_tokenizer(folder: Path) -> None:
    """One token a byte, no merges; begin and end of text keep their true ids."""
    folder.mkdir(parents=True)
    letters = _byte_letters()
    vocabulary = {token: i for i, token in enumerate([*letters, *(f"{letter}</w>" for letter in letters)])}
    vocabulary |= {"<|startoftext|>": CLIP_BOS, "<|endoftext|>": CLIP_EOS}
    ends = dict.fromkeys(("eos_token", "unk_token", "pad_token"), "<|endoftext|>")
    specials = {"bos_token": "<|startoftext|>", **ends}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **specials}
    _write_text(folder / "vocab.json", json.dumps(vocabulary, ensure_ascii=False))
    _write_text(folder / "merges.txt", "#version: 0.2\n")
    _write_text(folder / "special_tokens_map.json", json.dumps(specials))
    _write_text(folder / "tokenizer_config.json", json.dumps(settings))


def _byte_letters() -> list[str]:
    """A printable letter for each byte, in CLIP's order: printable ones first, so that "!" has id 0."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printable)
    return [chr(code) for code in printable] + [chr(256 + i) for i in range(others)]


def write_t5_tokenizer(folder: Path) -> None:
    """One token a printable character; padding, end and unknown keep T5's ids 0, 1 and 2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import T5TokenizerFast

    letters = [chr(code) for code in range(0x21, 0x7F)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((c, -3.0) for c in ("▁", *letters))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = T5TokenizerFast(tokenizer_object=tokenizer, extra_ids=0, model_max_length=512)
    fast.save_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
