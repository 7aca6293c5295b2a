"""A network in calls of CMSIS-NN: the same layers and weights, with its functions and its rounding.

An average pool of CMSIS-NN keeps the scale of its input, and its logits are int8. So the logits are near those of the
integer network, not equal to them.
"""

import math
import re
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.microcontrollers.processors import HERE, Processor, compiled, counted
from cifar_edge.c.plan import Plan, Step, plan
from cifar_edge.c.tables import array
from cifar_edge.integer import IntegerNetwork
from cifar_edge.integer.quantization import DENOMINATOR

Images = npt.NDArray[np.uint8]
MAIN = HERE / "cmsis_nn.c"
SOURCES = (
    "BasicMathFunctions/arm_elementwise_add_s8.c",
    "ConvolutionFunctions/*s8*.c",
    "FullyConnectedFunctions/arm_fully_connected_s8.c",
    "FullyConnectedFunctions/arm_vector_sum_s8.c",
    "NNSupportFunctions/*s8*.c",
    "NNSupportFunctions/arm_q7_to_q15_with_offset.c",
    "PoolingFunctions/arm_avgpool*_s8.c",
    "PoolingFunctions/arm_max_pool_s8.c",
    "TransposeFunctions/arm_transpose_s8.c",
)
"""What the functions that are called need of the folder ``Source`` of CMSIS-NN."""
_POOLS = {"global_pool": "arm_avgpool_s8", "max_pool": "arm_max_pool_s8"}
_HALF = 2**30  # the multiplier 0.5
_ADD_BITS = 20  # by which TensorFlow Lite shifts the codes of a sum to the left
LOGITS_NEAR = 16
"""How many steps of int8 the logits may be from those of the integer network; an average pool is coarser here."""


def version(tree: Path) -> str:
    """The revision of CMSIS-NN's functions, such as "V.19.1.0".

    Raises:
        ValueError: ``tree`` is not the source tree of CMSIS-NN.
    """
    header = tree / "Include" / "arm_nnfunctions.h"
    found = re.search(r"\$Revision:\s*(\S+)", header.read_text()) if header.is_file() else None
    if found is None:
        raise ValueError(f"{tree} is not the source tree of CMSIS-NN: it has no Include/arm_nnfunctions.h of it")
    return found[1]


def library(processor: Processor, tree: Path, folder: Path) -> Path:
    """The functions of CMSIS-NN in ``tree``, compiled at -O2: an archive in ``folder``."""
    objects = folder / f"cmsis-nn-{processor.name}"
    objects.mkdir()
    sources = sorted(str(path) for pattern in SOURCES for path in (tree / "Source").glob(pattern))
    gcc = [f"{processor.tools}gcc", *processor.options, "-std=gnu99", "-O2", "-ffunction-sections", "-c"]
    subprocess.run([*gcc, "-I", str(tree / "Include"), *sources], check=True, cwd=objects)
    archive = objects.with_suffix(".a")
    names = sorted(str(path) for path in objects.glob("*.o"))
    subprocess.run([f"{processor.tools}ar", "rcs", str(archive), *names], check=True)
    return archive


def instructions(
    processor: Processor, network: IntegerNetwork, images: Images, tree: Path, folder: Path, counter: Path
) -> int:
    """Instructions of one image by CMSIS-NN, whose archive for ``processor`` lies in ``folder``.

    Raises:
        RuntimeError: its logits are not near those of the integer network, or the program did not end as it should.
    """
    expected = network(images) * float(network.logit_scale)
    scale = float(np.abs(expected).max()) / 127
    signed = array("int8_t", "images_of_bytes", (images ^ 0x80).view(np.int8))
    rows = f"{signed}#define images ((const int8_t (*)[{images[0].size}])images_of_bytes)\n"
    (folder / "cmsis_network.h").write_text(rows + write(network, scale))
    more = ["-I", str(tree / "Include"), str(folder / f"cmsis-nn-{processor.name}.a")]
    counts = []
    for number in (1, len(images)):
        program = compiled(processor, folder, [f"-DIMAGES={number}"], MAIN, more)
        printed, count = counted(processor, program, counter)
        logits = np.array([int(each) for each in printed.split()])
        if np.abs(logits - expected[number - 1] / scale).max() > LOGITS_NEAR:
            raise RuntimeError(f"{processor.name}: the logits of CMSIS-NN are {logits * scale}, not near {expected}")
        counts.append(count)
    return (counts[1] - counts[0]) // (len(images) - 1)


def write(network: IntegerNetwork, scale: float) -> str:
    """``network`` in C, with int8 logits of ``scale``: ``prepare()`` once, then ``run(image, logits)`` for each image.

    Raises:
        ValueError: a layer is none of those that the released networks are made of.
    """
    made = plan(network)
    writer = _Writer(made, float(network.logit_scale) / scale)
    for index in range(len(made.steps)):
        writer.add(index)
    return writer.text()


class _Writer:
    """The steps of a plan in C."""

    def __init__(self, made: Plan, logit_factor: float) -> None:
        self._plan = made
        self._logit_factor = logit_factor
        self._given = [each.quantization for each in made.activations]
        self._constants: list[str] = []
        self._prepare: list[str] = []
        self._run: list[str] = []
        self._buffers = _buffers(made)

    def text(self) -> str:
        """All of it."""
        sizes: dict[int, int] = {}
        for activation, buffer in zip(self._plan.activations[1:-1], self._buffers[1:-1], strict=True):
            sizes[buffer] = max(sizes.get(buffer, 0), math.prod(activation.shape))
        buffers = "".join(f"static int8_t buffer_{number}[{size}];\n" for number, size in sizes.items())
        prepare = "".join(f"  if ({each}) return 1;\n" for each in self._prepare)
        run = "".join(f"  if ({each}) return 1;\n" for each in self._run)
        return (
            f"{''.join(self._constants)}{buffers}"
            f"static int prepare(void) {{\n{prepare}  return 0;\n}}\n"
            f"static int run(const int8_t *image, int8_t *logits) {{\n{run}  return 0;\n}}\n"
        )

    def add(self, index: int) -> None:
        """Step ``index``."""
        step = self._plan.steps[index]
        inputs = [f"buffer_{self._buffers[number]}" if number else "image" for number in step.inputs]
        last = index + 1 == len(self._plan.steps)
        out = "logits" if last else f"buffer_{self._buffers[index + 1]}"
        if step.kind in ("conv", "depthwise", "sums"):
            self._weights(index, step)
        if step.kind in ("conv", "depthwise"):
            self._convolution(index, step, inputs[0], out)
        elif step.kind == "sums":
            self._fully_connected(index, step, inputs[0], out)
        elif step.kind in _POOLS:
            self._pool(index, step, inputs[0], out)
        elif step.kind == "add":
            self._sum(index, step, inputs, out)
        else:
            raise ValueError(f"{step.name} has no form in CMSIS-NN here")

    def _weights(self, index: int, step: Step) -> None:
        """Weights and biases, these in units of the scale that the input has here."""
        assert step.weights is not None
        assert step.bias is not None
        order = (1, 2, 3, 0) if step.kind == "depthwise" else (0, 2, 3, 1)
        bias = np.rint(step.bias / self._ratio(step)).astype(np.int32)
        self._constants.append(array("int8_t", f"weights_{index}", step.weights.transpose(order)))
        self._constants.append(array("int32_t", f"bias_{index}", bias))

    def _convolution(self, index: int, step: Step, given: str, out: str) -> None:
        assert step.factors is not None
        assert step.output is not None
        shape, depthwise = self._plan.activations[step.inputs[0]].shape, step.kind == "depthwise"
        function = f"arm_{'depthwise_conv' if depthwise else 'convolve'}_wrapper_s8"
        kind, multiple = ("dw_conv", "1, ") if depthwise else ("conv", "")
        offsets = f"{128 - self._given[step.inputs[0]].zero_point}, {step.output.zero_point - 128}"
        tiles = f"{_tile(step.stride)}, {_tile(step.padding[:2])}, {{1, 1}}, {{-128, {step.output.largest - 128}}}"
        pairs = np.array([_multiplier(factor * self._ratio(step)) for factor in step.factors.tolist()])
        self._constants.append(array("int32_t", f"multipliers_{index}", pairs[:, 0]))
        self._constants.append(array("int32_t", f"shifts_{index}", pairs[:, 1]))
        quant = f"(int32_t *)multipliers_{index}, (int32_t *)shifts_{index}"
        self._constant(index, "cmsis_nn_per_channel_quant_params", "quant", quant)
        self._constant(index, f"cmsis_nn_{kind}_params", "params", f"{offsets}, {multiple}{tiles}")
        filters = 1 if depthwise else step.shape[2], *step.kernel, shape[2]
        self._dims(index, given=(1, *shape), filter=filters, channels=(1, 1, 1, step.shape[2]), made=(1, *step.shape))
        dims = f"&given_{index}, &filter_{index}, &made_{index}"
        self._prepare.append(f"{function}_get_buffer_size(&params_{index}, {dims}) > (int32_t)sizeof scratch_bytes")
        self._run.append(
            f"{function}(&scratch, &params_{index}, &quant_{index}, &given_{index}, {given}, &filter_{index}, "
            f"weights_{index}, &channels_{index}, bias_{index}, &made_{index}, {out})"
        )

    def _fully_connected(self, index: int, step: Step, given: str, out: str) -> None:
        length, outputs = math.prod(self._plan.activations[step.inputs[0]].shape), step.shape[2]
        offset = 128 - self._given[step.inputs[0]].zero_point
        multiplier, shift = _multiplier(self._logit_factor * self._ratio(step))
        self._constant(index, "cmsis_nn_fc_params", "params", f"{offset}, 0, 0, {{-128, 127}}")
        self._constant(index, "cmsis_nn_per_tensor_quant_params", "quant", f"{multiplier}, {shift}")
        self._dims(index, given=(1, 1, 1, length), filter=(length, 1, 1, outputs), made=(1, 1, 1, outputs))
        self._constants.append(f"static int32_t kernel_sums[{outputs}];\n")
        self._constants.append("static const cmsis_nn_context sums = {kernel_sums, sizeof kernel_sums};\n")
        about = f"{length}, {outputs}, weights_{index}, {offset}, 0, bias_{index}"
        self._prepare.append(f"arm_vector_sum_s8(kernel_sums, {about})")
        self._run.append(
            f"arm_fully_connected_s8(&sums, &params_{index}, &quant_{index}, &given_{index}, {given}, &filter_{index}, "
            f"weights_{index}, &made_{index}, bias_{index}, &made_{index}, {out})"
        )

    def _pool(self, index: int, step: Step, given: str, out: str) -> None:
        """A pool, which keeps the quantization of its input."""
        shape = self._plan.activations[step.inputs[0]].shape
        kernel = shape[:2] if step.kind == "global_pool" else step.kernel
        self._given[index + 1] = self._given[step.inputs[0]]
        tiles = f"{_tile(step.stride)}, {_tile(step.padding[:2])}"
        self._constant(index, "cmsis_nn_pool_params", "params", f"{tiles}, {{-128, 127}}")
        self._dims(index, given=(1, *shape), filter=(1, *kernel, 1), made=(1, *step.shape))
        self._run.append(
            f"{_POOLS[step.kind]}(&scratch, &params_{index}, &given_{index}, {given}, &filter_{index}, "
            f"&made_{index}, {out})"
        )

    def _sum(self, index: int, step: Step, inputs: list[str], out: str) -> None:
        """The sum of two branches, by the multipliers that TensorFlow Lite gives it."""
        assert step.output is not None
        halves = [(_HALF, 0), _multiplier(0.5 * step.numerator / DENOMINATOR)]
        one, other = (
            f"{128 - self._given[number].zero_point}, {multiplier}, {shift}"
            for number, (multiplier, shift) in zip(step.inputs, halves, strict=True)
        )
        made = f"{step.output.zero_point - 128}, {_HALF}, {2 - _ADD_BITS}, -128, {step.output.largest - 128}"
        self._run.append(
            f"arm_elementwise_add_s8({inputs[0]}, {inputs[1]}, {one}, {other}, {_ADD_BITS}, {out}, {made}, "
            f"{math.prod(step.shape)})"
        )

    def _ratio(self, step: Step) -> float:
        """The scale of the input of ``step`` here, divided by that in the integer network."""
        number = step.inputs[0]
        return float(self._given[number].scale) / float(self._plan.activations[number].quantization.scale)

    def _constant(self, index: int, kind: str, name: str, value: str) -> None:
        self._constants.append(f"static const {kind} {name}_{index} = {{{value}}};\n")

    def _dims(self, index: int, **dims: tuple[int, ...]) -> None:
        for name, each in dims.items():
            self._constant(index, "cmsis_nn_dims", name, ", ".join(map(str, each)))


def _buffers(made: Plan) -> list[int]:
    """The buffer of each activation: the first one that no activation that is still read lies in."""
    found = [-1]
    for number in range(1, len(made.activations)):
        taken = {found[other] for other in range(number) if made.last_reader(other) >= number - 1}
        found.append(next(buffer for buffer in range(len(made.activations)) if buffer not in taken))
    return found


def _tile(pair: tuple[int, ...]) -> str:
    """Vertical and horizontal, as CMSIS-NN wants them: width, height."""
    return f"{{{pair[1]}, {pair[0]}}}"


def _multiplier(factor: float) -> tuple[int, int]:
    """``factor`` as a multiplier of 31 bits and a shift to the left, as TensorFlow Lite makes them."""
    significand, shift = math.frexp(factor)
    multiplier = round(significand * 2**31)
    return (multiplier // 2, shift + 1) if multiplier == 2**31 else (multiplier, shift)
