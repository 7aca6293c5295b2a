"""Reads the ``.onnx`` file of a model and checks it; files that violate the edge contract are refused unrun."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cifar_edge.errors import ContractError, ModelError
from cifar_edge.messages import display_name, reason
from cifar_edge.model_file.onnx_file import End, OnnxFile
from cifar_edge.model_file.operators import check_graph
from cifar_edge.model_file.protobuf import DamagedError
from cifar_edge.spec import IMAGE_CHANNELS, INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelMetadata

MAX_MODEL_BYTES = 64 * 1024 * 1024
"""A larger file is refused unread; models for the edge are a thousand times smaller."""

MAX_METADATA = 1_000_000
"""Most characters of JSON; a thousand classes with long names take a third of them."""

BATCH = 64
"""Images in one run of the graph; a larger batch is no faster and takes more memory."""


def read_graph(path: str | os.PathLike[str]) -> tuple[OnnxFile, ModelMetadata]:
    """What the file of a model holds, and what it says of itself, without running it.

    Raises:
        ModelError: the file is missing, empty, larger than `MAX_MODEL_BYTES`, or no ONNX model.
        ContractError: it is a model, but one that does not keep the edge contract.
    """
    name, content = display_name(os.fspath(path)), read_model(path)
    if is_tflite(content):
        raise ModelError(f"{name} is a .tflite file; give the .onnx file beside it")
    return checked_graph(content, name)


def checked_graph(content: bytes, name: str) -> tuple[OnnxFile, ModelMetadata]:
    """`read_graph` for the bytes of a file, which errors call ``name``."""
    with calling(name, content):
        return checked(content)


def is_tflite(content: bytes) -> bool:
    """Whether ``content`` begins as a ``.tflite`` file does."""
    return content[4:8] == b"TFL3"


def read_model(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a model's file.

    Raises:
        ModelError: the file is missing, cannot be read, is larger than `MAX_MODEL_BYTES`, or is called ``.tflite`` and
            does not begin as such a file.
    """
    name, path = display_name(os.fspath(path)), Path(path)
    try:
        if path.is_dir():
            raise ModelError(f"{name} is a folder, not an .onnx file")
        if not path.is_file():
            raise ModelError(f"there is no model file {name}")
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise ModelError(f"{name} is larger than {MAX_MODEL_BYTES >> 20} MiB, too large for an edge model")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the model {name}: {getattr(error, 'strerror', None) or error}") from error
    if path.suffix.lower() == ".tflite" and not is_tflite(content):
        raise ModelError(f"{name} is damaged or not a LiteRT model")
    return content


@contextmanager
def calling(name: str, content: bytes, kind: str = "an ONNX model") -> Iterator[None]:
    """Refuse ``content`` of no model's size; errors of what is done with it begin with ``name``.

    ``kind`` is what they say that a damaged file is not.
    """
    if not content:
        raise ModelError(f"{name} is empty, not an ONNX model")
    if len(content) > MAX_MODEL_BYTES:
        raise ModelError(f"{name} is larger than {MAX_MODEL_BYTES >> 20} MiB, too large for an edge model")
    try:
        yield
    except ContractError as error:
        raise ContractError(f"{name}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise ContractError(f"{name}: its metadata or a name in it is not UTF-8") from error
    except (DamagedError, ModelError) as error:
        raise ModelError(f"{name} is damaged or not {kind}: {reason(error)}") from error


def checked(content: bytes) -> tuple[OnnxFile, ModelMetadata]:
    """The file and its metadata, after every part was checked: onnxruntime does whatever a file asks for."""
    file = OnnxFile.from_bytes(content)
    text = file.metadata.get(METADATA_KEY)
    if text is None:
        raise ContractError(f"it has no {METADATA_KEY!r} metadata; make the file with `cifar-edge export`")
    if len(text) > MAX_METADATA:
        raise ContractError(f"its metadata has more than {MAX_METADATA:,} characters")
    metadata = ModelMetadata.from_json(text)
    expected_input = End(INPUT_NAME, "tensor(uint8)", (None, metadata.size, metadata.size, IMAGE_CHANNELS))
    expected_output = End(OUTPUT_NAME, "tensor(float)", (None, len(metadata.labels)))
    for kind, found, expected in (("input", file.inputs, expected_input), ("output", file.outputs, expected_output)):
        if found != (expected,):
            raise ContractError(f"its {kind} is {_shown(found)}; the contract requires {_shown((expected,))}")
    for batch in (1, BATCH):
        check_graph(file, batch)
    return file, metadata


def _shown(ends: tuple[End, ...]) -> str:
    shapes = [", ".join("batch" if size is None else str(size) for size in end.shape) for end in ends]
    return "; ".join(f"{end.name!r} {end.type} [{shape}]" for end, shape in zip(ends, shapes, strict=True)) or "missing"
