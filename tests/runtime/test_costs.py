"""Images that would cost far more than their bytes: each is refused in one line, before it has cost anything."""

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from benchmarks.pictures.hostile import encoded, png_of_profiles, refused
from cifar_edge.data import load_dataset
from cifar_edge.errors import ImageError
from cifar_edge.runtime.formats import image_suffixes, readable_formats
from cifar_edge.runtime.images import read_pixels
from cifar_edge.runtime.limits import Limits
from cifar_edge.runtime.stream import stream

PARTS = 50_000
"""Of a list that should have a dozen."""


REFUSED = {
    "PNG of colour profiles": "more than 100 compressed texts",
    "PNG of texts": "too many small parts",
    "PNG of empty parts": "too many small parts",
    "JPEG of comments": "more than 10,000 segments",
    "JPEG of fill bytes": "too many small parts",
    "JPEG of EXIF blocks": "more than 100 EXIF blocks",
    "JPEG with arithmetic coding": "with arithmetic coding, which is not read; convert it to JPEG without it$",
    "large JPEG of scans": "16,000,000 pixels in 40 scans",
    "GIF of comments": "too many small parts",
    "GIF of one comment": "too many small parts",
    "BMP of runs": "a BMP with run lengths, which is not read; convert it to JPEG$",
    "text PPM": "written as text",
    "text PBM": "written as text",
    "PPM of comments": "too many small parts",
    "ICO of icons": "256 icons",
    "ICO of a large PNG": "more than 1024 pixels a side",
    "ICO of a large BMP": "more than 1024 pixels a side",
    "TIFF of strips": "values besides its pixels",
    "TIFF of strips at bytes": "values besides its pixels",
    "TIFF of tags": "too many small parts",
    "JPEG 2000 of boxes": "too many boxes",
    "JPEG 2000 of segments": "too many segments",
    "JPEG 2000 of layers": "65,535 layers",
    "JPEG 2000 of tiny blocks": "its code blocks",
    "JPEG 2000 of passes": "its code blocks",
    "JPEG 2000 of precincts": "too many small parts",
    "JPEG 2000 of tiles": "too many small parts",
    "JPEG 2000 with regions": "marker FF5E",
}
"""Name of a hostile image -> what its error says."""


@pytest.mark.parametrize("name", refused(PARTS))
def test_a_form_that_costs_too_much_is_refused(name: str) -> None:
    with pytest.raises(ImageError, match=REFUSED[name]) as caught:
        read_pixels(refused(PARTS)[name]())
    assert str(caught.value).isprintable()


def test_a_decoder_that_takes_too_long_is_ended() -> None:
    with pytest.raises(ImageError, match=r"^the given bytes: decoding takes more than 0\.05 seconds; convert it"):
        read_pixels(png_of_profiles(100), limits=Limits(seconds=0.05))
    with pytest.raises(ImageError, match=r"more than 0\.5 seconds"):  # its decoder cannot be ended
        read_pixels(encoded("JPEG2000", (2_000, 2_000)), limits=Limits(seconds=0.5))
    assert read_pixels(png_of_profiles(1), limits=Limits(seconds=0.5)).shape == (32, 32, 3)


SIDE = 1_500
MEASURED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "PNG": ("PNG", "RGB", {}),
    "PNG, transparent": ("PNG", "RGBA", {}),
    "TIFF, LZW": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "TIFF, floats": ("TIFF", "F", {}),
    "WebP": ("WEBP", "RGB", {"method": 0}),
    "WebP, transparent, lossless": ("WEBP", "RGBA", {"method": 0, "lossless": True}),
    "AVIF": ("AVIF", "RGB", {"speed": 10, "subsampling": "4:4:4"}),
    "JPEG 2000": ("JPEG2000", "RGB", {}),
    "JPEG, progressive": ("JPEG", "CMYK", {"progressive": True}),
}

_PEAK = """
import re, sys
from pathlib import Path
from PIL import Image
from cifar_edge.runtime.limits import Limits
from cifar_edge.runtime.images import read_pixels
def megabytes(what):
    return int(re.search(what + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
Image.init()
small, large = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]).read_bytes()
read_pixels(small)
before = megabytes("VmRSS")
read_pixels(large, limits=Limits(memory=int(sys.argv[3])))
print(megabytes("VmHWM") - before)
"""


@pytest.mark.parametrize("name", MEASURED)
def test_what_is_held_is_what_was_estimated(name: str, tmp_path: Any) -> None:
    kind, mode, options = MEASURED[name]
    photo = Image.fromarray(load_dataset("sample").test_images[0])
    for file, side in (("small", 40), ("large", SIDE)):
        image = photo.resize((side, side)).convert(mode)
        if mode == "F":
            image = image.point(lambda level: level * (1 / 255) + 0)  # white is 1
        image.save(tmp_path / file, kind, **options)
    with pytest.raises(ImageError, match=r"would take \d+ MB") as caught:
        read_pixels(tmp_path / "large", limits=Limits(memory=1_000_000))
    estimate = int(str(caught.value).partition("would take ")[2].split()[0]) * 1_000_000
    arguments = [str(tmp_path / "small"), str(tmp_path / "large"), str(estimate + 500_000)]
    done = subprocess.run([sys.executable, "-c", _PEAK, *arguments], capture_output=True, text=True, check=True)
    assert float(done.stdout) < estimate / (1 << 20) + 8


def test_an_error_does_not_keep_the_image() -> None:
    content = encoded("PNG", (6_000, 6_000))[:-2_000]
    with pytest.raises(ImageError, match="truncated") as caught:
        read_pixels(content)
    held: list[object] = []
    error: BaseException | None = caught.value
    while error is not None:
        traceback = error.__traceback__
        while traceback is not None:
            held += traceback.tb_frame.f_locals.values()
            traceback = traceback.tb_next
        error = error.__cause__
    assert not [value for value in held if isinstance(value, Image.Image) and value._im is not None]


_GIVEN_BACK = """
import io, re, threading
from pathlib import Path
from PIL import Image
from cifar_edge.runtime.images import read_pixels
def megabytes():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
def encoded(side):
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "WEBP", method=0)
    return file.getvalue()
read_pixels(encoded(40))
content, before = encoded(4000), megabytes()
def read():
    read_pixels(content)
    read_pixels(content)
    afterwards.append(megabytes())
afterwards = []
threads = [threading.Thread(target=read) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(min(afterwards) - before)
"""


def test_memory_of_large_images_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", _GIVEN_BACK], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 50


@pytest.mark.parametrize(("mode", "brightest"), [("P5", 1), ("P5", 100), ("P5", 1023), ("P6", 17), ("P6", 4095)])
def test_other_numbers_of_greys_are_scaled_as_pillow_does(mode: str, brightest: int) -> None:
    kind = np.dtype(">u2" if brightest > 255 else np.uint8)
    numbers = np.random.default_rng(0).integers(0, brightest + 2, (32, 32, 3 if mode == "P6" else 1)).astype(kind)
    content = f"{mode} 32 32 {brightest}\n".encode() + numbers.tobytes()
    with Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(read_pixels(content), read_pixels(image))
    with pytest.raises(ImageError, match="truncated"):
        read_pixels(content[:-1])


class Plugin(ImageFile.ImageFile):
    """A format of another package, as a HEIF plug-in is."""

    format = "ELSEWHERE"

    def _open(self) -> None:
        assert self.fp is not None
        self.fp.seek(9)
        self._size, self._mode = (32, 32), "L"
        self.tile = [ImageFile._Tile("raw", (0, 0, 32, 32), 9, ("L", 0, 1))]


def test_formats_of_plug_ins_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"ELSEWHERE" + bytes(range(256)) * 400
    with pytest.raises(ImageError, match="not an image"):
        read_pixels(content)
    readable_formats()
    for registry in ("ID", "OPEN", "EXTENSION"):
        monkeypatch.setattr(Image, registry, getattr(Image, registry).copy())
    Image.register_open(Plugin.format, Plugin, lambda begin: begin.startswith(b"ELSEWHERE"))
    Image.register_extension(Plugin.format, ".elsewhere")
    assert read_pixels(content)[0, 9, 1] == 9
    assert ".elsewhere" in image_suffixes()


def test_a_stream_ends_without_waiting_for_what_is_being_read() -> None:
    answered, entered, end, left = (threading.Event() for _ in range(4))

    def sources() -> Iterator[bool]:
        yield False
        answered.wait(30)
        yield True

    def read(slow: bool) -> np.ndarray[Any, Any]:
        if slow:
            entered.set()
            end.wait(30)
            left.set()
        return np.zeros((32, 32, 3), np.uint8)

    answers = stream(sources(), read, lambda pixels: [0] * len(pixels), workers=1)
    next(answers)
    answered.set()
    assert entered.wait(30)
    answers.close()  # as Ctrl-C does
    assert not left.is_set()
    end.set()
