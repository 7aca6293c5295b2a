"""Runs an exported int8 file as C, compiled here; see `cifar_edge.c.library`."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cifar_edge.c.library import Library, library
from cifar_edge.c.options import COptions
from cifar_edge.errors import ContractError
from cifar_edge.integer.from_onnx import network_of
from cifar_edge.model_file.onnx_file import OnnxFile
from cifar_edge.spec import INPUT_NAME, ModelMetadata


class Session:
    """A network in C; `run` is called as that of onnxruntime's ``InferenceSession``.

    Args:
        content: an exported int8 file.
        file: the same, read.
        metadata: its own.
        threads: threads of a call, among which its images are divided.
        options: which kernels there are to choose from.

    Attributes:
        library: what computes.

    Raises:
        CannotRun: there is no C compiler, it fails, or the network cannot be written in C.
        ContractError: the file has no integer network.
    """

    def __init__(
        self,
        content: bytes,
        file: OnnxFile,
        metadata: ModelMetadata,
        threads: int = 1,
        options: COptions | None = None,
    ) -> None:
        if metadata.precision != "int8":
            raise ContractError(f"engine c runs int8 files, and this one is {metadata.precision}")
        network = network_of(file)
        self.library: Library = library(content, network, metadata, options or COptions())
        self._threads, self._scale = threads, network.logit_scale

    def run(self, outputs: Sequence[str], feed: Mapping[str, npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.float32]]:
        """The output, float32 ``[n, classes]``, for pixels ``[n, S, S, 3]``."""
        return [self.library.logits_by(self._threads, feed[INPUT_NAME]).astype(np.float32) * self._scale]
