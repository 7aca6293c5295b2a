"""Reading images: every source gives the same pixels, and what is none gives one line and nothing else."""

import io
import os
import struct
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_helpers import changes, corpus, encode, png_claiming
from PIL import Image

from cifar_edge.data import Dataset
from cifar_edge.errors import ImageError
from cifar_edge.messages import display_name
from cifar_edge.runtime import images
from cifar_edge.runtime.formats import READ, image_suffixes
from cifar_edge.runtime.images import ImageSource, read_pixels
from cifar_edge.runtime.limits import Limits
from cifar_edge.runtime.quiet import silence_pillow
from cifar_edge.runtime.transform import reduced_to_pixels, to_pixels
from cifar_edge.spec import IMAGE_SIZES


@pytest.fixture(autouse=True)
def _as_in_a_command() -> None:
    silence_pillow()  # pytest undoes what it does to warnings


def failure(source: Any) -> str:
    with pytest.raises(ImageError) as caught:
        read_pixels(source)
    message = str(caught.value)
    assert message.isprintable()
    return message


def test_every_source_gives_the_same_pixels(sample: Dataset, tmp_path: Path) -> None:
    image = Image.fromarray(sample.test_images[0]).resize((50, 41))
    path = tmp_path / "image.png"
    image.save(path)
    expected = read_pixels(image)
    with path.open("rb") as file, Image.open(path) as lazy:
        contents = path.read_bytes()
        sources: list[ImageSource] = [path, str(path), contents, file, io.BytesIO(contents), lazy, np.asarray(image)]
        for source in sources:
            pixels = read_pixels(source)
            assert pixels.dtype == np.uint8
            assert np.array_equal(pixels, expected)
        assert not file.closed


def test_every_format_is_read() -> None:
    assert len(corpus()) == len(READ)
    for content in corpus():
        assert read_pixels(content).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.png", None, "no such file"),
        ("empty.png", b"", "the file is empty"),
        (
            "text.png",
            b"This is not an image.",
            "not an image in a supported format; convert it to JPEG",
        ),
        ("bomb.png", png_claiming(60_000, 60_000), "more than 178,956,970 pixels"),
        ("large.png", png_claiming(10_000, 10_000), "damaged or truncated image"),
        ("line\nbreak.png", b"\x89PNG\r\n\x1a\n", "not an image"),
    ],
)
def test_a_bad_file_is_named_with_its_reason(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    message = failure(path)
    assert message.startswith(display_name(str(path)))
    assert reason in message


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in failure(tmp_path / "pipe")
    assert "not a regular file" in failure("/dev/zero")
    assert "a folder" in failure(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "a broken link" in failure(tmp_path / "link")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot be opened" in failure(tmp_path / "loop")
    assert "cannot be opened" in failure("null\0byte.png")
    assert "cannot be opened" in failure("long" * 1000)


def test_a_name_that_is_no_text_is_escaped(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    assert "\\udcff.png" in failure(path)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"", "no bytes"),
        (b"\x00" * 100, "not an image"),
        (None, "neither path, bytes"),
        ([1, 2], "neither path, bytes"),
        (np.zeros((32, 32), np.uint8), "the array: it is uint8 [32, 32]"),
        (np.zeros((32, 32, 4), np.uint8), "[32, 32, 4]"),
        (np.zeros((32, 32, 3), np.float32), "float32"),
        (np.zeros((1, 32, 32, 3), np.uint8), "[1, 32, 32, 3]"),
        (np.zeros((0, 32, 3), np.uint8), "the array: "),
    ],
)
def test_what_is_no_image_in_memory(source: object, reason: str) -> None:
    assert reason in failure(source)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_truncated_file_is_refused(sample: Dataset, tmp_path: Path, kind: str) -> None:
    content = encode(Image.fromarray(sample.test_images[0]), kind)
    path = tmp_path / "short"
    for part in range(1, 9):
        path.write_bytes(content[: len(content) * part // 10])
        assert failure(path).startswith(str(path))


def test_a_lazily_opened_image_may_turn_out_to_be_truncated(sample: Dataset, tmp_path: Path) -> None:
    content = encode(Image.fromarray(sample.test_images[0]), "PNG")
    path = tmp_path / "short.png"
    path.write_bytes(content[: len(content) // 2])
    with Image.open(path) as lazy:
        assert failure(lazy).startswith(f"{path}: damaged or truncated image (")
    with Image.open(io.BytesIO(path.read_bytes())) as lazy:
        assert failure(lazy).startswith("the PIL image: damaged or truncated image (")


@pytest.mark.parametrize(
    ("size", "decoded"), [((700, 500), (700, 500)), ((700, 512), (350, 256)), ((1301, 1103), (326, 276))]
)
def test_a_large_jpeg_is_decoded_at_reduced_scale(
    sample: Dataset, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], decoded: tuple[int, int]
) -> None:
    seen = []

    def reduced_to_pixels_and_tell(image: Image.Image, full_size: tuple[int, int], model_size: int) -> Any:
        seen.append((image.size, full_size))
        return reduced_to_pixels(image, full_size, model_size)

    monkeypatch.setattr(images, "reduced_to_pixels", reduced_to_pixels_and_tell)
    for mode in ("RGB", "L", "CMYK"):
        image = Image.fromarray(sample.test_images[0]).resize(size, Image.Resampling.BICUBIC).convert(mode)
        file = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(file, "JPEG", quality=90, exif=exif)
        with Image.open(file) as opened:
            full = to_pixels(opened).astype(int)
        difference = np.abs(read_pixels(file.getvalue()) - full)
        assert difference.mean() < 0.2
        assert difference.max() <= 2
    assert seen == [(decoded, size)] * 3 * (size != decoded)


@pytest.mark.parametrize("size", IMAGE_SIZES)
def test_a_jpeg_at_reduced_scale_gives_nearly_the_same_pixels_at_every_size(sample: Dataset, size: int) -> None:
    file = io.BytesIO()
    Image.fromarray(sample.test_images[0]).resize((2100, 2213), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    with Image.open(file) as opened:
        full = to_pixels(opened, size).astype(int)
    pixels = read_pixels(file.getvalue(), size=size)
    assert pixels.shape == (size, size, 3)
    assert np.abs(pixels - full).mean() < 0.3
    assert np.abs(pixels - full).max() <= 3


@pytest.mark.parametrize("options", [{"quality": 90}, {"quality": 90, "progressive": True}])
def test_large_images_are_decoded_one_after_the_other(
    sample: Dataset, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    inside, most = 0, 0

    def reduced_to_pixels_and_count(image: Image.Image, full_size: tuple[int, int], model_size: int) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        pixels = reduced_to_pixels(image, full_size, model_size)
        time.sleep(0.001)
        inside -= 1
        return pixels

    file = io.BytesIO()
    # Reduced to 256 pixels a side, it counts for small, unless it is progressive.
    Image.fromarray(sample.test_images[0]).resize((1024, 1024)).save(file, "JPEG", **options)
    monkeypatch.setattr(images, "_LARGE_BYTES", 1024 * 1024)
    monkeypatch.setattr(images, "reduced_to_pixels", reduced_to_pixels_and_count)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_pixels, [file.getvalue()] * 40))
    assert (most == 1) == ("progressive" in options)


def test_a_file_that_is_written_to_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may write the next image over this one: half of each would have an answer."""

    def open_and_wait(*arguments: Any, **options: Any) -> Any:
        image = opened(*arguments, **options)
        for act in meanwhile:
            act()
        return image

    path, opened = tmp_path / "frame.bmp", Image.open
    meanwhile: list[Callable[[], object]] = []
    monkeypatch.setattr(Image, "open", open_and_wait)
    first, second = (np.full((size, size, 3), 10 * size, np.uint8) for size in (16, 20))
    Image.fromarray(first).save(path)
    meanwhile.append(lambda: Image.fromarray(second).save(path))
    assert failure(path) == f"{path}: it was written to while it was read; read it again"
    # To replace a file, as one should, is no harm.
    meanwhile[:] = [
        lambda: Image.fromarray(first).save(tmp_path / "new.bmp"),
        lambda: (tmp_path / "new.bmp").replace(path),
    ]
    assert (read_pixels(path) == 200).all()
    assert (read_pixels(path) == 160).all()


def test_what_cannot_be_rewound_is_read_first(sample: Dataset) -> None:
    content = encode(Image.fromarray(sample.test_images[0]), "PNG")
    for content_, answer in ((content, None), (b"", "the given BufferedReader: no bytes")):
        reader, writer = os.pipe()
        with open(reader, "rb") as file, open(writer, "wb") as other:  # noqa: PTH123 - of descriptors
            other.write(content_)
            other.close()
            if answer is None:
                assert np.array_equal(read_pixels(file), sample.test_images[0])
            else:
                assert failure(file) == answer


def test_more_bytes_than_an_image_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 4000)
    (tmp_path / "long.png").write_bytes(bytes(4001))
    assert "larger than" in failure(tmp_path / "long.png")
    assert "larger than" in failure(bytes(4001))
    with Path("/dev/zero").open("rb", buffering=0) as endless:
        assert "larger than" in failure(endless)


def test_too_little_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: Image.Image, size: int) -> None:
        raise MemoryError

    monkeypatch.setattr(images, "to_pixels", fail)
    assert failure(corpus()[0]) == "the given bytes: there is not enough memory for it"


def test_formats_that_are_other_peoples_programs_are_not_read() -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n"
    assert failure(eps) == "the given bytes: not an image in a supported format; convert it to JPEG"
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".avif", ".jp2", ".mpo", ".pgm"} <= image_suffixes()
    assert not {".eps", ".pdf", ".h5", ".mpg", ".xpm", ".txt", ""} & image_suffixes()


def jpeg_of(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until there are so many."""
    file = io.BytesIO()
    Image.new("L", (64, 48), 200).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    assert whole.endswith(b"\xff\xd9")
    first, *others = whole[:-2].split(b"\xff\xda")
    return b"\xff\xda".join([first, *others, *[others[-1]] * (scans - len(others))]) + b"\xff\xd9"


def test_a_jpeg_of_scans_without_end_is_refused() -> None:
    plain, comment = jpeg_of(8), b"\xff\xfe" + (2 + 400).to_bytes(2) + b"\xff\xda" * 200
    assert (read_pixels(jpeg_of(100)) == read_pixels(plain)).all()
    many = jpeg_of(101)
    assert failure(many) == "the given bytes: a JPEG of more than 100 scans"
    # A marker without a segment hides none behind the length that it does not have.
    last = many.rindex(b"\xff\xda")
    assert "more than 100 scans" in failure(many[:last] + b"\xff\x01\xff\xff" + many[last:])
    # What stands in a segment, or behind the image, is no scan.
    assert (read_pixels(plain[:2] + comment + plain[2:] + b"\xff\xda" * 200) == read_pixels(plain)).all()


def tiff_of_tiles(width: int, length: int, kind: int = 4) -> bytes:
    """A TIFF of 10x10 pixels in one tile of ``width`` x ``length``, cut off if large; the width is of ``kind``."""
    data = zlib.compress(bytes(min(width * length, 1 << 20)), 9)
    tags = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: width, 323: length, 324: 0, 325: len(data)}
    tags[324] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, kind if tag == 322 else 4, 1, value) for tag, value in tags.items())
    return b"II*\x00" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def test_a_tiff_of_huge_tiles_is_refused() -> None:
    assert not read_pixels(tiff_of_tiles(256, 256)).any()
    with pytest.raises(ImageError, match=r"decoding would take \d+ MB of memory, more than the limit of 0 MB"):
        read_pixels(tiff_of_tiles(256, 256), limits=Limits(memory=256 * 256))
    assert "more than the limit of 2,147 MB" in failure(tiff_of_tiles(1 << 16, 1 << 13))
    for kind in (1, 2, 7):  # bytes, text, anything
        assert failure(tiff_of_tiles(65, 256, kind)) == "the given bytes: a TIFF whose tiles have no size"


def test_an_error_may_be_given_another_name() -> None:
    with pytest.raises(ImageError, match=r"^the camera: no bytes$"):
        read_pixels(b"", "the camera")


# Headers are where damage hurts: half of the changes fall into the first 128 bytes.
@settings(
    deadline=None, max_examples=1000, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(number=st.integers(0, 99), changed=changes, kept=st.just(1.0) | st.floats(0.0, 1.0))
def test_damaged_bytes_give_pixels_or_an_image_error_and_nothing_else(
    capfd: pytest.CaptureFixture[str], number: int, changed: list[tuple[int, int]], kept: float
) -> None:
    content = bytearray(corpus()[number % len(corpus())])
    for place, value in changed:
        content[place % len(content)] = value
    try:
        pixels = read_pixels(bytes(content[: int(kept * len(content))]))
    except ImageError as error:
        assert str(error).isprintable()
    else:
        assert pixels.shape == (32, 32, 3)
        assert pixels.dtype == np.uint8
    assert capfd.readouterr() == ("", "")


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_give_pixels_or_an_image_error(content: bytes) -> None:
    try:
        assert read_pixels(content).shape == (32, 32, 3)
    except ImageError as error:
        assert str(error).isprintable()
