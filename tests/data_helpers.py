"""A small dataset in every format of CIFAR-10, made of the embedded sample, and a server of its mirrors."""

import hashlib
import io
import json
import struct
import tarfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifar_edge.data import load_dataset
from cifar_edge.data.cifar10 import npm
from cifar_edge.data.cifar10.dataset_spec import Archive, DatasetSpec
from cifar_edge.data.cifar10.fetch import fetch
from cifar_edge.data.cifar10.transfer import Limits, Transfer
from cifar_edge.data.dataset import Arrays, Dataset, Images
from cifar_edge.errors import DataError
from cifar_edge.runs.dataset import Fingerprints
from cifar_edge.spec import CIFAR10_LABELS

TRAINING = tuple(f"data_batch_{number}" for number in range(1, 6))
BATCHES = (*TRAINING, "test_batch")
PACKAGE = "small-images@1.2.3"

BRISK = Limits(answer=2.0, rate=20_000.0, window=1.0)
"""Limits that end within seconds; even a loaded machine is faster over the loopback."""
UNHURRIED = replace(BRISK, answer=60.0, window=60.0)
"""Limits for tests that are not about time: npm alone needs seconds on a loaded machine."""
SLOW_LIMITS = Limits(answer=2.0, rate=1_000.0, window=1.0)
needs_npm = pytest.mark.skipif(npm.find_npm() is None, reason="npm is not installed")


def sample_arrays() -> Arrays:
    return load_dataset("sample").arrays()


def split_batches(arrays: Arrays) -> dict[str, tuple[Images, Images]]:
    images = [*np.split(arrays.train_images, 5), arrays.test_images]
    labels = [*np.split(arrays.train_labels, 5), arrays.test_labels]
    return {name: (images[i], labels[i]) for i, name in enumerate(BATCHES)}


def planes(images: Images) -> Images:
    return images.transpose(0, 3, 1, 2).reshape(len(images), 3072)


def pickle_batch(images: Images, labels: Images) -> bytes:
    """The bytes that Python 2 and the numpy of 2009 wrote for a batch, opcode by opcode."""

    def string(text: str) -> bytes:
        return b"U" + bytes([len(text)]) + text.encode()

    pixels = planes(images).tobytes()
    return b"".join(
        [
            b"\x80\x02}(",
            string("labels") + b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e",
            string("data"),
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + string("b") + b"\x87R",
            b"(K\x01" + struct.pack("<cHcHc", b"M", len(images), b"M", 3072, b"\x86"),
            b"cnumpy\ndtype\n" + string("u1") + b"K\x00K\x01\x87R",
            b"(K\x03" + string("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89T" + struct.pack("<I", len(pixels)) + pixels + b"tb",
            b"u.",
        ]
    )


def python_files(arrays: Arrays) -> dict[str, bytes]:
    return {name: pickle_batch(*batch) for name, batch in split_batches(arrays).items()}


def binary_files(arrays: Arrays) -> dict[str, bytes]:
    return {
        f"{name}.bin": np.hstack([labels[:, None], planes(images)]).tobytes()
        for name, (images, labels) in split_batches(arrays).items()
    }


def png(pixels: Images) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def package_files(arrays: Arrays) -> dict[str, bytes]:
    files = {f"{name}.png": png(images.reshape(-1, 1024, 3)) for name, (images, _) in split_batches(arrays).items()}
    for name, labels in (("train", arrays.train_labels), ("test", arrays.test_labels)):
        files[f"{name}_lables.json"] = json.dumps(labels.tolist()).encode()
    return files


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def tar(folder: str, files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def archive_of(name: str, content: bytes) -> Archive:
    return Archive(name, len(content), hashlib.sha256(content).hexdigest())


@cache
def small_archive() -> bytes:
    return tar("cifar-10-batches-py", python_files(sample_arrays()))


@cache
def small_package() -> bytes:
    return tar("package", package_files(sample_arrays()))


def small_spec(*mirrors: str) -> DatasetSpec:
    """The spec of the embedded sample, with these mirrors."""
    arrays = sample_arrays()
    return DatasetSpec(
        name="small",
        title="SMALL-10",
        labels=CIFAR10_LABELS,
        fingerprints=Fingerprints.of(arrays),
        batches={name: hashlib.md5(content).hexdigest() for name, content in python_files(arrays).items()},
        archive=archive_of("small-python.tar.gz", small_archive()),
        mirrors=mirrors,
        package=PACKAGE,
        package_archive=archive_of("small-images-1.2.3.tgz", small_package()),
    )


class Mirrors(ThreadingHTTPServer):
    """A host that behaves as the start of the path says: good, slow, dead, wrong, ... ``log`` has (path, Range)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.archive = small_archive()
        self.package = small_package()
        self.package_kilobytes: float | None = None
        self.log: list[tuple[str, str | None]] = []
        self.closing = threading.Event()
        self.gate = threading.Event()

    def url(self, kind: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{kind}/small-python.tar.gz"

    def packument(self) -> bytes:
        """What an npm registry answers about a package."""
        name, version = PACKAGE.split("@")
        integrity = "sha512-" + b64encode(hashlib.sha512(self.package).digest()).decode()
        tarball = f"http://127.0.0.1:{self.server_port}/registry/package.tgz"
        entry = {"name": name, "version": version, "dist": {"tarball": tarball, "integrity": integrity}}
        return json.dumps({"name": name, "dist-tags": {"latest": version}, "versions": {version: entry}}).encode()


@contextmanager
def serving() -> Iterator[Mirrors]:
    with Mirrors() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.gate.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Mirrors

    def log_message(self, *args: object, **kwargs: object) -> None:
        """Keep stderr clean."""

    def do_GET(self) -> None:
        self.server.log.append((self.path, self.headers["Range"]))
        kind = self.path.strip("/").split("/")[0]
        content = self.server.archive
        try:
            if kind == "rude":
                self.send_response(503, "\x1b]0;owned\x07\x9b2J" + "long " * 1000)
                self.end_headers()
            elif kind == "good":
                self._send(content, ranges=True)
            elif kind == "moved":
                self._redirect(self.server.url("good"))
            elif kind == "no-range":
                self._send(content)
            elif kind == "breaks":
                self._send(content, ranges=True, at_most=len(content) // 3)
            elif kind == "truncated":
                self._send(content, at_most=len(content) // 2)
            elif kind == "short":
                self._send(content[: len(content) // 2], ranges=True)
            elif kind == "wrong":
                self._send(bytes(len(content)), ranges=True)
            elif kind == "endless":
                self._send(content + content, length=None)
            elif kind == "page":
                self._send(b"<html>Please log in</html>")
            elif kind in {"slow", "slower"}:
                self._send(content, ranges=True, kilobytes=10 if kind == "slow" else 5)
            elif kind == "crawling":
                self._send(content, ranges=True, kilobytes=0.5)
            elif kind == "leisurely":
                self._send(content, ranges=True, kilobytes=1000)
            elif kind == "stalls":
                self._send(content, at_most=len(content) // 2)
                self.server.closing.wait()
            elif kind == "gated":
                self._send(content, at_most=len(content) // 2)
                self.server.gate.wait()
                self.wfile.write(content[len(content) // 2 :])
            elif kind == "trickle":
                self._trickle_headers()
            elif kind == "dead":
                self.server.closing.wait()
            elif kind == "small-images":
                self._send(self.server.packument())
            elif kind == "registry":
                self._send(self.server.package, kilobytes=self.server.package_kilobytes)
            else:
                self.send_error(404)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _redirect(self, url: str) -> None:
        self.send_response(302)
        self.send_header("Location", url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _trickle_headers(self) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\n")
        for number in range(1000):
            self.wfile.write(b"X-%d: 1\r\n" % number)
            if self.server.closing.wait(0.2):
                return

    def _send(
        self,
        content: bytes,
        *,
        ranges: bool = False,
        at_most: int | None = None,
        length: int | None = -1,
        kilobytes: float | None = None,
    ) -> None:
        """Send ``content``, or its Range, at most ``at_most`` bytes, at ``kilobytes`` a second."""
        begin = 0
        asked = self.headers["Range"]
        if ranges and asked:
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(content):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        body = content[begin:][:at_most]
        if kilobytes is None:
            self.wfile.write(body)
        else:
            step = max(1, int(kilobytes * 1000 * 0.05))
            for start in range(0, len(body), step):
                self.wfile.write(body[start : start + step])
                if self.server.closing.wait(0.05):
                    return


def wait_until(seconds: float, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


def ignore_progress(transfer: Transfer) -> None:
    """The ``progress`` of tests that ignore it."""


def fetch_from(
    server: Mirrors, kinds: list[str], folder: Path, limits: Limits = BRISK
) -> tuple[Dataset | None, list[str]]:
    """What `fetch` returns with mirrors of these kinds, or None if it fails; and the lines that it reports."""
    lines: list[str] = []
    spec = small_spec(*(server.url(kind) for kind in kinds))
    try:
        dataset = fetch(
            spec, folder, report=lines.append, progress=ignore_progress, limits=limits, slow_limits=SLOW_LIMITS
        )
    except DataError as error:
        lines.append(str(error))
        return None, lines
    return dataset, lines
