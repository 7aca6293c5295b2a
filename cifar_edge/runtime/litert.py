"""Loads a ``.tflite`` file of `cifar-edge export` into LiteRT; needs the extra ``litert``."""

import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_edge.errors import ContractError, MissingExtra, ModelError
from cifar_edge.messages import reason
from cifar_edge.model_file.reading import MAX_METADATA
from cifar_edge.spec import IMAGE_CHANNELS, INPUT_NAME, METADATA_KEY, OUTPUT_NAME, SCORES_NAME, ModelMetadata

allocating: Callable[[], AbstractContextManager[None]] = nullcontext
"""The context of each allocation of tensors; `cifar_edge.runtime.quiet` has another, for commands."""


def load(content: bytes, threads: int) -> tuple["Session", ModelMetadata]:
    """Check a ``.tflite`` file and load it.

    Args:
        content: the file.
        threads: threads of a call.

    Raises:
        MissingExtra: LiteRT is not installed.
        ModelError: the file is damaged, or LiteRT cannot run it (`ContractError`: it violates the contract).
    """
    metadata = _checked(content)
    session = Session(content, threads)
    expected = {
        "input": (INPUT_NAME, "uint8", [1, metadata.size, metadata.size, IMAGE_CHANNELS]),
        "output": (OUTPUT_NAME, "float32", [1, len(metadata.labels)]),
    }
    for kind, found in session.ends.items():
        if kind == "output" and found[0] == SCORES_NAME:
            raise ContractError("its output is scores, but this runtime takes logits; export it without --scores")
        if found != expected[kind]:
            raise ContractError(f"its {kind} is {_shown(found)}; the contract requires {_shown(expected[kind])}")
    return session, metadata


class Session:
    """A ``.tflite`` file in LiteRT; `run` is called as that of onnxruntime's ``InferenceSession``.

    Any number of threads may call it; they take turns.

    Args:
        content: the file.
        threads: threads of a call.
        built_in: compute with LiteRT's own kernels instead of XNNPACK's, which are its default.

    Attributes:
        ends: ``input`` and ``output`` -> name, type and shape of that tensor.

    Raises:
        MissingExtra: LiteRT is not installed.
        ModelError: LiteRT cannot run the file.
    """

    def __init__(self, content: bytes, threads: int = 1, built_in: bool = False) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
        except ImportError as error:
            raise missing() from error
        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if built_in else OpResolverType.AUTO
        self._lock = threading.Lock()
        try:
            # One for a single image, and one for batches, which is resized where their size changes.
            self._one, self._many = (
                _Interpreter(
                    Interpreter(model_content=content, num_threads=threads, experimental_op_resolver_type=kernels)
                )
                for _ in range(2)
            )
        except (RuntimeError, ValueError) as error:
            raise ModelError(reason(error)) from error
        self.ends = self._one.ends

    def run(self, outputs: Sequence[str], feed: Mapping[str, npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.float32]]:
        """The output, float32 ``[n, classes]``, for pixels ``[n, S, S, 3]``."""
        images = feed[INPUT_NAME]
        with self._lock:
            return [(self._one if len(images) == 1 else self._many).run(images)]


class _Interpreter:
    """LiteRT's interpreter of a file with one input and one output."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
        self._input, self._output, self._batch = given["index"], answer["index"], 0
        self.ends = {"input": _end(given), "output": _end(answer)}

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if len(images) != self._batch:
            self._interpreter.resize_tensor_input(self._input, images.shape)
            with allocating():
                self._interpreter.allocate_tensors()
            self._batch = len(images)
        self._interpreter.set_tensor(self._input, images)
        self._interpreter.invoke()
        found: npt.NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return found


def missing() -> MissingExtra:
    """The error where LiteRT is not installed."""
    return MissingExtra("a .tflite file needs LiteRT: pip install 'cifar-edge[litert]'")


def _checked(content: bytes) -> ModelMetadata:
    """The metadata of the file, which holds one graph of known operators."""
    try:
        from ai_edge_litert import schema_py_generated as schema

        from cifar_edge.runtime.litert_graph import OPERATORS, check_graph
    except ImportError as error:
        raise missing() from error
    try:
        model = schema.Model.GetRootAs(content)
        graphs = model.SubgraphsLength()
        codes = {model.OperatorCodes(index).BuiltinCode() for index in range(model.OperatorCodesLength())}
        entries = [model.Metadata(index) for index in range(model.MetadataLength())]
        texts = [model.Buffers(entry.Buffer()) for entry in entries if entry.Name() == METADATA_KEY.encode()]
        text = texts[0].DataAsNumpy().tobytes() if texts and texts[0].DataLength() <= MAX_METADATA else b""
    except (struct.error, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ModelError("its tables lead out of the file") from error
    if not text:
        raise ContractError(f"it has no {METADATA_KEY!r} metadata; make the file with `cifar-edge export`")
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    if others := sorted(names.get(code, str(code)) for code in codes if names.get(code) not in OPERATORS):
        raise ContractError(f"it has {others[0]}, which `cifar-edge export` never writes")
    if graphs != 1:
        raise ContractError(f"it has {graphs} graphs; `cifar-edge export` writes one")
    try:
        check_graph(model)
    except (struct.error, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ModelError("its tables lead out of the file") from error
    try:
        return ModelMetadata.from_json(text.decode())
    except UnicodeDecodeError as error:
        raise ContractError("its metadata is not UTF-8") from error


def _end(details: Mapping[str, Any]) -> tuple[str, str, list[int]]:
    return str(details["name"]), np.dtype(details["dtype"]).name, details["shape"].tolist()


def _shown(end: tuple[str, str, list[int]]) -> str:
    name, kind, shape = end
    return f"{name!r} {kind} {shape}"
