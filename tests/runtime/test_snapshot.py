"""What the caller changes after handing it over: each answer is that of the image that was given."""

import io
import itertools
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image
from tiny import TINY

from cifar_edge import Classifier, ImageError, Prediction
from cifar_edge.data import Dataset
from cifar_edge.runtime.images import ImageSource, read_pixels
from cifar_edge.runtime.snapshot import MOST_COPIED_BYTES
from cifar_edge.runtime.stream import Pixels

IMAGES = 60


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(TINY)


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def frame(images: Pixels) -> Iterator[ImageSource]:
    buffer = np.empty((32, 32, 3), np.uint8)
    for image in images:
        buffer[:] = image
        yield buffer


def large_frame(images: Pixels) -> Iterator[ImageSource]:
    buffer = np.empty((32 * 38, 32 * 38, 3), np.uint8)
    assert buffer.nbytes > MOST_COPIED_BYTES
    for image in images[:8]:
        buffer[:] = image.repeat(38, 0).repeat(38, 1)
        yield buffer


def byte_array(images: Pixels) -> Iterator[ImageSource]:
    buffer = bytearray()
    for image in images:
        buffer[:] = png(image)
        yield buffer


def memory_view(images: Pixels) -> Iterator[ImageSource]:
    buffer = bytearray(1 << 14)
    for image in images:
        content = png(image)
        buffer[: len(content)] = content
        with memoryview(buffer)[: len(content)] as view:
            yield view  # which is released before the next one comes


def rewound(images: Pixels) -> Iterator[ImageSource]:
    file = io.BytesIO()
    for image in images:
        file.seek(0)
        file.truncate()
        file.write(png(image))
        yield file


def large_file(images: Pixels) -> Iterator[ImageSource]:
    file = io.BytesIO()
    for image in images[:8]:
        file.seek(0)
        Image.fromarray(image).resize((1300, 1300)).save(file, "BMP")
        assert file.tell() > MOST_COPIED_BYTES
        yield file


def tar_members(images: Pixels, mode: Literal["r:", "r|"]) -> Iterator[ImageSource]:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number, image in enumerate(images):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(png(image))
            archive.addfile(member, io.BytesIO(png(image)))
    file.seek(0)
    with tarfile.open(mode=mode, fileobj=file) as archive:
        for member in archive:
            extracted = archive.extractfile(member)
            assert extracted is not None
            with extracted:
                yield extracted


def zip_members(images: Pixels) -> Iterator[ImageSource]:
    with zipfile.ZipFile(io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for number, image in enumerate(images):
            archive.writestr(str(number), png(image))
        for name in archive.namelist():
            with archive.open(name) as member:
                yield member


def pages(images: Pixels) -> Iterator[ImageSource]:
    file = io.BytesIO()
    first, *others = map(Image.fromarray, images)
    first.save(file, "TIFF", save_all=True, append_images=others)
    with Image.open(file) as image:
        for number in range(len(images)):
            image.seek(number)
            yield image


def painted(images: Pixels) -> Iterator[ImageSource]:
    canvas = Image.new("RGB", (32, 32))
    for image in images:
        canvas.paste(Image.fromarray(image))
        yield canvas


def closed(images: Pixels) -> Iterator[ImageSource]:
    for image in images:
        with Image.open(io.BytesIO(png(image))) as opened:
            yield opened


def unbuffered_pipe(images: Pixels) -> Iterator[ImageSource]:
    """Each read brings what is there, a part of the image."""

    def write(descriptor: int, content: bytes) -> None:
        with io.FileIO(descriptor, "w") as file:
            for start in range(0, len(content), 700):
                file.write(content[start : start + 700])

    for image in images[:8]:
        reader, writer = os.pipe()
        thread = threading.Thread(target=write, args=(writer, png(image)))
        thread.start()
        with io.FileIO(reader) as file:
            yield file
        thread.join()


SOURCES: dict[str, Callable[[Pixels], Iterator[ImageSource]]] = {
    "frame": frame,
    "large frame": large_frame,
    "bytearray": byte_array,
    "memoryview": memory_view,
    "one file, rewound": rewound,
    "large file": large_file,
    "tar": lambda images: tar_members(images, "r:"),
    "tar, as a stream": lambda images: tar_members(images, "r|"),
    "zip": zip_members,
    "pages": pages,
    "one PIL image, painted on": painted,
    "PIL images, closed": closed,
    "unbuffered pipe": unbuffered_pipe,
}


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("source", SOURCES)
def test_the_answers_are_those_of_single_calls(
    classifier: Classifier, sample: Dataset, source: str, workers: int
) -> None:
    images = sample.test_images[:IMAGES]
    alone = [classifier.predict(image) for image in SOURCES[source](images)]
    assert len({answer.logits for answer in alone}) == len(alone) in (8, IMAGES)
    answers = [answer for _, answer in classifier.predict_iter(SOURCES[source](images), workers=workers)]
    batch = classifier.predict_batch(SOURCES[source](images))
    for single, streamed, batched in zip(alone, answers, batch, strict=True):
        assert isinstance(streamed, Prediction)
        assert streamed.logits == pytest.approx(single.logits, abs=1e-5)
        assert batched.logits == pytest.approx(single.logits, abs=1e-5)


def test_what_is_given_back_is_what_was_given(classifier: Classifier, sample: Dataset, tmp_path: Path) -> None:
    content, path = png(sample.test_images[0]), tmp_path / "0.png"
    path.write_bytes(content)
    with path.open("rb") as file, Image.open(path) as image:
        given: list[ImageSource] = [path, str(path), content, bytearray(content), file, image, sample.test_images[0]]
        answers = list(classifier.predict_iter(given))
        assert all(back is one for (back, _), one in zip(answers, given, strict=True))
        assert len({answer.label for _, answer in answers if isinstance(answer, Prediction)}) == 1


def test_what_cannot_be_taken_is_an_error_in_its_place(classifier: Classifier, sample: Dataset, tmp_path: Path) -> None:
    released = memoryview(b"")
    released.release()
    gone = io.BytesIO()
    gone.close()
    text = io.StringIO("text")
    broken = Image.open(io.BytesIO(png(sample.test_images[0])[:99]))
    bad: list[Any] = [
        released,
        gone,
        text,
        broken,
        bytearray(),
        None,
        np.zeros(3),
        bytes(5 << 20),
        bytearray(5 << 20),
    ]
    good = sample.test_images[0]
    answers = list(classifier.predict_iter(itertools.chain(*((one, good) for one in bad))))
    assert all(isinstance(answer, Prediction) for _, answer in answers[1::2])
    told = [str(answer) for _, answer in answers[::2] if isinstance(answer, ImageError)]
    assert told == [
        "the given memoryview: cannot be read (operation forbidden on released memoryview object)",
        "the given BytesIO: cannot be read (I/O operation on closed file.)",
        "the given StringIO: it was opened as text; open it in binary mode, 'rb'",
        "the PIL image: damaged or truncated image (image file is truncated)",
        "the given bytearray: no bytes",
        "the given NoneType: neither path, bytes, file, PIL image nor uint8 array [height, width, 3]",
        "the array: it is float64 [3]; an image is uint8 [height, width, 3], RGB",
        "the given bytes: not an image in a supported format; convert it to JPEG",
        "the given bytearray: not an image in a supported format; convert it to JPEG",
    ]


def test_a_file_is_read_from_its_beginning_wherever_it_stands(sample: Dataset) -> None:
    file = io.BytesIO(png(sample.test_images[0]))
    for position in (0, 9, 10**6):
        file.seek(position)
        assert (read_pixels(file) == sample.test_images[0]).all()
