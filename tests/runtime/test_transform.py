"""The photo -> 32x32 transform: each clause of the contract's resize rule, and every mode of Pillow."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from cifar_edge.data import Dataset
from cifar_edge.errors import ImageError
from cifar_edge.runtime import transform
from cifar_edge.runtime.images import read_pixels
from cifar_edge.runtime.quiet import silence_pillow
from cifar_edge.runtime.transform import reduced_to_pixels, to_pixels
from cifar_edge.spec import IMAGE_SIZES

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def frog(sample: Dataset) -> Pixels:
    """A real image, uint8 [32, 32, 3]."""
    pixels: Pixels = sample.test_images[sample.test_labels.tolist().index(sample.labels.index("frog"))]
    return pixels


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def distance(first: Pixels, second: Pixels) -> int:
    return int(np.abs(first.astype(int) - second.astype(int)).max())


def test_a_32x32_rgb_image_passes_bit_for_bit(sample: Dataset, tmp_path: Path) -> None:
    for image in sample.test_images[:100]:
        photo = Image.fromarray(image)
        (tmp_path / "image.png").write_bytes(encoded(photo))
        assert np.array_equal(to_pixels(photo), image)
        assert np.array_equal(read_pixels(tmp_path / "image.png"), image)
        assert np.array_equal(read_pixels(image), image)


STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation -> how a camera held that way stores an upright image."""


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_undone_before_the_crop(frog: Pixels, orientation: int, kind: str) -> None:
    wide = np.pad(frog, ((0, 0), (10, 11), (0, 0)), mode="symmetric")
    turn = STORED[orientation]
    stored = Image.fromarray(wide) if turn is None else Image.fromarray(wide).transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(read_pixels(encoded(stored, kind, exif=exif, **options)), frog)


def test_a_broken_exif_block_is_no_reason_to_refuse_an_image(frog: Pixels) -> None:
    silence_pillow()  # which warns of it
    content = encoded(Image.fromarray(frog), exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff broken")
    assert np.array_equal(read_pixels(content), frog)


@pytest.mark.parametrize("margins", [((0, 0), (40, 41)), ((17, 17), (0, 0)), ((1, 0), (0, 0)), ((0, 0), (0, 1))])
def test_the_centre_square_is_cropped(frog: Pixels, margins: tuple[tuple[int, int], tuple[int, int]]) -> None:
    # An odd margin is one pixel wider at the right or the bottom: the crop starts at (length - 32) // 2.
    padded = np.pad(frog, (*margins, (0, 0)), constant_values=255)
    top, left = (padded.shape[0] - 32) // 2, (padded.shape[1] - 32) // 2
    assert np.array_equal(read_pixels(padded), padded[top : top + 32, left : left + 32])


@pytest.mark.parametrize("factor", [2, 3, 7])
def test_a_whole_multiple_shrinks_to_the_mean_of_each_block(sample: Dataset, factor: int) -> None:
    grid = sample.test_images[: factor**2].reshape(factor, factor, 32, 32, 3)
    large = grid.transpose(0, 2, 1, 3, 4).reshape(32 * factor, 32 * factor, 3)
    means = large.reshape(32, factor, 32, factor, 3).mean(axis=(1, 3))
    # Pillow averages rows, rounds, and averages columns: at most one grey level from the exact mean.
    assert np.abs(read_pixels(large) - means).max() <= 1.0
    assert np.array_equal(read_pixels(sample.test_images[0].repeat(factor, 0).repeat(factor, 1)), sample.test_images[0])


@pytest.mark.parametrize("side", [33, 40, 50, 100, 333])
def test_each_source_pixel_counts_for_the_target_pixel_it_lies_in(sample: Dataset, side: int) -> None:
    large = np.asarray(Image.fromarray(sample.test_images[1]).resize((side, side)))
    # A centre on the border of two target pixels counts for the first.
    target = np.ceil((np.arange(side) + 0.5) * 32 / side).astype(int) - 1
    sums = np.zeros((32, 32, 3))
    np.add.at(sums, (target[:, None], target[None, :]), large)
    counts = np.bincount(target)
    means = sums / (counts[:, None] * counts[None, :])[..., None]
    assert np.abs(read_pixels(large) - means).max() <= 1.0


def test_a_small_image_grows_bicubically_from_its_square_alone(frog: Pixels) -> None:
    small = Image.fromarray(frog).resize((12, 12))
    framed = Image.new("RGB", (40, 12), "white")
    framed.paste(small, (14, 0))
    assert np.array_equal(to_pixels(framed), np.asarray(small.resize((32, 32), Image.Resampling.BICUBIC)))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(1, 400), st.integers(1, 400), st.tuples(*[st.integers(0, 255)] * 3))
def test_one_colour_stays_that_colour_at_any_size(width: int, height: int, colour: tuple[int, int, int]) -> None:
    assert (to_pixels(Image.new("RGB", (width, height), colour)) == colour).all()


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (9000, 9500)])
def test_extreme_sizes(size: tuple[int, int]) -> None:
    assert (to_pixels(Image.new("L", size, 200)) == 200).all()


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(33, 300), st.integers(33, 300), st.integers(1, 20_000), st.sampled_from(["RGB", "P", "LA", "F"]))
def test_strips_of_an_image_give_the_pixels_of_the_whole(width: int, height: int, strip: int, mode: str) -> None:
    noise = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(noise[..., 0] / np.float32(255)) if mode == "F" else Image.fromarray(noise).convert(mode)
    whole = to_pixels(image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transform, "STRIP_PIXELS", strip)
        assert np.array_equal(to_pixels(image), whole)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    st.sampled_from([2, 4, 8]),
    st.integers(40, 90),
    st.integers(40, 90),
    st.integers(0, 7),
    st.integers(0, 7),
    st.sampled_from(list(STORED)),
)
def test_a_reduced_image_counts_for_the_full_one(
    factor: int, width: int, height: int, right: int, lower: int, orientation: int
) -> None:
    noise = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    size = width * factor - right % factor, height * factor - lower % factor
    reduced = Image.fromarray(noise)
    full = Image.fromarray(noise.repeat(factor, 0).repeat(factor, 1)[: size[1], : size[0]])
    reduced.getexif()[0x0112] = full.getexif()[0x0112] = orientation
    # Pillow rounds once more, between rows and columns.
    assert distance(reduced_to_pixels(reduced, size), to_pixels(full)) <= 1


@pytest.mark.parametrize("orientation", STORED)
def test_a_reduced_image_is_turned_too(frog: Pixels, orientation: int) -> None:
    turn = STORED[orientation]
    upright = Image.fromarray(np.pad(frog, ((0, 0), (10, 10), (0, 0)), mode="symmetric").repeat(2, 0).repeat(2, 1))
    stored = upright if turn is None else upright.transpose(turn)
    stored.getexif()[0x0112] = orientation
    assert np.array_equal(reduced_to_pixels(stored, (stored.width * 4, stored.height * 4)), frog)


def test_no_pixels_are_no_image() -> None:
    with pytest.raises(ImageError, match="0x5 has no pixels"):
        to_pixels(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize(
    ("mode", "tolerance"),
    [("RGBA", 0), ("RGBX", 0), ("RGBa", 0), ("CMYK", 0), ("YCbCr", 3), ("HSV", 6), ("LAB", 12)],
)
def test_colour_modes_keep_the_colours(frog: Pixels, mode: str, tolerance: int) -> None:
    image = Image.fromarray(frog)
    image = image.convert("RGBA").convert(mode) if mode == "RGBa" else image.convert(mode)
    assert image.mode == mode
    assert distance(to_pixels(image), frog) <= tolerance


@pytest.mark.parametrize("mode", ["L", "LA", "La", "I", "F", "I;16"])
def test_grey_modes_become_three_equal_channels(frog: Pixels, mode: str) -> None:
    grey = Image.fromarray(frog).convert("L")
    levels = np.asarray(grey)
    image = {
        "L": grey,
        "LA": grey.convert("LA"),
        "La": grey.convert("LA").convert("La"),
        "I": Image.fromarray(levels.astype(np.int32) * 257),
        "F": Image.fromarray(levels / np.float32(255)),
        "I;16": Image.fromarray(levels.astype(np.uint16) * 257),
    }[mode]
    assert image.mode == mode
    assert np.array_equal(to_pixels(image), np.repeat(levels[..., None], 3, axis=2))


def test_one_bit_is_black_and_white(frog: Pixels) -> None:
    image = Image.fromarray(frog).convert("1")
    assert np.array_equal(to_pixels(image)[..., 0], np.asarray(image) * np.uint8(255))


@pytest.mark.parametrize("mode", ["P", "PA"])
def test_a_palette_is_looked_up(frog: Pixels, mode: str) -> None:
    palette = Image.fromarray(frog).quantize(16)
    image = palette if mode == "P" else palette.convert("RGBA").convert("PA")
    assert image.mode == mode
    assert np.array_equal(to_pixels(image), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(("kind", "dtype"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("PGM", ">u2")])
def test_sixteen_bit_files_keep_their_greys(frog: Pixels, kind: str, dtype: str) -> None:
    levels = frog[..., 0]
    values = (levels.astype(np.uint16) * 257).astype(dtype)
    content = b"P5 32 32 65535\n" + values.tobytes() if kind == "PGM" else encoded(Image.fromarray(values), kind)
    assert Image.open(io.BytesIO(content)).mode in ("I", "I;16", "I;16B")
    assert np.array_equal(read_pixels(content)[..., 1], levels)


def test_alpha_lies_over_grey(frog: Pixels) -> None:
    alpha = np.zeros((32, 32), np.uint8)
    alpha[:16], alpha[16] = 255, 51
    pixels = to_pixels(Image.fromarray(np.dstack([frog, alpha])))
    assert np.array_equal(pixels[:16], frog[:16])
    assert (pixels[17:] == 128).all()
    assert np.abs(pixels[16] - (0.2 * frog[16] + 0.8 * 128)).max() <= 1.0


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_transparent_colour_becomes_grey(mode: str) -> None:
    corner = Image.new("RGB", (32, 32))
    corner.paste((255, 255, 255), (0, 0, 16, 16))
    image = corner.quantize(2) if mode == "P" else corner.convert(mode)
    pixels = read_pixels(encoded(image, transparency=image.getpixel((31, 31))))
    assert (pixels[:16, :16] == 255).all()
    assert (pixels[16:] == 128).all()


def test_a_transparent_grey_of_16_bits_is_no_other_grey_of_8() -> None:
    levels = np.full((32, 32), 300, np.uint16)
    levels[:16] = 301
    content = encoded(Image.fromarray(levels), transparency=300)
    assert Image.open(io.BytesIO(content)).info["transparency"] == 300
    pixels = read_pixels(content)
    assert (pixels[:16] == 1).all()
    assert (pixels[16:] == 128).all()


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_a_transparent_part_becomes_grey(frog: Pixels, mode: str) -> None:
    alpha = Image.fromarray(np.repeat(np.array([255, 0], np.uint8), 16)[:, None].repeat(32, axis=1))
    opaque = Image.fromarray(frog).convert({"L": "L", "P": "P", "R": "RGB"}[mode[0]])
    image = opaque.copy()
    image.putalpha(alpha)
    if image.mode != mode:
        image = image.convert(mode)
    assert image.mode == mode
    pixels = to_pixels(image)
    assert np.array_equal(pixels[:16], np.asarray(opaque.convert("RGB"))[:16])
    assert (pixels[16:] == 128).all()


def test_the_first_frame_of_an_animation_counts(sample: Dataset) -> None:
    frames = [Image.fromarray(image) for image in sample.test_images[:3]]
    content = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert np.array_equal(read_pixels(content), sample.test_images[0])


def test_the_callers_image_is_left_as_it_was(frog: Pixels) -> None:
    image = Image.fromarray(np.pad(frog, ((0, 9), (0, 0), (0, 0)))).convert("RGBA")
    image.getexif()[0x0112] = 6
    before = (image.mode, image.size, image.tobytes(), dict(image.getexif()))
    to_pixels(image)
    assert (image.mode, image.size, image.tobytes(), dict(image.getexif())) == before


@settings(deadline=None, max_examples=60)
@given(width=st.integers(1, 700), height=st.integers(1, 700), size=st.sampled_from(IMAGE_SIZES), seed=st.integers(0, 9))
@example(width=2_500, height=3_001, size=48, seed=0)  # several strips
@example(width=2_501, height=2_500, size=112, seed=0)
def test_every_size_is_one_resize_of_the_middle_square(width: int, height: int, size: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    method = Image.Resampling.BOX if side > size else Image.Resampling.BICUBIC
    expected = square if side == size else square.resize((size, size), method)
    np.testing.assert_array_equal(to_pixels(Image.fromarray(pixels), size), np.asarray(expected))
