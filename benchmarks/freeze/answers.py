"""What models say of images, through `cifar_edge.Classifier`, in a process of its own."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from benchmarks.freeze.product import CACHED_DATA, Product

_SCRIPT = Path(__file__).with_name("classify.py")
_PIXELS = 32 * 32 * 3

Answer = tuple[float, ...] | str


def answers(product: Product, model: Path, images: Sequence[tuple[str, Any]] | npt.NDArray[np.uint8]) -> list[Answer]:
    """The logits of each image, or the text of its error.

    Raises:
        RuntimeError: the process failed.
    """
    folder = product.folder("classify")
    (folder / "images").write_bytes(pickle.dumps(images))
    done = product.python(["-P", _SCRIPT, model, "images", "out"], folder)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    found: list[Answer] = pickle.loads((folder / "out").read_bytes())
    return found


def logits(product: Product, model: Path, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The logits of pixels, float32 ``[N, classes]``."""
    return np.array(answers(product, model, images), np.float32)


def test_images(count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The first test images of CIFAR-10, uint8 ``[count, 32, 32, 3]``, and their labels."""
    with np.load(CACHED_DATA.expanduser()) as data:
        return data["x_test"][:count], data["y_test"][:count]


def pixel_model(released: Path) -> bytes:
    """A model that keeps the contract and whose logits are the pixels it was given; metadata as in ``released``."""
    metadata = {entry.key: entry.value for entry in onnx.load(released).metadata_props}
    record = {**json.loads(metadata["cifar_edge"]), "labels": [f"value {index}" for index in range(_PIXELS)]}
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["real"], ["logits"]),
        ],
        "pixels",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 32, 32, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", _PIXELS])],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    helper.set_model_props(model, {"cifar_edge": json.dumps(record)})
    content: bytes = model.SerializeToString()
    return content
