"""How to write the int8 graph of a folded network for onnxruntime: float operators between Q and DQ, or integer ones.

    python -m benchmarks.int8.forms

Every form holds the same integers: the first is that of `cifar-edge export`, the others are made of it here. All forms
take turns within one run, batch 1, one thread. Prints a table and writes benchmarks/int8/forms.csv;
docs/int8.md says what follows.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, helper, numpy_helper

from benchmarks import results_file
from cifar_edge.data import load_dataset
from cifar_edge.export.graphs import TO_NHWC
from cifar_edge.export.integers import quantize
from cifar_edge.export.targets.onnx_graph import integer_graph
from cifar_edge.files import released
from cifar_edge.measure.timing import machine, time_alternately
from cifar_edge.spec import INPUT_NAME, OUTPUT_NAME
from cifar_edge.training.checkpoint import load_network

RESULTS = Path(__file__).with_suffix(".csv")
ROUNDS = 100
SESSIONS = 30
ONNXRUNTIME = "com.microsoft"
"""The domain of operators that onnxruntime alone knows."""
SHIPPED = "QDQ, int32 logits (shipped)"


@dataclass(frozen=True)
class Result:
    """One form.

    Attributes:
        form: its name.
        file_bytes: without metadata.
        nodes: in the file.
        nodes_run: after onnxruntime's own optimisation.
        foreign: operators that are not ONNX's own.
        session_ms: median time to create a session.
        p50_us: median latency of one image.
        ratio: of that, to the first form's.
        ties: images whose two best logits are equal, of all.
    """

    form: str
    file_bytes: int
    nodes: int
    nodes_run: int
    foreign: str
    session_ms: float
    p50_us: float
    ratio: float
    ties: float


class Form:
    """A graph made of the constants, and of some of the nodes, of the one that is shipped."""

    def __init__(self, shipped: ModelProto) -> None:
        self._shipped = shipped
        self.constants = {each.name: numpy_helper.to_array(each) for each in shipped.graph.initializer}
        self.nodes: list[NodeProto] = []

    def constant(self, name: str, value: npt.NDArray[Any] | np.generic) -> str:
        self.constants[name] = np.array(value)
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def model(self) -> ModelProto:
        used = {name for node in self.nodes for name in node.input}
        constants = [numpy_helper.from_array(value, name) for name, value in self.constants.items() if name in used]
        shipped = self._shipped.graph
        graph = helper.make_graph(self.nodes, shipped.name, shipped.input, shipped.output, constants)
        domains = [*self._shipped.opset_import, helper.make_opsetid(ONNXRUNTIME, 1)]
        return helper.make_model(graph, opset_imports=domains, ir_version=self._shipped.ir_version)


def uint8_logits(shipped: ModelProto, low: float, high: float) -> ModelProto:
    """The last layer like all others, as a convolution, its logits uint8 over ``low`` to ``high``."""
    form = Form(shipped)
    pool = next(index for index, node in enumerate(shipped.graph.node) if node.output[0] == "t") - 1
    form.nodes = list(shipped.graph.node[: pool + 1])
    _, pool_scale, zero_point = form.nodes[-1].input
    pooled = form.node("DequantizeLinear", [form.nodes[-1].output[0], pool_scale, zero_point], "pd")
    form.constant("whs", form.constants["ls"] / form.constants[pool_scale])
    form.constant("whc", form.constants["wh"].T[:, :, None, None])
    weights = form.node("DequantizeLinear", ["whc", "whs"], "whd")
    bias = form.node("DequantizeLinear", ["bh", "ls"], "bhd")
    convolved = form.node("Conv", [pooled, weights, bias], "l", kernel_shape=[1, 1])
    scale = np.float32((high - low) / 255)
    quantization = [form.constant("lqs", scale), form.constant("lqz", np.uint8(round(-low / float(scale))))]
    quantized = form.node("QuantizeLinear", [convolved, *quantization], "lq")
    flat = form.node("Flatten", [form.node("Transpose", [quantized], "lt", perm=TO_NHWC)], "lf")
    form.node("DequantizeLinear", [flat, *quantization], OUTPUT_NAME)
    return form.model()


def integer_operators(shipped: ModelProto) -> ModelProto:
    """QLinearConv and onnxruntime's QLinearGlobalAveragePool, which is what the shipped form becomes when it runs."""
    form = Form(shipped)
    form.constant("iz", np.int8(0))
    makers = {node.output[0]: node for node in shipped.graph.node}
    for node in shipped.graph.node:
        if node.op_type == "QuantizeLinear":
            layer = makers[node.input[0]]
            x, output, codes = makers[layer.input[0]].input, node.input[1:], node.output[0]
            if layer.op_type == "Conv":
                kernel, bias = (makers[name].input for name in layer.input[1:])
                attributes = {each.name: helper.get_attribute_value(each) for each in layer.attribute}
                form.node("QLinearConv", [*x, *kernel, "iz", *output, bias[0]], codes, **attributes)
            else:
                form.node("QLinearGlobalAveragePool", [*x, *output], codes, domain=ONNXRUNTIME)
        elif node.op_type not in ("Conv", "GlobalAveragePool", "DequantizeLinear") or node.output[0] == OUTPUT_NAME:
            form.nodes.append(node)
    return form.model()


def float_logits(shipped: ModelProto) -> ModelProto:
    """The same, with onnxruntime's QGemm at the end, which answers in float by itself."""
    form = Form(shipped)
    form.nodes = list(integer_operators(shipped).graph.node[:-3])
    form.constant("iz", np.int8(0))
    pool = next(node for node in shipped.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "c7")
    form.constant("whs", form.constants["ls"] / form.constants[pool.input[1]])
    form.node("QGemm", ["f", *pool.input[1:], "wh", "whs", "iz", "bh"], OUTPUT_NAME, domain=ONNXRUNTIME)
    return form.model()


def session(content: bytes, optimized: Path | None = None) -> onnxruntime.InferenceSession:
    """A session on one thread; the graph it really runs is left at ``optimized``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # it warns that the optimised graph is for this machine only; it is not kept
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def nodes_run(content: bytes) -> int:
    """How many nodes onnxruntime is left with."""
    with tempfile.TemporaryDirectory() as folder:
        session(content, Path(folder, "optimized.onnx"))
        return len(onnx.load(Path(folder, "optimized.onnx")).graph.node)


def creation_seconds(contents: dict[str, bytes]) -> dict[str, float]:
    """Median time to create a session, in turns."""
    seconds: dict[str, list[float]] = {form: [] for form in contents}
    for _ in range(SESSIONS):
        for form, content in contents.items():
            start = perf_counter()
            session(content)
            seconds[form].append(perf_counter() - start)
    return {form: median(times) for form, times in seconds.items()}


def tied(logits: npt.NDArray[np.float32]) -> float:
    """Fraction of images with two equal best logits."""
    best = np.sort(logits, axis=1)
    return float(np.mean(best[:, -1] == best[:, -2]))


def main() -> None:
    """Measure, print, and write the CSV."""
    argparse.ArgumentParser("python -m benchmarks.int8.forms", description=__doc__.partition("\n")[0]).parse_args()
    folded = load_network(released("models/gn-cnn")).folded
    assert folded is not None
    dataset = load_dataset("sample")
    images = np.concatenate([dataset.train_images, dataset.test_images])
    shipped = integer_graph(quantize(folded.layers, dataset.train_images))
    logits = session(shipped.SerializeToString()).run(None, {INPUT_NAME: dataset.train_images})[0]
    models = {
        SHIPPED: shipped,
        "QDQ, uint8 logits": uint8_logits(shipped, float(logits.min()), float(logits.max())),
        "integer operators, int32 logits": integer_operators(shipped),
        "integer operators, float logits": float_logits(shipped),
    }
    contents = {form: model.SerializeToString() for form, model in models.items()}
    sessions = {form: session(content) for form, content in contents.items()}
    created = creation_seconds(contents)
    timings = time_alternately(sessions, images, rounds=ROUNDS)
    results = [
        Result(
            form=form,
            file_bytes=len(contents[form]),
            nodes=len(model.graph.node),
            nodes_run=nodes_run(contents[form]),
            foreign=" ".join(sorted({node.op_type for node in model.graph.node if node.domain})),
            session_ms=round(created[form] * 1e3, 2),
            p50_us=round(timings[form].p50_seconds * 1e6, 1),
            ratio=round(timings[form].p50_seconds / timings[SHIPPED].p50_seconds, 3),
            ties=round(tied(sessions[form].run(None, {INPUT_NAME: images})[0]), 4),
        )
        for form, model in models.items()
    ]
    print(f"{machine()}, onnxruntime {onnxruntime.__version__}, one thread, batch 1, median\n")
    for row in results:
        print(
            f"{row.form:<32} {row.file_bytes:>7,} B {row.nodes:>3} {row.nodes_run:>3} {row.session_ms:>6.2f} ms "
            f"{row.p50_us:>5.1f} us {row.ratio:>6.3f} {row.ties:>6.2%} ties  {row.foreign}"
        )
    results_file.write(RESULTS, Result, results)


if __name__ == "__main__":
    main()
