"""A guest changes nothing of its host, whose filters, handlers and masks stay as they are, and whose forks classify."""

import io
import os
import stat
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from cifar_edge.errors import ImageError
from cifar_edge.files import write_bytes
from cifar_edge.runtime.formats import image_suffixes
from cifar_edge.runtime.images import read_pixels


def png_that_pillow_warns_of() -> bytes:
    """A grey PNG that says to be animated, in a chunk that does not say how."""
    file = io.BytesIO()
    Image.new("L", (32, 32), 200).save(file, "PNG")
    chunk = b"acTL" + bytes(8)
    header = 33  # bytes of the signature and IHDR
    content = file.getvalue()
    return content[:header] + struct.pack(">I", 8) + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[header:]


class Hosted(io.BytesIO):
    """A file during whose reading another part of the program warns, and sets a filter."""

    def read(self, size: int | None = -1) -> bytes:
        warnings.warn("the host's own", UserWarning, stacklevel=1)
        warnings.filterwarnings("ignore", "set meanwhile")
        return super().read(size)


def test_warnings_of_others_come_through_and_filters_stay() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        assert (read_pixels(Hosted(png_that_pillow_warns_of())) == 200).all()
        assert "the host's own" in [str(warning.message) for warning in caught]
        assert warnings.filters[1:] == before
        assert "set meanwhile" in str(warnings.filters[0])


def test_where_warnings_are_errors_an_image_that_makes_one_says_so() -> None:
    with pytest.raises(ImageError, match=r"^the given bytes: Pillow warns about it, and warnings are errors here \("):
        read_pixels(png_that_pillow_warns_of())


STATE = """
import gc, locale, logging, os, signal, sys, threading, warnings
import numpy
from PIL import Image, ImageFile

def state():
    mask = os.umask(0o022)
    os.umask(mask)
    return {
        "arithmetic": numpy.geterr(),
        "collector": (gc.isenabled(), gc.get_threshold()),
        "environment": {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"},
        "filters": list(warnings.filters),
        "folder": os.getcwd(),
        "handlers": [logging.getLogger(name).handlers[:] for name in (None, "PIL")],
        "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook, warnings.showwarning),
        "levels": [logging.getLogger(name).level for name in (None, "PIL", "onnxruntime")],
        "limits": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK),
        "locale": locale.setlocale(locale.LC_ALL),
        "mask": mask,
        "printing": numpy.get_printoptions(),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "switching": sys.getswitchinterval(),
    }

warnings.simplefilter("ignore")
before = state()
from cifar_edge import Classifier, ImageError
from cifar_edge.measure.accuracy import evaluate
from cifar_edge.data import load_dataset
classifier = Classifier("gn-cnn")
classifier.warmup()
during = []
sources = [*sys.argv[1:], b"not an image", *load_dataset("sample").test_images[:9]]
for _, answer in classifier.predict_iter(sources, workers=2):
    during.append(state())
for each in (*during, state()):
    assert each == before, [name for name in before if each[name] != before[name]]
"""


def test_nothing_of_the_process_is_changed(image_files: list[Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(png_that_pillow_warns_of()[:-40])
    subprocess.run([sys.executable, "-c", STATE, *image_files, damaged], check=True)


def test_a_command_keeps_pillow_silent_all_the_same(tmp_path: Path) -> None:
    """libtiff prints, inside Pillow, what is wrong with this one; of the other one Pillow warns."""
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "TIFF", compression="tiff_lzw")
    damaged = bytearray(file.getvalue())
    damaged[20:200] = bytes(value ^ 0x5A for value in damaged[20:200])
    (tmp_path / "damaged.tif").write_bytes(damaged)
    (tmp_path / "animated.png").write_bytes(png_that_pillow_warns_of())
    command = [sys.executable, "-W", "error", "-m", "cifar_edge", "predict", "damaged.tif", "animated.png", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: damaged.tif: damaged or truncated image (decoder error -2)\n"
    assert done.stdout.endswith("animated.png\n")


def test_a_file_is_written_without_a_look_at_the_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which can only be read by setting it, for all threads."""
    mask = os.umask(0o027)
    with monkeypatch.context() as patch:
        patch.setattr(os, "umask", lambda mask: pytest.fail("the mask of the process is set"))
        write_bytes(tmp_path / "file", b"content")
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class Toy(ImageFile.ImageFile):
    """A format of four bytes and one colour."""

    format = "TOY"

    def _open(self) -> None:
        self._mode = "L"
        self._size = 32, 32
        assert self.fp is not None
        self.im = Image.new("L", self.size, self.fp.read()[4]).im


@pytest.fixture
def plug_in() -> Iterator[None]:
    """Registers a format, as an HEIF plug-in does, in the course of the test."""
    with pytest.raises(ImageError, match="not an image"):
        read_pixels(b"toy!\xc8")
    assert ".toy" not in image_suffixes()
    Image.register_open("TOY", Toy, lambda prefix: prefix[:4] == b"toy!")
    Image.register_extension("TOY", ".toy")
    yield
    Image.ID.remove("TOY")
    del Image.OPEN["TOY"], Image.EXTENSION[".toy"]


@pytest.mark.usefixtures("plug_in")
def test_a_format_that_is_registered_later_is_read() -> None:
    assert (read_pixels(b"toy!\xc8") == np.full((32, 32, 3), 0xC8)).all()
    assert ".toy" in image_suffixes()


FORKS = """
import faulthandler, io, os, sys, threading
import numpy as np
from PIL import Image
from cifar_edge import Classifier

file = io.BytesIO()
Image.new("1", (4001, 4001), 1).save(file, "PNG")  # large images are decoded one after the other
large, small = file.getvalue(), np.zeros((64, 32, 32, 3), np.uint8)
classifier, closed = Classifier("gn-cnn", int(sys.argv[1])), Classifier("gn-cnn")
closed.close()
expected = classifier.predict(large)

def repeat(call, argument):
    while True:
        call(argument)

for call in ((classifier.predict, large), (classifier.predict, large), (classifier.classify, small)):
    threading.Thread(target=repeat, args=call, daemon=True).start()
for number in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(60, exit=True)
        assert classifier.predict(large) == expected
        assert len(classifier.classify(small)) == 64
        try:
            closed.predict(large)
        except ValueError:
            sys.exit(0)  # as gunicorn's workers end: Python takes down what they inherited
    assert os.waitpid(child, 0)[1] == 0, number
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_fork_under_load_classifies(threads: int) -> None:
    """The child has a copy of what other threads hold at that moment, but not the threads."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS, str(threads), "4"], check=True)
