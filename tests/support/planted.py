"""Datasets drawn for tests: clean ones of varied pictures, and one fault planted at a time."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFilter, ImageOps

if TYPE_CHECKING:
    from lora_forge.workflow.dataset_check import CheckResult

TRIGGER = "ohwx"
SIZES = ((896, 896), (768, 1024), (1024, 768), (832, 1152), (1216, 832))
PLACES = (
    "a harbor at dusk", "an old library", "a snowy mountain pass", "a crowded market", "a desert canyon",
    "a glass greenhouse", "a train platform", "a quiet chapel", "a rooftop terrace", "a bamboo grove",
)  # fmt: skip
DEEDS = (
    "mending a fishing net", "reading a torn letter", "climbing with a rope", "tasting spiced oranges",
    "shielding both eyes from wind", "watering tall ferns", "waving from a window", "lighting a candle",
    "laughing under an umbrella", "carving a wooden flute",
)  # fmt: skip
VIEWS = ("close portrait", "profile from the left", "seen from below", "full figure far away")


def draw_picture(seed: int, size: tuple[int, int] = (896, 896)) -> Image.Image:
    """Sharp shapes of many colours over a background of its own; no two seeds look alike."""
    rng = Random(seed)
    picture = Image.new("RGB", (24, 24))
    picture.putdata([tuple(rng.randrange(30, 226) for _ in range(3)) for _ in range(24 * 24)])
    picture = picture.resize((6, 6), Image.Resampling.BOX).resize(size, Image.Resampling.BICUBIC)
    sky = tuple(rng.randrange(20, 236) for _ in range(3))
    picture = Image.blend(picture, Image.new("RGB", size, sky), 0.55)
    draw = ImageDraw.Draw(picture)
    for _ in range(40):
        x, y = rng.randrange(size[0]), rng.randrange(size[1])
        w, h = rng.randrange(20, size[0] // 3), rng.randrange(20, size[1] // 3)
        colour = tuple(rng.randrange(20, 236) for _ in range(3))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x - w // 2, y - h // 2, x + w // 2, y + h // 2), fill=colour)
        draw.line((x, y, rng.randrange(size[0]), rng.randrange(size[1])), fill=colour, width=3)
    return picture


def caption_of(number: int, trigger: str = TRIGGER) -> str:
    place, deed = PLACES[number % 10], DEEDS[(number // 10 + number) % 10]
    return f"{trigger}, {deed} in {place}, {VIEWS[number // 10 % 4]}"


def draw_clean(folder: Path, count: int = 40, *, first: int = 0) -> Path:
    """Pictures and captions with nothing to find fault with."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        picture = draw_picture(number, SIZES[number % len(SIZES)])
        name = folder / f"{number:03d}"
        if number % 3:
            picture.save(name.with_suffix(".jpg"), quality=92)
        else:
            picture.save(name.with_suffix(".png"), compress_level=1)
        name.with_suffix(".txt").write_text(caption_of(number) + "\n", encoding="utf-8")
    return folder


Plant = Callable[[Path], str]
"""Puts a fault into a folder; the end of the place that a finding should name."""


@dataclass(frozen=True)
class Fault:
    """``code`` is forge's finding; the rest says how the dataset is checked: by a preset, else by advice."""

    name: str
    code: str
    plant: Plant
    trigger: str = TRIGGER
    subject: str = "identity"
    clip: bool = False
    reg: bool = False
    preset: str | None = None
    settings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def check_planted(fault: Fault, folder: Path, cache: Path) -> CheckResult:
    """A dataset with this fault in it, as ``forge dataset check`` would look at it."""
    from lora_forge.datasets.advice import CLIP_LIMIT, Advice
    from lora_forge.workflow.checking import usual_advice
    from lora_forge.workflow.dataset_check import check_asked, check_dataset
    from lora_forge.workflow.invocation import Invocation

    if fault.preset:
        flags = {"dataset": str(folder), "preset": fault.preset, "trigger": fault.trigger}
        return check_asked(Invocation(flags, fault.settings, {"FORGE_CACHE": str(cache)}, folder.parent))
    usual = usual_advice(fault.trigger)
    limit = CLIP_LIMIT if fault.clip else usual.token_limit
    advice = Advice(fault.subject, fault.trigger, usual.resolution, usual.fit, limit)
    reg = reg_folder(folder) if fault.reg else None
    return check_dataset(folder, advice=advice, reg=reg, cache_file=cache / "pixels.sqlite")


ODD = 900
"""A seed that no clean set of a test has."""


def _image(folder: Path, name: str, picture: Image.Image | None = None, **options: object) -> str:
    """A picture with a sound caption of its own."""
    picture = picture or draw_picture(ODD)
    picture.save(folder / name, **options)
    _caption(folder, name, "standing on a stone bridge among lanterns")
    return name


def _caption(folder: Path, name: str, said: str, trigger: str = TRIGGER) -> None:
    (folder / name).with_suffix(".txt").write_text(f"{trigger}, {said}\n", encoding="utf-8")


def _bytes(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    _caption(folder, name, "standing on a stone bridge among lanterns")
    return name


def _text(folder: Path, data: str | bytes, name: str = "odd.txt") -> str:
    """The caption of a sound picture."""
    _image(folder, Path(name).with_suffix(".jpg").name)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return name


def _encoded(kind: str) -> bytes:
    file = BytesIO()
    draw_picture(ODD).save(file, kind)
    return file.getvalue()


def _many_scans() -> bytes:
    """A progressive JPEG whose last scan stands there six hundred times."""
    file = BytesIO()
    draw_picture(ODD).save(file, "JPEG", quality=20, progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 600 + data[-2:]


def _frames(folder: Path, name: str, kind: str) -> str:
    frames = [draw_picture(ODD + number, (800, 800)) for number in range(2)]
    frames[0].save(folder / name, kind, save_all=True, append_images=frames[1:], duration=100)
    _caption(folder, name, "standing on a stone bridge among lanterns")
    return name


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, data: bytes, *, bits: int = 8, kind: int = 2) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    chunks = png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(data, 1)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _deep_colour() -> bytes:
    picture = draw_picture(ODD, (800, 800))
    rows = [
        b"\0" + b"".join(bytes([value, 0]) for value in picture.crop((0, y, 800, y + 1)).tobytes()) for y in range(800)
    ]
    return png_of(800, 800, b"".join(rows), bits=16)


def _deep_grey(folder: Path) -> str:
    import numpy as np

    grey = np.asarray(draw_picture(ODD).convert("L"), np.uint16) * 257
    return _image(folder, "odd.png", Image.fromarray(grey))


def _exif(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif


def _see_through() -> Image.Image:
    picture = draw_picture(ODD).convert("RGBA")
    mask = Image.new("L", picture.size, 255)
    ImageDraw.Draw(mask).rectangle((0, 0, 300, 896), fill=0)
    picture.putalpha(mask)
    return picture


def _see_through_palette(folder: Path) -> str:
    return _image(folder, "odd.png", draw_picture(ODD).quantize(64), transparency=3)


def _copy(folder: Path) -> str:
    (folder / "odd.jpg").write_bytes((folder / "001.jpg").read_bytes())
    _caption(folder, "odd.jpg", "standing on a stone bridge among lanterns")
    return "odd.jpg"


def _look_alike(folder: Path) -> str:
    with Image.open(folder / "001.jpg") as picture:
        return _image(folder, "odd.png", picture.resize((picture.width * 9 // 8, picture.height * 9 // 8)))


def _mirrored(folder: Path) -> str:
    with Image.open(folder / "001.jpg") as picture:
        return _image(folder, "odd.jpg", ImageOps.mirror(picture), quality=80)


def _turned(folder: Path) -> str:
    with Image.open(folder / "001.jpg") as picture:
        return _image(folder, "odd.jpg", picture.rotate(90, expand=True))


def _brightened(folder: Path) -> str:
    with Image.open(folder / "001.jpg") as picture:
        return _image(folder, "odd.jpg", picture.point(lambda value: min(255, value * 6 // 5)))


def _greyed(folder: Path) -> str:
    with Image.open(folder / "001.jpg") as picture:
        return _image(folder, "odd.jpg", picture.convert("L").convert("RGB"))


def _one_background(folder: Path) -> str:
    backdrop = draw_picture(ODD, (896, 896))
    for number in range(5):
        picture, subject = backdrop.copy(), draw_picture(ODD + 1 + number, (480, 500))
        picture.paste(subject, (200, 300))
        picture.save(folder / f"same{number}.jpg", quality=92)
        (folder / f"same{number}.txt").write_text(caption_of(30 + number) + "\n")
    return folder.name


def _hidden(folder: Path) -> str:
    (folder / "._1.jpg").write_bytes(b"\0\5\x16\7")
    return "._1.jpg"


def _same_stem(folder: Path) -> str:
    draw_picture(ODD).save(folder / "001.png")
    return "001.png"


def _nested(folder: Path) -> str:
    (folder / "more").mkdir()
    _image(folder / "more", "deep.jpg")
    return folder.name


def _like_image(folder: Path) -> str:
    (folder / "album.png").mkdir()
    return "album.png"


def _dangling(folder: Path) -> str:
    (folder / "odd.jpg").symlink_to("nowhere.jpg")
    return "odd.jpg"


def _mask(folder: Path) -> str:
    mask = draw_picture(ODD).convert("L").point(lambda value: 255 if value > 120 else 0).convert("RGB")
    return _image(folder, "001_mask.png", mask)


def _other_format(folder: Path) -> str:
    draw_picture(ODD, (800, 800)).save(folder / "odd.tif")
    return "odd.tif"


def _orphan(folder: Path) -> str:
    _caption(folder, "gone.txt", "of a picture that was deleted")
    return "gone.txt"


def _orphan_of_another_ending(folder: Path) -> str:
    (folder / "gone.caption").write_text("ohwx, of a picture that was deleted")
    return "gone.caption"


def _json_caption(folder: Path) -> str:
    (folder / "odd.json").write_text('{"caption": "ohwx, on a bridge"}')
    return _uncaptioned(folder)


def _uncaptioned(folder: Path) -> str:
    draw_picture(ODD).save(folder / "odd.jpg")
    return "odd.jpg"


def _wrong_ending(folder: Path) -> str:
    (folder / "odd.caption").write_text(f"{TRIGGER}, on a bridge")
    return _uncaptioned(folder)


def _identical(folder: Path) -> str:
    return _text(folder, (folder / "001.txt").read_text())


def _similar(folder: Path) -> str:
    words = (folder / "001.txt").read_text().strip()
    return _text(folder, words.replace(" in ", " at ") + "\n")


def _class_tokens(tokens: str) -> Plant:
    """A kohya folder of that name, with one picture in it that has no caption."""

    def plant(folder: Path) -> str:
        inside = folder / f"3_{tokens}"
        for path in sorted(folder.glob("*")):
            inside.mkdir(exist_ok=True)
            path.rename(inside / path.name)
        draw_picture(ODD).save(inside / "odd.jpg")
        return inside.name

    return plant


def _upper_caption(folder: Path) -> str:
    _uncaptioned(folder)
    (folder / "odd.TXT").write_text(f"{TRIGGER}, on a wide stone bridge")
    return "odd.TXT"


def reg_folder(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-reg")


def _reg(count: int, said: str | None) -> Plant:
    def plant(folder: Path) -> str:
        reg = reg_folder(folder)
        reg.mkdir()
        for number in range(count):
            draw_picture(500 + number, (800, 800)).save(reg / f"r{number}.jpg", quality=80)
            (reg / f"r{number}.txt").write_text("a person\n")
        if said is None:
            (reg / "r0.txt").unlink()
        else:
            (reg / "r0.txt").write_text(said)
        return reg.name if said == "a person" else "r0.jpg" if said is None else "r0.txt:1"

    return plant


LONG = ", ".join(f"{colour} ribbons tied around every {thing}" for colour in ("red", "green", "amber", "violet") for thing in ("gate", "tower", "lamp"))  # fmt: skip  # noqa: E501

FAULTS: tuple[Fault, ...] = (
    Fault("text named .jpg", "image-unreadable", lambda f: _bytes(f, "odd.jpg", b"not a picture at all")),
    Fault("zero bytes", "image-unreadable", lambda f: _bytes(f, "odd.png", b"")),
    Fault("header cut short", "image-unreadable", lambda f: _bytes(f, "odd.png", _encoded("PNG")[:20])),
    Fault("JPEG truncated", "image-truncated", lambda f: _bytes(f, "odd.jpg", _encoded("JPEG")[:20_000])),
    Fault("PNG truncated", "image-truncated", lambda f: _bytes(f, "odd.png", _encoded("PNG")[:20_000])),
    Fault("WebP truncated", "image-truncated", lambda f: _bytes(f, "odd.webp", _encoded("WEBP")[:20_000])),
    Fault("PNG named .jpg", "image-extension", lambda f: _bytes(f, "odd.jpg", _encoded("PNG"))),
    Fault("animated WebP", "image-animated", lambda f: _frames(f, "odd.webp", "WEBP")),
    Fault("animated GIF named .png", "image-animated", lambda f: _frames(f, "odd.png", "GIF")),
    Fault("animated PNG", "image-animated", lambda f: _frames(f, "odd.png", "PNG")),
    Fault("decompression bomb", "image-unreadable", lambda f: _bytes(f, "odd.png", png_of(40_000, 40_000, b""))),
    Fault(
        "120 million pixels", "image-huge", lambda f: _bytes(f, "odd.png", png_of(15_000, 8_000, b"", bits=1, kind=0))
    ),
    Fault("JPEG of 600 scans", "image-huge", lambda f: _bytes(f, "odd.jpg", _many_scans())),
    Fault("hidden ._1.jpg", "hidden-files", _hidden),
    Fault("two images of one stem", "duplicate-stem", _same_stem),
    Fault("mixed-case ending .Jpg", "extension-case", lambda f: _image(f, "odd.Jpg", format="JPEG")),
    Fault("upper-case caption .TXT", "extension-case", _upper_caption),
    Fault("nested folder", "folder-ignored", _nested),
    Fault("folder named album.png", "folder-like-image", _like_image),
    Fault("broken link", "image-unreadable", _dangling),
    Fault("mask beside its image", "mask-image", _mask),
    Fault("TIFF, never read", "image-ignored", _other_format),
    Fault("EXIF: sideways", "image-orientation", lambda f: _image(f, "odd.jpg", exif=_exif(6))),
    Fault("EXIF: mirrored", "image-orientation", lambda f: _image(f, "odd.webp", exif=_exif(2))),
    Fault("alpha PNG", "image-alpha", lambda f: _image(f, "odd.png", _see_through())),
    Fault("alpha WebP", "image-alpha", lambda f: _image(f, "odd.webp", _see_through())),
    Fault("transparent palette", "image-alpha", _see_through_palette),
    Fault("CMYK", "image-cmyk", lambda f: _image(f, "odd.jpg", draw_picture(ODD).convert("CMYK"))),
    Fault("16-bit colour", "image-deep", lambda f: _bytes(f, "odd.png", _deep_colour())),
    Fault("16-bit grey", "image-deep", _deep_grey),
    Fault("greyscale", "image-grey", lambda f: _image(f, "odd.jpg", draw_picture(ODD).convert("L"))),
    Fault(
        "black and white saved in colour",
        "image-grey",
        lambda f: _image(f, "odd.jpg", draw_picture(ODD).convert("L").convert("RGB"), quality=70),
    ),
    Fault("palette", "image-palette", lambda f: _image(f, "odd.png", draw_picture(ODD).quantize(32))),
    Fault("smaller than the training", "image-small", lambda f: _image(f, "odd.jpg", draw_picture(ODD, (500, 400)))),
    Fault("short side below it", "image-short", lambda f: _image(f, "odd.jpg", draw_picture(ODD, (700, 1400)))),
    Fault("extreme aspect ratio", "image-aspect", lambda f: _image(f, "odd.jpg", draw_picture(ODD, (3600, 800)))),
    Fault(
        "too narrow for a bucket",
        "image-narrow",
        lambda f: _image(f, "odd.jpg", draw_picture(ODD).resize((2000, 40))),
        preset="identity",
        settings=("data.upscale=false",),
    ),
    Fault(
        "blurred",
        "image-blurred",
        lambda f: _image(f, "odd.jpg", draw_picture(ODD).filter(ImageFilter.GaussianBlur(4))),
    ),
    Fault("underexposed", "image-dark", lambda f: _image(f, "odd.jpg", draw_picture(ODD).point(lambda v: v // 40))),
    Fault(
        "overexposed",
        "image-bright",
        lambda f: _image(f, "odd.jpg", draw_picture(ODD).point(lambda v: min(255, v * 8))),
    ),
    Fault("exact copy", "image-duplicate", _copy),
    Fault("rescaled copy", "image-near-duplicate", _look_alike),
    Fault("mirrored copy", "image-near-duplicate", _mirrored),
    Fault("copy turned by a quarter", "image-near-duplicate", _turned),
    Fault("brightened copy", "image-near-duplicate", _brightened),
    Fault("greyed copy", "image-near-duplicate", _greyed),
    Fault("one background in many", "background-repeated", _one_background),
    Fault("no caption", "caption-missing", _uncaptioned),
    Fault("empty caption", "caption-unreadable", lambda f: _text(f, b"")),
    Fault("blank first line", "caption-blank", lambda f: _text(f, f"\n{TRIGGER}, on a bridge")),
    Fault("caption without image", "caption-orphan", _orphan),
    Fault("other caption without image", "caption-orphan", _orphan_of_another_ending),
    Fault("caption of another ending", "caption-extension", _wrong_ending),
    Fault("caption in a JSON file", "caption-extension", _json_caption),
    Fault("Latin-1 caption", "caption-unreadable", lambda f: _text(f, "ohwx, café".encode("latin-1"))),
    Fault("UTF-16 caption", "caption-unreadable", lambda f: _text(f, "ohwx, on a bridge".encode("utf-16"))),
    Fault("byte order mark", "caption-bom", lambda f: _text(f, b"\xef\xbb\xbfohwx, on a wide stone bridge")),
    Fault("second line", "caption-lines", lambda f: _text(f, f"{TRIGGER}, on a wide bridge\nwith lanterns")),
    Fault("trigger absent", "trigger-absent", lambda f: _text(f, "a man on a wide stone bridge")),
    Fault("trigger in other case", "trigger-absent", lambda f: _text(f, "OHWX, a man on a wide stone bridge")),
    Fault("trigger repeated", "trigger-repeated", lambda f: _text(f, "ohwx, on a bridge, ohwx smiling")),
    Fault("trigger not leading", "trigger-not-leading", lambda f: _text(f, "on a wide bridge stands ohwx")),
    Fault("identical captions", "caption-identical", _identical),
    Fault("near-identical phrasing", "caption-similar", _similar),
    Fault("negative phrasing", "caption-negative", lambda f: _text(f, "ohwx, on a bridge without a hat")),
    Fault("longer than CLIP reads", "caption-long", lambda f: _text(f, f"ohwx, {LONG}"), clip=True),
    Fault("longer than T5 reads", "caption-long", lambda f: _text(f, f"ohwx, {', '.join([LONG] * 8)}")),
    Fault(
        "tags and prose in one",
        "caption-mixed",
        lambda f: _text(f, "ohwx, a man stands on the old bridge, solo, blue_eyes"),
    ),
    Fault("tags among prose", "caption-styles", lambda f: _text(f, "ohwx, bridge, lanterns, smile, blue eyes")),
    Fault("trigger is a common word", "trigger-common", lambda f: f.name, trigger="woman", subject="style"),
    Fault("trigger is a first name", "trigger-common", lambda f: f.name, trigger="jessica", subject="style"),
    Fault("class tokens lack the trigger", "class-tokens-trigger", _class_tokens("ann woman")),
    Fault("class tokens in place of captions", "class-tokens-alone", _class_tokens(f"{TRIGGER} woman")),
    Fault("too few images", "image-count", lambda _: "dataset", preset="identity"),
    Fault("seen too often", "over-trained", lambda f: f.name, preset="identity", settings=("schedule.steps=3000",)),
    Fault("few regularization images", "reg-count", _reg(3, "a person"), reg=True),
    Fault("trigger in regularization", "reg-trigger", _reg(20, "ohwx, a person"), reg=True),
    Fault("regularization without class", "reg-caption", _reg(20, None), reg=True),
)
