"""Our counts beside those of CMSIS-NN: lines of cmsis_nn.csv, their table, and a depthwise layer alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cifar_edge.integer import PIXELS, AveragePool, Conv, IntegerNetwork, Linear, Quantization, exact_scales

RESULTS = Path(__file__).with_name("cmsis_nn.csv")
DEPTHWISE_LAYERS = (1, 3)
"""Of two networks that differ in depthwise layers alone."""
DEPTHWISE = "a depthwise layer"
_CHANNELS = 64


@dataclass(frozen=True)
class Line:
    """A network, or a layer, on a processor: instructions of one image.

    Attributes:
        kernels: of this project, those that the compiler's options choose.
        instructions: of this project.
        cmsis_nn: of CMSIS-NN.
        macs: multiply-accumulates of one image.
        compiler: version of gcc.
        revision: of CMSIS-NN's functions.
    """

    model: str
    processor: str
    kernels: str
    instructions: int
    cmsis_nn: int
    macs: int
    compiler: str
    revision: str


def depthwise_network(layers: int) -> IntegerNetwork:
    """A network with so many depthwise convolutions of 3 x 3 on 8 x 8 pixels of 64 channels, with drawn weights.

    As in exported networks, all factors are exact in fixed point.
    """
    draw = np.random.default_rng(0)
    output = Quantization(np.float32(1 / 32))

    def conv(given: Quantization, inputs: int, kernel: int, stride: int, padding: int, groups: int) -> Conv:
        weights = draw.integers(-127, 128, (_CHANNELS, inputs // groups, kernel, kernel), np.int8)
        scales = np.full(_CHANNELS, 0.3 / (127 * np.sqrt(weights[0].size)), np.float32)
        scales = exact_scales(scales, lambda each: given.scale * each / output.scale, output)
        bias = draw.integers(0, 4000, _CHANNELS, np.int32)
        return Conv(weights, scales, bias, (stride, stride), (padding,) * 4, groups, output)

    depthwise = (conv(output, _CHANNELS, 3, 1, 1, _CHANNELS) for _ in range(layers))
    head = Linear(draw.integers(-127, 128, (10, _CHANNELS), np.int8), None, np.zeros(10, np.int32), None)
    return IntegerNetwork(32, (conv(PIXELS, 3, 4, 4, 0, 1), *depthwise, AveragePool(output), head), np.float32(1e-4))


def with_one_layer(counts: Mapping[str, Line]) -> list[Line]:
    """The lines of models, and one of a depthwise layer, from those of the two `depthwise_network`."""
    few, many = (counts[f"depthwise-{layers}"] for layers in DEPTHWISE_LAYERS)
    layers = DEPTHWISE_LAYERS[1] - DEPTHWISE_LAYERS[0]
    one = replace(
        many,
        model=DEPTHWISE,
        instructions=(many.instructions - few.instructions) // layers,
        cmsis_nn=(many.cmsis_nn - few.cmsis_nn) // layers,
        macs=(many.macs - few.macs) // layers,
    )
    return [*(line for line in counts.values() if line not in (few, many)), one]


def table(lines: Sequence[Line]) -> str:
    """Instructions in Markdown, a row for each processor; a cell has ours, those of CMSIS-NN, and their ratio."""
    models = list(dict.fromkeys(line.model for line in lines))
    text = ["| instructions a multiply-accumulate: here / CMSIS-NN = ratio | kernels | " + " | ".join(models) + " |"]
    text.append("|---|---|" + "--:|" * len(models))
    for processor in dict.fromkeys(line.processor for line in lines):
        row = [line for line in lines if line.processor == processor]
        text.append(f"| {processor} | {row[0].kernels} | {' | '.join(map(_cell, row))} |")
    return "\n".join(text)


def _cell(line: Line) -> str:
    here, there = line.instructions / line.macs, line.cmsis_nn / line.macs
    return f"{here:#.3g} / {there:#.3g} = {line.instructions / line.cmsis_nn:.2f}"
