"""What lies in the folders and is not trained on is told file by file."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from lora_forge.datasets.rejected import Rejected, rejected_images
from lora_forge.datasets.scan import scan_dataset


def test_each_rejected_picture_is_named_as_seen_from_the_dataset(tmp_path: Path) -> None:
    folder = tmp_path / "photos" / "10_ohwx man"
    folder.mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 64)).save(folder / name)
    (folder / "a.txt").write_text("ohwx\n")
    for number in range(25):  # more than a plan has room for
        (folder / f"scan{number:02d}.tiff").write_bytes(b"II*\0")
        (folder / f"torn{number:02d}.png").write_bytes(b"\x89PNG")
    (folder / "gone.jpg").symlink_to("nowhere")
    facts, _ = scan_dataset(tmp_path / "photos", caption_extension=".txt")
    found = rejected_images(facts, look_alikes=["b.png"])
    assert Rejected("10_ohwx man/scan24.tiff", "image-ignored") in found
    assert Rejected("10_ohwx man/torn24.png", "image-unreadable") in found
    assert Rejected("10_ohwx man/gone.jpg", "image-unreadable") in found
    assert len(found) == 51, "what is trained on, and captions, are not among them"
