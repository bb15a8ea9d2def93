"""Look-alikes, backgrounds, sharpness and sizes: where the line is drawn."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from random import Random

import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from planted import SIZES, draw_picture

from lora_forge.datasets.backgrounds import repeated_background
from lora_forge.datasets.facts import DatasetFacts, ImageFacts, SubsetFacts
from lora_forge.datasets.near_duplicates import are_alike, copies, look_alikes
from lora_forge.datasets.notes import Notes
from lora_forge.datasets.pixel_checks import BLURRED_BELOW, judge_pixels
from lora_forge.datasets.pixels import PixelFacts, measure_image
from lora_forge.datasets.size_checks import MOST_CROPPED, cropped_share, note_sizes
from lora_forge.plan.buckets import BucketSettings, assign_bucket
from lora_forge.workflow.checking import usual_advice


def measured(picture: Image.Image, folder: Path, name: str = "x.png", **options: object) -> PixelFacts:
    picture.save(folder / name, **options)
    return measure_image(str(folder / name), f"{name}")


@pytest.mark.parametrize("quality", [30, 60, 95])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.4])
def test_a_rescaled_and_recompressed_copy_looks_the_same(quality: int, scale: float, tmp_path: Path) -> None:
    for seed in range(6):
        picture = draw_picture(seed)
        size = (round(picture.width * scale), round(picture.height * scale))
        other = measured(picture.resize(size), tmp_path, "y.jpg", quality=quality)
        assert are_alike(measured(picture, tmp_path), other)


def turned(picture: Image.Image, turn: int) -> Image.Image:
    picture = ImageOps.mirror(picture) if turn >= 4 else picture
    return picture.rotate(90 * (turn % 4), expand=True)


@pytest.mark.parametrize("turn", range(1, 8))
def test_a_mirrored_or_turned_copy_looks_the_same_and_is_found(turn: int, tmp_path: Path) -> None:
    pictures = [draw_picture(seed, SIZES[seed % len(SIZES)]) for seed in range(6)]
    facts = [measured(picture, tmp_path) for picture in pictures]
    others = [measured(turned(picture, turn), tmp_path, "y.jpg", quality=60) for picture in pictures]
    assert all(map(are_alike, facts, others)) and all(map(are_alike, others, facts))
    pixels = {Path(f"{place}"): one for place, one in enumerate([*facts, *others])}
    assert look_alikes(pixels) == [[Path(f"{n}"), Path(f"{n + 6}")] for n in range(6)]


@pytest.mark.parametrize("gain", [0.8, 1.2])
@pytest.mark.parametrize("grey", [False, True])
def test_exposure_and_lost_colour_make_no_other_picture(gain: float, grey: bool, tmp_path: Path) -> None:
    for seed in range(6):
        picture = draw_picture(seed)
        other = picture.convert("L").convert("RGB") if grey else picture
        copy = measured(other.point(lambda value: min(255, round(value * gain))), tmp_path, "y.jpg", quality=80)
        assert are_alike(measured(picture, tmp_path), copy)


def test_the_same_shapes_in_other_colours_are_another_picture(tmp_path: Path) -> None:
    picture = draw_picture(3)
    red, green, blue = picture.split()
    assert not are_alike(measured(picture, tmp_path), measured(Image.merge("RGB", (blue, green, red)), tmp_path))


def test_black_and_white_do_not_look_the_same(tmp_path: Path) -> None:
    white, black = (measured(Image.new("RGB", (200, 200), colour), tmp_path) for colour in ("white", "black"))
    assert not are_alike(white, black)


@pytest.mark.parametrize("quality", [20, 60, 95])
def test_black_and_white_saved_in_colour_is_grey_and_a_pale_picture_is_not(quality: int, tmp_path: Path) -> None:
    grey = draw_picture(3).convert("L").convert("RGB")
    pale = Image.blend(grey, draw_picture(3), 0.15)
    assert judge_pixels(measured(grey, tmp_path, "x.jpg", quality=quality)) == [("image-grey", "")]
    assert judge_pixels(measured(pale, tmp_path, "x.jpg", quality=quality)) == []


def test_different_pictures_do_not_look_the_same(tmp_path: Path) -> None:
    facts = [measured(draw_picture(seed), tmp_path) for seed in range(30)]
    assert not any(are_alike(one, other) for one, other in combinations(facts, 2))


def test_two_plain_colours_do_not_look_the_same(tmp_path: Path) -> None:
    red, blue = (measured(Image.new("RGB", (200, 200), colour), tmp_path) for colour in ("red", "blue"))
    assert red.looks == blue.looks
    assert not are_alike(red, blue)


def test_a_chain_of_look_alikes_is_one_group_and_copies_are_in_it() -> None:
    rng = Random(1)
    thumb = bytes(192)
    base = rng.getrandbits(128)
    chain = [base, base ^ 0b11111, base ^ 0b1111111111, rng.getrandbits(128)]
    pixels = {
        Path(f"{place}"): PixelFacts(f"{place % 3}", looks=bits.to_bytes(16, "big"), thumb=thumb)
        for place, bits in enumerate(chain)
    }
    assert look_alikes(pixels) == [[Path("0"), Path("1"), Path("2")]]
    assert copies(pixels) == [[Path("0"), Path("3")]]


def test_every_pair_within_seven_bits_is_found_among_thousands() -> None:
    rng = Random(2)
    looks = [rng.getrandbits(128) for _ in range(3000)]
    near = [bits ^ sum(1 << place for place in rng.sample(range(128), 7)) for bits in looks[:200]]
    pixels = {
        Path(f"{place}"): PixelFacts(f"{place}", looks=bits.to_bytes(16, "big"), thumb=bytes(192))
        for place, bits in enumerate([*looks, *near])
    }
    assert [[int(path.name) for path in group] for group in look_alikes(pixels)] == [[n, 3000 + n] for n in range(200)]


def test_pictures_that_were_not_decoded_are_compared_with_nothing() -> None:
    pixels = {Path(f"{place}"): PixelFacts("", problem="cut") for place in range(3)}
    assert (look_alikes(pixels), copies(pixels)) == ([], [])


def test_a_background_counts_from_three_pictures_in_ten(tmp_path: Path) -> None:
    backdrop = draw_picture(700)

    def before_it(seed: int) -> Image.Image:
        picture = backdrop.copy()
        picture.paste(draw_picture(seed, (460, 520)), (220, 300))
        return picture

    same = [measured(before_it(seed), tmp_path, "x.jpg") for seed in range(4)]
    others = [measured(draw_picture(seed), tmp_path) for seed in range(20)]
    assert repeated_background([*others[:9], *same]) == [9, 10, 11, 12]
    assert repeated_background([*others[:10], *same]) == []
    assert repeated_background([*same[:3]]) == []
    assert repeated_background(others) == []


@pytest.mark.parametrize("seed", range(8))
def test_blur_is_told_from_sharpness(seed: int, tmp_path: Path) -> None:
    picture = draw_picture(seed, SIZES[seed % len(SIZES)])
    blurred = picture.filter(ImageFilter.GaussianBlur(2.5 * max(picture.size) / 768))
    assert measured(picture, tmp_path).sharpness > 4 * BLURRED_BELOW
    assert measured(blurred, tmp_path).sharpness < BLURRED_BELOW


def test_a_sharp_face_before_a_soft_background_is_sharp(tmp_path: Path) -> None:
    picture = draw_picture(3).filter(ImageFilter.GaussianBlur(12))
    picture.paste(draw_picture(4, (360, 400)), (270, 250))
    assert judge_pixels(measured(picture, tmp_path)) == []


def test_a_white_background_is_not_overexposed(tmp_path: Path) -> None:
    picture = Image.new("RGB", (900, 900), "white")
    picture.paste(draw_picture(4, (400, 600)), (250, 150))
    assert judge_pixels(measured(picture, tmp_path)) == []


def test_opaque_alpha_is_no_transparency(tmp_path: Path) -> None:
    assert judge_pixels(measured(draw_picture(1).convert("RGBA"), tmp_path)) == []


def test_a_photograph_larger_than_the_screen_measures_like_its_small_copy(tmp_path: Path) -> None:
    """JPEG is shrunk while it is decoded; what is measured must not depend on it."""
    small = draw_picture(5, (1000, 800))
    large = small.resize((4000, 3200), Image.Resampling.LANCZOS)
    one, other = measured(small, tmp_path, "x.jpg"), measured(large, tmp_path, "y.jpg")
    assert are_alike(one, other)
    assert judge_pixels(other) == []


def test_a_phones_depth_picture_is_not_animated(tmp_path: Path) -> None:
    picture, depth = draw_picture(1), draw_picture(2, (100, 100))
    picture.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[depth])
    assert judge_pixels(measure_image(str(tmp_path / "x.jpg"), "x")) == []


def size_codes(*sizes: tuple[int, int], settings: BucketSettings | None = None) -> list[str]:
    usual = usual_advice()
    if settings:
        usual = type(usual)(resolution=settings.resolution[0], fit=lambda size: assign_bucket(size, settings))
    images = tuple(ImageFacts(f"{n}.png", *size) for n, size in enumerate(sizes))
    notes = Notes(per_file=True)
    note_sizes(notes, DatasetFacts(Path("/d"), (SubsetFacts(Path("/d"), None, None, False, images),)), usual)
    notes.close(".txt")
    return [one.code for one in notes.findings()]


def test_sizes_are_held_against_the_buckets() -> None:
    assert size_codes((768, 768), (768, 1152), (3000, 2000), (1024, 768)) == []
    assert size_codes((500, 600)) == ["image-small"]
    assert size_codes((700, 1400)) == ["image-short"]
    assert size_codes((900, 4000)) == ["image-aspect"]
    own = BucketSettings((768, 768), upscale=False)
    assert size_codes((40, 9000), settings=own) == ["image-narrow"]


def test_shapes_between_the_extreme_buckets_are_never_called_cropped() -> None:
    for settings in (BucketSettings((768, 768), 384, 1024), BucketSettings((512, 512), 256, 768)):
        low, high = settings.minimum / settings.maximum, settings.maximum / settings.minimum
        for width in range(400, 1600, 7):
            size = (width, 1000)
            if low <= width / 1000 <= high:
                assert cropped_share(assign_bucket(size, settings)) <= MOST_CROPPED, size


def test_a_black_picture_is_dark_and_not_blurred_too(tmp_path: Path) -> None:
    picture = Image.new("RGB", (800, 800), (3, 3, 3))
    ImageDraw.Draw(picture).rectangle((0, 0, 20, 20), fill="white")
    assert [code for code, _ in judge_pixels(measured(picture, tmp_path))] == ["image-dark"]
