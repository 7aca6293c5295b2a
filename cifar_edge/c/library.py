"""The C of a network as a shared library, which this process loads and calls."""

import ctypes
import hashlib
import os
import platform
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from platformdirs import user_cache_path

from cifar_edge.c.dispatch import FAMILIES
from cifar_edge.c.gate import compile_c, compiler, prefix_of
from cifar_edge.c.kernels import KERNELS
from cifar_edge.c.options import COptions
from cifar_edge.c.sources import write
from cifar_edge.errors import CannotRun
from cifar_edge.integer import IntegerNetwork
from cifar_edge.spec import IMAGE_CHANNELS, ModelMetadata

FOLDER = "c"
"""Where built libraries are kept, in the cache folder of this user."""

_OPTIONS = ("-std=c99", "-O3", "-fPIC")
_COMPARED = 16
"""Made-up images on which a library is compared with the network after it was built."""
_PREFIX = "net"


class Library:
    """A network in C, loaded into this process. Any number of threads may use it at once.

    Args:
        path: of the shared library.
        network: what it computes.

    Raises:
        OSError: the file is not a library for this machine.
        AttributeError: it is another library.
    """

    def __init__(self, path: Path, network: IntegerNetwork) -> None:
        library = ctypes.CDLL(str(path))
        self._run = library.net_run_many
        self._run.restype, self._run.argtypes = None, [*[ctypes.c_void_p] * 2, ctypes.c_size_t, ctypes.c_void_p]
        library.net_state_size.restype, library.net_kernels.restype = ctypes.c_size_t, ctypes.c_char_p
        self._state_size: int = library.net_state_size()
        self._states = threading.local()
        self._size, self._classes = network.size, len(network.head.bias)
        self.kernels: str = library.net_kernels().decode()

    def logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """The int32 logits ``[n, classes]`` of pixels, uint8 ``[n, size, size, 3]``.

        Raises:
            ValueError: ``images`` have another shape or type.
        """
        shape = self._size, self._size, IMAGE_CHANNELS
        if images.dtype != np.uint8 or images.shape[1:] != shape:  # C would read beyond them
            raise ValueError(f"images are uint8 [n, {', '.join(map(str, shape))}], not {images.dtype} {images.shape}")
        images = np.ascontiguousarray(images)
        logits = np.empty((len(images), self._classes), np.int32)
        try:
            state = self._states.state
        except AttributeError:
            state = self._states.state = ctypes.create_string_buffer(self._state_size + 64)
        self._run(
            ctypes.addressof(state) + -ctypes.addressof(state) % 64, images.ctypes.data, len(images), logits.ctypes.data
        )
        return logits

    def logits_by(self, threads: int, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """`logits`, computed by so many threads, each of which takes a part of the images."""
        if min(threads, len(images)) < 2:
            return self.logits(images)
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(self.logits, np.array_split(images, threads))))


def library(content: bytes, network: IntegerNetwork, metadata: ModelMetadata, options: COptions) -> Library:
    """The network of an ``.onnx`` file in C: built once, then taken from the cache of this user.

    Args:
        content: the file.
        network: the one in it.
        metadata: its own.
        options: which kernels there are.

    Raises:
        CannotRun: there is no C compiler, it fails or miscompiles, or the network has no form in C.
    """
    command = compiler()
    if command is None:
        raise CannotRun("engine c needs a C compiler: install gcc or clang, or pip install 'cifar-edge[c]'")
    with _folder() as folder:
        path = folder / f"{_digest(content, command, options)}.so"
        if path.is_file():
            try:
                return Library(path, network)
            except (OSError, AttributeError):  # of another machine, or damaged
                pass
        _build(command, network, metadata, options, path)
        return Library(path, network)


@contextmanager
def _folder() -> Iterator[Path]:
    """The folder for libraries; one that is removed if this user has none that can be written to."""
    try:
        folder = user_cache_path("cifar-edge", appauthor=False) / FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError
    except (OSError, RuntimeError):
        with TemporaryDirectory(ignore_cleanup_errors=True) as name:  # Windows keeps a loaded library
            yield Path(name)
    else:
        yield folder


def _digest(content: bytes, command: Sequence[str], options: COptions) -> str:
    """Of all that the library is made of."""
    parts = [content, _generator(), *map(str.encode, (*command, options.kernels, sys.platform, platform.machine()))]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


@cache
def _generator() -> bytes:
    """The modules and templates that write the C."""
    found = hashlib.sha256()
    for package in ("cifar_edge.c", "cifar_edge.c.templates", "cifar_edge.integer"):
        folder = files(package.rpartition(".templates")[0] or package)
        folder = folder / "templates" if package.endswith(".templates") else folder
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if entry.is_file():
                found.update(entry.read_bytes())
    return found.digest()


def _build(
    command: Sequence[str], network: IntegerNetwork, metadata: ModelMetadata, options: COptions, path: Path
) -> None:
    """Compile the network to the shared library ``path``, which appears once it computes what the network does."""
    try:
        sources = write(network, metadata, COptions(options.kernels, _PREFIX))
    except TypeError as error:
        raise CannotRun(f"it cannot be written in C: {error}") from error
    assert prefix_of(sources) == _PREFIX
    with TemporaryDirectory(dir=path.parent) as name:
        folder = Path(name)
        for file, text in sources.items():
            (folder / Path(file).name).write_bytes(text)
        base = [*command, *_OPTIONS, *(("-mcpu=baseline",) if "zig" in " ".join(command) else ())]
        variant = [*base, "-c", f"{_PREFIX}.c"]
        compile_c([*variant, "-DNET_VARIANT=generic", "-DNET_GENERIC", "-o", "generic.o"], folder)
        objects, flags = ["generic.o"], []
        for kernels, family in FAMILIES.items():
            written = any(file.endswith(f"_{KERNELS[kernels].template}") for file in sources)
            if platform.machine() not in family or not written:
                continue
            try:
                line = [*variant, f"-DNET_VARIANT={kernels}", *KERNELS[kernels].flags, "-o", f"{kernels}.o"]
                compile_c(line, folder)
            except CannotRun:  # an old compiler
                continue
            objects.append(f"{kernels}.o")
            flags.append(f"-DNET_WITH_{kernels.upper()}")
        compile_c(
            [*base, *flags, "-DNET_DISPATCH", "-shared", f"{_PREFIX}_dispatch.c", *objects, "-o", "library"], folder
        )
        images = np.random.default_rng(0).integers(0, 256, (_COMPARED, network.size, network.size, 3), np.uint8)
        if not np.array_equal(Library(folder / "library", network).logits(images), network(images)):
            raise CannotRun(
                f"the C that {command[0]} compiles computes something else; try another compiler, named in CC"
            )
        (folder / "library").replace(path)
