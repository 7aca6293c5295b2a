"""How to write the int8 graph of a folded network for onnxruntime: integer operators, or float ones between Q and DQ.

    python benchmarks/int8_forms.py

Every form holds the same integers: that of `cifar-edge export`, and what is made of it here. All forms take turns within
one run, batch 1, one thread. Prints a table and writes benchmarks/results/int8_forms.csv. docs/int8.md says what follows.
"""

import csv
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, helper, numpy_helper

from cifar_edge.data import load_dataset
from cifar_edge.export.calibration import activation_scales
from cifar_edge.export.integer import integer_graph
from cifar_edge.files import released
from cifar_edge.runtime.timing import machine, time_alternately
from cifar_edge.spec import INPUT_NAME, OUTPUT_NAME
from cifar_edge.training.checkpoint import load_network

RESULTS = Path(__file__).parent / "results" / "int8_forms.csv"
ROUNDS = 100
CREATIONS = 20

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Result:
    """One form; ``nodes_run`` are those left after onnxruntime's own optimisation.

    ``ties`` are images whose two best logits are equal, of all; ``max_difference`` is of the logits, from the first form.
    """

    form: str
    nodes: int
    nodes_run: str
    file_bytes: int
    session_ms: float
    ties: float
    max_difference: float
    p50_us: float
    ratio: float


class Form:
    """A graph that is rewritten: its nodes one by one, and more constants."""

    def __init__(self, model: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self.source = list(model.graph.node)
        self.values = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        self.nodes: list[NodeProto] = []

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: Array | np.generic) -> str:
        self.values[name] = np.array(value)
        return name

    def finished(self) -> ModelProto:
        graph = self.model.graph
        del graph.node[:], graph.initializer[:]
        graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in self.values.items() if name in used
        )
        return self.model


def uint8_logits(model: ModelProto, low: float, high: float) -> ModelProto:
    """The last layer as a QLinearConv behind the pool, its logits uint8 over ``low`` to ``high``."""
    form = Form(model)
    form.nodes = form.source[:-5]  # without Transpose, Flatten, MatMulInteger, Add, DequantizeLinear
    pool = form.nodes[-1]
    quantization = _logit_quantization(form, low, high)
    weights = form.constant("wh", np.ascontiguousarray(form.values["wh"].T)[:, :, None, None])
    scales = form.constant("whs", form.values["ls"] / form.values["ps"])
    inputs = [pool.output[0], *pool.input[3:5], weights, scales, "iz", *quantization, "bh"]
    x = form.node("QLinearConv", inputs, "c", kernel_shape=[1, 1])
    x = form.node("Flatten", [form.node("Transpose", [x], "ct", perm=[0, 2, 3, 1])], "f")
    form.node("DequantizeLinear", [x, *quantization], OUTPUT_NAME)
    return form.finished()


def float_logits(model: ModelProto) -> ModelProto:
    """The last layer as onnxruntime's own QGemm, which can answer in float by itself."""
    form = Form(model)
    form.nodes = form.source[:-3]
    pool = form.source[-6]
    scales = form.constant("whs", form.values["ls"] / form.values["ps"])
    zeros = form.constant("whz", np.zeros(len(form.values["bh"]), np.int8))
    inputs = [form.nodes[-1].output[0], *pool.input[3:5], "wh", scales, zeros, "bh"]
    form.node("QGemm", inputs, OUTPUT_NAME, domain="com.microsoft")
    return form.finished()


def qdq(model: ModelProto, low: float, high: float) -> ModelProto:
    """Float operators of ONNX, each between DequantizeLinear and QuantizeLinear, which onnxruntime fuses away."""
    form = Form(uint8_logits(model, low, high))
    for node in form.source[:-3]:
        name = node.output[0]
        if node.op_type == "QLinearConv":
            x, x_scale, _, weights, scales, _, scale, zero, bias = node.input
            inputs = [
                x + "_d",
                form.node("DequantizeLinear", [weights, scales], weights + "_d", axis=0),
                _dequantized_bias(form, bias, form.values[scales] * form.values[x_scale]),
            ]
            form.node("Conv", inputs, name + "_f", **_attributes(node))
            _requantized(form, name, [scale, zero])
        elif node.op_type == "QLinearGlobalAveragePool":
            form.node("GlobalAveragePool", [node.input[0] + "_d"], name + "_f")
            _requantized(form, name, list(node.input[3:5]))
        else:
            form.nodes.append(node)
            form.node("DequantizeLinear", [name, "xs", "xz"], name + "_d")
    form.node("Flatten", ["c_d"], OUTPUT_NAME)
    return form.finished()


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _requantized(form: Form, name: str, quantization: list[str]) -> None:
    form.node("QuantizeLinear", [name + "_f", *quantization], name)
    form.node("DequantizeLinear", [name, *quantization], name + "_d")


def _dequantized_bias(form: Form, name: str, scales: Array) -> str:
    return form.node("DequantizeLinear", [name, form.constant(name + "_s", scales)], name + "_d", axis=0)


def _logit_quantization(form: Form, low: float, high: float) -> list[str]:
    scale = np.float32((high - low) / 255)
    return [form.constant("lqs", scale), form.constant("lqz", np.uint8(round(-low / float(scale))))]


def session(content: bytes, optimized: Path | None = None) -> onnxruntime.InferenceSession:
    """A session on one thread; the graph it really runs is left at ``optimized``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # it warns that the optimised graph is for this machine only; it is not kept
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def main() -> None:
    """Measure, print, and write the CSV."""
    trained = load_network(released("models/gn-cnn"))
    assert trained.folded is not None
    dataset = load_dataset("sample")
    images = dataset.test_images
    shipped = integer_graph(trained.folded, activation_scales(trained.folded, dataset.train_images))
    logits = session(shipped.SerializeToString()).run(None, {INPUT_NAME: dataset.train_images})[0]
    low, high = float(logits.min()), float(logits.max())
    models = {
        "integer operators, int32 logits (shipped)": shipped,
        "integer operators, uint8 logits": uint8_logits(shipped, low, high),
        "integer operators, float logits (QGemm)": float_logits(shipped),
        "QDQ": qdq(shipped, low, high),
    }
    contents = {form: model.SerializeToString() for form, model in models.items()}
    created = {form: [] for form in models}
    for _ in range(CREATIONS):
        for form, content in contents.items():
            start = perf_counter()
            session(content)
            created[form].append(perf_counter() - start)
    ...


if __name__ == "__main__":
    main()
