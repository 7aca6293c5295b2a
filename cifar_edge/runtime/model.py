"""Loads an exported model into its runtime, an ``.onnx`` file into onnxruntime; refuses what violates the contract."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from cifar_edge.errors import ContractError, ModelError
from cifar_edge.messages import display_name, reason
from cifar_edge.runtime import litert
from cifar_edge.runtime.onnx_file import End, OnnxFile
from cifar_edge.runtime.operators import check_graph
from cifar_edge.runtime.protobuf import DamagedError
from cifar_edge.spec import IMAGE_CHANNELS, INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelMetadata

MAX_MODEL_BYTES = 64 * 1024 * 1024
"""A larger file is refused unread; models for the edge are a thousand times smaller."""

MAX_METADATA = 1_000_000
"""Most characters of JSON; a thousand classes with long names take a third of them."""

BATCH = 64
"""Images in one run of the graph; a larger batch is no faster and takes more memory."""

_SILENT = 4
"""onnxruntime's log level "fatal": errors are raised, and must not be printed as well."""


class Model(NamedTuple):
    """A loaded model: onnxruntime's ``InferenceSession``, or one that is called alike, and the file's metadata."""

    session: Any
    metadata: ModelMetadata


def load(source: str | os.PathLike[str] | bytes, threads: int = 1, name: str | None = None) -> Model:
    """Load an exported model from its path, or from the bytes of the file.

    An ``.onnx`` file runs in onnxruntime, a ``.tflite`` file in LiteRT, on ``threads`` CPU threads, which sleep instead
    of spinning while they are idle. Errors call the model ``name``; None takes its path.

    Raises:
        ModelError: the file is missing, empty, larger than `MAX_MODEL_BYTES`, or not a model that the runtime can run.
        ContractError: the model violates the edge contract (see `cifar_edge.spec`).
        MissingExtra: it is a ``.tflite`` file, and LiteRT is not installed.
        ValueError: ``threads`` is less than 1.
    """
    if threads < 1:
        raise ValueError(f"a model needs at least one thread, not {threads}")
    if isinstance(source, bytes):
        name, content = name or "the given model", source
    else:
        name, content = name or display_name(os.fspath(source)), read_model(source)
    with _calling(name, content):
        session: Any
        if litert.is_tflite(content):
            session, metadata = litert.load(content, threads)
        else:
            _, metadata = _checked(content)
            session = _session(content, threads)
        _try(session, metadata)
    return Model(session, metadata)


def read_graph(path: str | os.PathLike[str]) -> tuple[OnnxFile, ModelMetadata]:
    """What the file of a model holds, and what it says of itself, without running it.

    Raises:
        ModelError: the file is missing, empty, larger than `MAX_MODEL_BYTES`, or no ONNX model.
        ContractError: it is a model, but one that does not keep the edge contract.
    """
    content = read_model(path)
    with _calling(display_name(os.fspath(path)), content):
        return _checked(content)


@contextmanager
def _calling(name: str, content: bytes) -> Iterator[None]:
    """Refuse ``content`` of no model's size; errors of what is done with it begin with ``name``."""
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
        kind = "a LiteRT model" if litert.is_tflite(content) else "an ONNX model"
        raise ModelError(f"{name} is damaged or not {kind}: {reason(error)}") from error


def run(session: Any, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Logits ``[images, classes]`` of pixels ``[images, S, S, 3]``, computed in batches of `BATCH`.

    Raises:
        ModelError: a logit is not a finite number.
    """
    if len(images) == 0:  # graphs with GroupNorm cannot infer shapes for an empty batch
        return run(session, np.zeros((1, *images.shape[1:]), np.uint8))[:0]
    starts = range(0, len(images), BATCH)
    parts = [session.run([OUTPUT_NAME], {INPUT_NAME: images[start : start + BATCH]})[0] for start in starts]
    logits: npt.NDArray[np.float32] = np.concatenate(parts)
    if not np.isfinite(logits).all():
        raise ModelError("the model's output is not finite")
    return logits


def read_model(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a model's file.

    Raises:
        ModelError: the file is missing, cannot be read, or is larger than `MAX_MODEL_BYTES`.
    """
    name, path = display_name(os.fspath(path)), Path(path)
    try:
        if path.is_dir():
            raise ModelError(f"{name} is a folder, not an .onnx file")
        if not path.is_file():
            raise ModelError(f"there is no model file {name}")
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise ModelError(f"{name} is larger than {MAX_MODEL_BYTES >> 20} MiB, too large for an edge model")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the model {name}: {getattr(error, 'strerror', None) or error}") from error


def _checked(content: bytes) -> tuple[OnnxFile, ModelMetadata]:
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


def _session(content: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # No file that was checked refers to another file. If one did all the same, it would not be found in this folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        # enable_fallback=0: onnxruntime would print its error to stdout and try the same provider again.
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # the only common base class of its exceptions
        raise ModelError(str(error)) from error


def _try(session: Any, metadata: ModelMetadata) -> None:
    two = np.zeros((2, metadata.size, metadata.size, IMAGE_CHANNELS), np.uint8)
    classes = len(metadata.labels)
    try:
        shape = run(session, two).shape
    except Exception as error:  # as in _session
        raise ContractError(f"it fails on a batch of two images: {reason(error)}") from error
    if shape != (2, classes):
        raise ContractError(f"two images give logits of shape {list(shape)}; the contract requires {[2, classes]}")


def _shown(ends: tuple[End, ...]) -> str:
    shapes = [", ".join("batch" if size is None else str(size) for size in end.shape) for end in ends]
    return "; ".join(f"{end.name!r} {end.type} [{shape}]" for end, shape in zip(ends, shapes, strict=True)) or "missing"
