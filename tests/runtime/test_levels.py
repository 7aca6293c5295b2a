"""Pixels that are no bytes: one rule a mode says what is white, and what the file cannot tell is an error."""

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cifar_edge.errors import ImageError
from cifar_edge.runtime.images import read_pixels

Values = npt.NDArray[Any]

ramp = np.linspace(0, 1, 32 * 32).reshape(32, 32)
"""From black to white."""


def greys(values: Values) -> Values:
    """What a model reads of greys in 0..1."""
    levels: Values = np.rint(values * 255).astype(np.uint8)
    return levels[..., None].repeat(3, 2)


def tiff(values: Values, bits: int | None = None, photometric: int = 1, content: bytes | None = None) -> bytes:
    """A TIFF of ``values``, ``[height, width]`` or ``[height, width, 3]``, in their own type and order of bytes."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    samples = values.shape[2] if values.ndim == 3 else 1
    data = values.tobytes() if content is None else content
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = {
        **{256: values.shape[1], 257: values.shape[0], 258: [bits or values.itemsize * 8] * samples, 259: 1},
        **{262: photometric, 273: 0, 277: samples, 278: values.shape[0], 279: len(data), 339: [kind] * samples},
    }
    behind = 8 + 2 + 12 * len(tags) + 4
    extra = entries = b""
    for tag, value in tags.items():
        if isinstance(value, list) and len(value) > 1:
            entries += struct.pack(f"{order}HHII", tag, 3, len(value), behind + len(extra))
            extra += struct.pack(f"{order}{len(value)}H", *value)
        elif isinstance(value, list):
            entries += struct.pack(f"{order}HHIHH", tag, 3, 1, value[0], 0)
        else:
            entries += struct.pack(f"{order}HHII", tag, 4, 1, value if tag != 273 else behind + 12)
    magic = b"MM\0*" if order == ">" else b"II*\0"
    head = magic + struct.pack(f"{order}IH", 8, len(tags)) + entries + bytes(4)
    return head + extra.ljust(12, b"\0") + data


def written(values: Values, form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, form)
    return file.getvalue()


def refusal(source: bytes | Image.Image) -> str:
    with pytest.raises(ImageError) as caught:
        read_pixels(source)
    assert str(caught.value).isprintable()
    return str(caught.value).partition(": ")[2]


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4", ">i4", "<u4"])
def test_integers_are_white_at_65535(dtype: str) -> None:
    values = np.rint(ramp * 65535).astype(dtype)
    for source in (tiff(values), Image.fromarray(values)):
        assert (read_pixels(source) == greys(values / 65535)).all()


@pytest.mark.parametrize("dtype", ["<f4", ">f4"])
def test_floating_point_numbers_are_white_at_1(dtype: str) -> None:
    values = ramp.astype(dtype)
    for source in (tiff(values), Image.fromarray(values)):
        assert (read_pixels(source) == greys(values)).all()
    assert (read_pixels(Image.fromarray(ramp)) == greys(ramp)).all()  # float64


FLOATS = "; black is 0 and white is 1, so scale it"
INTEGERS = "; black is 0 and white is 65535, so scale it"
DARK = ", where white is 65535: too dark, or of fewer bits; scale it, or save it with 8 bits or as PNG"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((ramp * 255).astype(np.float32), f"grey in floating point from 0 to 255{FLOATS}"),
        ((ramp * 65535).astype(np.float32), f"grey in floating point from 0 to 65535{FLOATS}"),
        ((ramp - 0.5).astype(np.float32), f"grey in floating point from -0.5 to 0.5{FLOATS}"),
        ((ramp * 1.5).astype(np.float32), f"grey in floating point from 0 to 1.5{FLOATS}"),
        (
            np.where(ramp == 0, np.inf, ramp).astype(np.float32),
            f"grey in floating point from 0.000977517106 to inf{FLOATS}",
        ),
        (
            np.where(ramp == 0.5, ramp, np.nan).astype(np.float32),
            "grey in floating point, and some values are NaN",
        ),
        (np.rint(ramp).astype(np.int32), f"grey in integers up to 1{DARK}"),
        (np.rint(ramp * 255).astype(np.int32), f"grey in integers up to 255{DARK}"),
        (np.rint(ramp * 4095).astype(np.uint32), f"grey in integers up to 4095{DARK}"),
        (np.rint(ramp * 70000).astype(np.int32), f"grey in integers from 0 to 70000{INTEGERS}"),
        (np.rint(ramp * 9e4 - 9000).astype(np.int32), f"grey in integers from -9000 to 81000{INTEGERS}"),
        (np.rint(ramp * 4294967295).astype(np.uint32), f"grey in integers from -2147483648 to 2147483647{INTEGERS}"),
        (np.rint(ramp * 255).astype(np.uint16), f"grey in integers up to 255{DARK}"),
        (np.rint(ramp * 4095).astype(">u2"), f"grey in integers up to 4095{DARK}"),
    ],
)
def test_what_the_file_cannot_tell_is_an_error(values: Values, reason: str) -> None:
    source = tiff(values)
    if values.dtype == np.uint32 and values.max() > 2**31:  # Pillow's integers have 32 bits, and a sign
        assert refusal(source).startswith("grey in integers from -")
        return
    assert refusal(source) == reason
    assert refusal(Image.fromarray(values)) == reason


@pytest.mark.parametrize("dtype", ["i1", "<i2", ">i2"])
def test_signed_integers_are_refused(dtype: str) -> None:
    values = np.rint(ramp * np.iinfo(dtype).max).astype(dtype)
    reason = "a TIFF of signed integers, whose black and white are unknown; save it with unsigned integers"
    assert refusal(tiff(values)) == reason


def test_a_format_that_defines_white_may_be_dark() -> None:
    values = np.rint(ramp * 2000).astype(np.uint16)
    expected = greys(values / 65535)
    assert (read_pixels(written(values, "PNG")) == expected).all()
    assert (read_pixels(b"P5 32 32 65535\n" + values.astype(">u2").tobytes()) == expected).all()
    black = np.zeros((32, 32), np.uint16)
    for source in (tiff(black), Image.fromarray(black), tiff(black.astype(np.float32))):
        assert not read_pixels(source).any()  # black is 0 wherever white is


def test_a_grey_map_says_its_white() -> None:
    values = np.rint(ramp * 1000).astype(">u2")
    assert (np.abs(read_pixels(b"P5 32 32 1000\n" + values.tobytes()) - greys(values / 1000).astype(int)) <= 1).all()


def test_a_tiff_of_12_bits_says_so() -> None:
    values = np.rint(ramp * 4095).astype(np.uint16)
    first, second = values.reshape(-1, 2).T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8).tobytes()
    assert (read_pixels(tiff(values, bits=12, content=packed)) == greys(values / 4095)).all()


@pytest.mark.parametrize(
    "values", [np.rint(ramp * 65535).astype("<u2"), ramp.astype("<f4"), np.rint(ramp * 255).astype("u1")]
)
def test_a_tiff_may_be_white_at_zero(values: Values) -> None:
    white = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    assert (read_pixels(tiff(values, photometric=0)) == greys((white - values) / white)).all()


@pytest.mark.parametrize("order", "<>")
def test_colours_of_16_bits(order: str) -> None:
    colours = np.dstack([ramp, ramp[::-1], ramp.T])
    read = read_pixels(tiff(np.rint(colours * 65535).astype(f"{order}u2"), photometric=2))
    assert np.abs(read - colours * 255).max() <= 1  # Pillow leaves out the lower bits
    reason = ", where white is 65535: too dark, or of fewer bits; scale it"
    for white, below in ((4095, 4096), (255, 256)):
        values = np.rint(colours * white).astype(f"{order}u2")
        assert refusal(tiff(values, photometric=2)) == f"a TIFF of 16 bits, all below {below}{reason}"


def test_a_format_whose_white_is_not_read_is_refused() -> None:
    cards = ["SIMPLE  =                    T", "BITPIX  =                   16", "NAXIS   =                    2"]
    cards += [
        "NAXIS1  =                   32",
        "NAXIS2  =                   32",
        "BZERO   =                32768",
        "END",
    ]
    header = "".join(card.ljust(80) for card in cards).ljust(2880).encode()
    values = np.rint(ramp * 65535 - 32768).astype(">i2")
    with Image.open(io.BytesIO(header + values.tobytes())) as image:  # files in this format are not read at all
        assert refusal(image) == "grey in integers, and FITS files do not define white; save it as PNG"


numbers = st.lists(st.floats(width=32) | st.floats(0, 1, width=32), min_size=1, max_size=9)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(numbers, st.booleans())
def test_any_floating_point_numbers(numbers: list[float], in_file: bool) -> None:
    values = np.resize(np.array(numbers, np.float32), (32, 32))
    source = tiff(values) if in_file else Image.fromarray(values)
    if all(0 <= number <= 1 for number in numbers):
        assert np.abs(read_pixels(source) - greys(values).astype(int)).max() <= 1
    else:
        assert "in floating point" in refusal(source)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(0, 65535), min_size=1, max_size=9), st.booleans())
def test_any_integers(numbers: list[int], in_file: bool) -> None:
    values = np.resize(np.array(numbers, np.int32), (32, 32))
    source = tiff(values) if in_file else Image.fromarray(values)
    if min(numbers) >= 0 and (4096 <= max(numbers) <= 65535 or max(numbers) == 0):
        assert (read_pixels(source) == greys(values / 65535)).all()
    else:
        assert "in integers" in refusal(source)


@pytest.mark.parametrize(
    "dtype", ["bool", "i1", "u2", ">u2", "i4", "u8", "f2", "f4", "f8", "c8", "M8[s]", "S3", "O", "u1,u1,u1"]
)
def test_arrays_are_bytes_in_colour_and_nothing_else(dtype: str) -> None:
    array = np.zeros((32, 32, 3), dtype)
    with pytest.raises(ImageError, match=r"^the array: it is .*; an image is uint8 \[height, width, 3\], RGB$"):
        read_pixels(array)
