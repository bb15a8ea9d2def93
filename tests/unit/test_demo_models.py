"""The files that the guest makes for the demo; what needs torch is shown by the engine tier."""

import importlib.util
import json
import os
import struct
from pathlib import Path

import pytest

import lora_forge

GUEST = Path(lora_forge.__file__).parent / "guest" / "demo_models.py"
SHAPES = {"a.weight": (3, 4), "a.bias": (3,), "b.scale": (5,)}


@pytest.fixture
def guest():
    spec = importlib.util.spec_from_file_location("demo_models_under_test", GUEST)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_header(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def letters(name, shape):
    """A fill that writes the first letter of the tensor's name."""
    count = 1
    for side in shape:
        count *= side
    return memoryview(name[0].encode() * (2 * count))


def test_each_tensor_lies_where_the_header_says(guest, tmp_path):
    guest.write_weights(tmp_path / "m.safetensors", SHAPES, letters)
    header, data = read_header(tmp_path / "m.safetensors")
    for name, shape in SHAPES.items():
        start, end = header[name]["data_offsets"]
        assert header[name] == {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
        assert data[start:end] == bytes(letters(name, shape))
    assert len(data) == 2 * (12 + 3 + 5)


def test_the_data_begins_on_an_eight_byte_boundary(guest, tmp_path):
    for length in range(1, 9):
        guest.write_weights(tmp_path / "m.safetensors", {"x" * length: (1,)}, letters)
        (header_length,) = struct.unpack("<Q", (tmp_path / "m.safetensors").read_bytes()[:8])
        assert header_length % 8 == 0


def test_a_file_without_fill_is_a_hole_of_zeros(guest, tmp_path):
    path = tmp_path / "t5.safetensors"
    guest.write_weights(path, {"shared.weight": (4096, 4096)}, None)
    status = path.stat()
    assert status.st_size > 2 * 4096 * 4096
    assert status.st_blocks * 512 < 1 << 20
    with path.open("rb") as file:
        file.seek(-16, os.SEEK_END)
        assert file.read() == bytes(16)


def test_a_write_that_fails_leaves_the_earlier_file_whole(guest, tmp_path):
    path = tmp_path / "m.safetensors"
    guest.write_weights(path, SHAPES, letters)
    before = path.read_bytes()

    def full_disk(_name, _shape):
        raise OSError(28, "no space left on device")

    with pytest.raises(OSError, match="no space"):
        guest.write_weights(path, SHAPES, full_disk)
    assert path.read_bytes() == before


def test_clip_tokenizers_end_at_the_highest_id(guest, tmp_path):
    guest.write_clip_tokenizer(tmp_path / "clip")
    vocabulary = json.loads((tmp_path / "clip" / "vocab.json").read_text())
    assert vocabulary["<|startoftext|>"] == 49406
    assert vocabulary["<|endoftext|>"] == max(vocabulary.values()) == 49407
    assert vocabulary["!"] == 0
    assert len(set(vocabulary.values())) == len(vocabulary) == 2 * 256 + 2


@pytest.fixture
def made(guest, tmp_path, monkeypatch):
    """A folder whose models are made by a stand-in that counts how often it is asked."""
    calls = []

    def write_all(folder, seed):
        calls.append(seed)
        for name in (guest.MODEL, guest.CLIP_L, guest.T5XXL, guest.AE):
            guest.write_weights(folder / name, SHAPES, letters)
        for name in (*guest.CLIP_FOLDERS, guest.T5_FOLDER):
            (folder / guest.TOKENIZERS / name).mkdir(parents=True, exist_ok=True)
            (folder / guest.TOKENIZERS / name / "tokenizer_config.json").write_text("{}")

    monkeypatch.setattr(guest, "_write_all", write_all)

    def make(seed=42, pin="c0ffee"):
        guest.make_models(tmp_path / "models", seed=seed, pin=pin)
        return len(calls)

    return make


def test_complete_models_are_made_once(made):
    assert [made(), made()] == [1, 1]


def test_another_seed_or_pin_makes_the_models_again(made):
    assert [made(), made(seed=43), made(seed=43, pin="beef")] == [1, 2, 3]


@pytest.mark.parametrize("damage", ["truncate", "remove", "tokenizer", "stamp"])
def test_an_incomplete_folder_is_made_again(made, guest, tmp_path, damage):
    made()
    folder = tmp_path / "models"
    if damage == "truncate":
        os.truncate(folder / guest.MODEL, 10)
    elif damage == "stamp":
        (folder / guest.STAMP).write_text("{")
    else:
        name = guest.AE if damage == "remove" else f"tokenizers/{guest.T5_FOLDER}/tokenizer_config.json"
        (folder / name).unlink()
    assert made() == 2


def test_a_making_that_stops_half_way_is_not_taken_for_complete(guest, tmp_path, monkeypatch, made):
    made()
    monkeypatch.setattr(guest, "_write_all", lambda _folder, _seed: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made(seed=43)
    wanted = {"seed": 42, "pin": "c0ffee", "recipe": guest._recipe()}
    assert not guest.is_complete(tmp_path / "models", wanted)
