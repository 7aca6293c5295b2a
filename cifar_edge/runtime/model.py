"""Loads an exported model into its runtime, an ``.onnx`` file into onnxruntime; refuses what violates the contract."""

import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from cifar_edge.errors import ContractError, ModelError
from cifar_edge.messages import display_name, reason
from cifar_edge.model_file.onnx_file import OnnxFile
from cifar_edge.model_file.reading import BATCH, calling, checked, is_tflite, read_model
from cifar_edge.runtime import litert
from cifar_edge.spec import IMAGE_CHANNELS, INPUT_NAME, OUTPUT_NAME, ModelMetadata

ONNXRUNTIME, C = ENGINES = ("onnxruntime", "c")
"""What can run an ``.onnx`` file: onnxruntime, or C that a compiler on this machine makes of an int8 file."""

_SILENT = 4
"""onnxruntime's log level "fatal": errors are raised, and must not be printed as well."""


class Model(NamedTuple):
    """A loaded model: onnxruntime's ``InferenceSession``, or one that is called alike, and the file's metadata."""

    session: Any
    metadata: ModelMetadata


def load(
    source: str | os.PathLike[str] | bytes, threads: int = 1, name: str | None = None, engine: str = ONNXRUNTIME
) -> Model:
    """Load an exported model from its path, or from the bytes of the file.

    An ``.onnx`` file runs in ``engine``, one of `ENGINES`, a ``.tflite`` file in LiteRT, on ``threads`` CPU threads,
    which sleep instead of spinning while they are idle. Errors call the model ``name``; None takes its path.

    Raises:
        ModelError: the file is missing, empty, larger than `MAX_MODEL_BYTES`, or not a model that the runtime can run.
        ContractError: the model violates the edge contract (see `cifar_edge.spec`).
        MissingExtra: it is a ``.tflite`` file, and LiteRT is not installed.
        CannotRun: engine c finds no C compiler, or it fails.
        ValueError: ``threads`` is less than 1, or there is no such engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"there is no engine {engine!r}; there are {' and '.join(ENGINES)}")
    if threads < 1:
        raise ValueError(f"a model needs at least one thread, not {threads}")
    if isinstance(source, bytes):
        name, content = name or "the given model", source
    else:
        name, content = name or display_name(os.fspath(source)), read_model(source)
    with calling(name, content, "a LiteRT model" if is_tflite(content) else "an ONNX model"):
        session: Any
        if is_tflite(content) and engine == C:
            raise ContractError("engine c runs int8 .onnx files, and this is a LiteRT model")
        if is_tflite(content):
            session, metadata = litert.load(content, threads)
        else:
            file, metadata = checked(content)
            session = _compiled(content, file, metadata, threads) if engine == C else _session(content, threads)
        _try(session, metadata)
    return Model(session, metadata)


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


def _compiled(content: bytes, file: OnnxFile, metadata: ModelMetadata, threads: int) -> Any:
    from cifar_edge.runtime.c_engine import Session  # few need it, and it takes time

    return Session(content, file, metadata, threads)


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
