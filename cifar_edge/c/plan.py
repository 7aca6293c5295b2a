"""The plan of a network in C: its layers as steps that make one row at a time, and the places of these rows in memory.

A step is ready as soon as the rows of its input that it needs have been made. The last step that is ready runs first,
so few rows wait at any time. The schedule runs here once, without numbers: it says when each row is made and last read,
and rows that are not needed at the same time share their places.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from cifar_edge.c.memory import Buffer, place
from cifar_edge.integer import (
    AveragePool,
    Conv,
    FixedPoint,
    IntegerNetwork,
    Layer,
    Linear,
    MaxPool,
    Quantization,
    Residual,
    Shape,
    fixed_point,
)
from cifar_edge.integer.fixed_point import HIGH_WORD
from cifar_edge.integer.layers import LayerNames, Padding, Pair
from cifar_edge.integer.quantization import DENOMINATOR, Factors
from cifar_edge.integer.summary import pool_sum_bytes
from cifar_edge.spec import IMAGE_CHANNELS

Kind = Literal["conv", "depthwise", "grouped", "sums", "max_pool", "average_pool", "global_pool", "add"]
CONVOLUTIONS = ("conv", "depthwise", "grouped", "sums")
DEPTHWISE_LARGEST = 8
"""Rows and columns of the largest window of a step of kind ``depthwise``."""
_NEVER = 10**9
LARGEST_WINDOW = 2304
"""Codes of the largest window of a step of kind ``conv``: kernels copy some of them to the stack."""
ALIGNMENT = 4
SLACK = 32
"""Bytes behind the last row: kernels read up to 32 codes at a time, and ignore those that are not theirs."""


@dataclass(slots=True)
class Activation:
    """An activation, of which no more rows are in memory than are needed.

    Attributes:
        shape: height, width and channels.
        quantization: of its codes.
        left: columns of padding before each row, for the convolution that needs most.
        right: columns of padding behind each row.
        rows: byte of the first code of each row in the memory of the network, a multiple of `ALIGNMENT`.
    """

    shape: Shape
    quantization: Quantization
    left: int = 0
    right: int = 0
    rows: list[int] = field(default_factory=list)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[2]

    @property
    def row_bytes(self) -> int:
        """Codes of a row."""
        return self.shape[1] * self.channels

    @property
    def words_before(self) -> int:
        """Words of padding before a row."""
        return -(-self.left * self.channels // ALIGNMENT)

    @property
    def padding_words(self) -> range:
        """Words of padding behind a row, counted from its first code. The first one may begin with codes."""
        end = -(-(self.row_bytes + self.right * self.channels) // ALIGNMENT)
        return range(self.row_bytes // ALIGNMENT if self.right else end, end)

    def buffer(self, first: int, last: int) -> Buffer:
        """A row that is made at the time ``first`` and last read at ``last``."""
        size = -(-self.row_bytes // ALIGNMENT) * ALIGNMENT
        behind = self.padding_words.stop * ALIGNMENT - size
        return Buffer(first, last, self.words_before * ALIGNMENT, size, behind, self.quantization.zero_point)


@dataclass(frozen=True, slots=True)
class Step:
    """What makes the rows of one activation: a layer, or the sum at the end of a residual.

    Attributes:
        name: of the layer, as `IntegerNetwork.summary` calls it.
        kind: what it computes.
        inputs: numbers of the activations that it reads: two for a sum of branches, else one.
        shape: height, width and channels of what it makes.
        kernel: height and width of its window.
        stride: vertical, horizontal.
        padding: top, left, bottom, right.
        groups: of a convolution.
        weights: int8 ``[out, in / groups, kernel height, kernel width]``, if it has any.
        bias: int32 ``[out]``, without the share of the input's zero point.
        factors: float32, from sums to codes, if sums become codes: ``[out]``, or ``[1]`` for a pool.
        fixed: ``factors`` in fixed point, with the same codes for every sum.
        is_float32: a factor has no such form, and ``fixed`` holds the significands and exponents of float32.
        output: the quantization of its codes; None for the logits.
        numerator: of a sum, `Residual.numerator`.
    """

    name: str
    kind: Kind
    inputs: tuple[int, ...]
    shape: Shape
    output: Quantization | None
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    weights: npt.NDArray[np.int8] | None = None
    bias: npt.NDArray[np.int32] | None = None
    factors: Factors | None = None
    fixed: FixedPoint | None = None
    is_float32: bool = False
    numerator: int = DENOMINATOR

    @property
    def has_shifts(self) -> bool:
        """Whether a factor has another shift than `HIGH_WORD`, so that the shifts are written too."""
        return self.fixed is not None and (self.is_float32 or bool((self.fixed.shift != HIGH_WORD).any()))


@dataclass(slots=True)
class Plan:
    """The steps of a network, and its activations: number 0 is the image, number i + 1 is made by step i.

    Attributes:
        steps: in the order of the data.
        activations: one more than steps; the last one is the logits, which are not kept.
        sums: number of the first sum of a global pool, by the number of its step. Behind its sums is the number of rows
            that were added.
        sum_bytes: of a sum.
        sum_count: of all pools, with their numbers of rows.
        padding: byte of a row of padding for a step, by its number, where padding is not the code 0.
        memory: bytes of memory in all.
    """

    steps: list[Step] = field(default_factory=list)
    activations: list[Activation] = field(default_factory=list)
    sums: dict[int, int] = field(default_factory=dict)
    sum_bytes: int = 2
    sum_count: int = 0
    padding: dict[int, int] = field(default_factory=dict)
    memory: int = 0

    def padding_bytes(self, index: int) -> int:
        """Bytes of the row of padding of a step."""
        step = self.steps[index]
        given = self.activations[step.inputs[0]]
        return (step.padding[1] + given.shape[1] + given.right) * given.channels

    def last_reader(self, number: int) -> int:
        """The last step that reads an activation; for the logits, the step that makes them."""
        return max((i for i, step in enumerate(self.steps) if number in step.inputs), default=len(self.steps) - 1)


def plan(network: IntegerNetwork) -> Plan:
    """The plan of ``network``.

    Raises:
        TypeError: a layer has no form in C.
    """
    made = Plan()
    made.activations.append(Activation((network.size, network.size, IMAGE_CHANNELS), network.pixels))
    lowering = _Lowering(made)
    lowering.head(network.head, lowering.chain(network.layers[:-1], 0, ""))
    for number, activation in enumerate(made.activations[:-1]):
        _pad(made, number, activation)
    _place(made)
    return made


class _Lowering:
    """From layers to steps."""

    def __init__(self, made: Plan) -> None:
        self._plan = made
        self._names = LayerNames()

    def chain(self, layers: Sequence[Layer], number: int, within: str) -> int:
        """The number of the output of ``layers`` for the input ``number``."""
        for layer in layers:
            number = self.layer(layer, number, within)
        return number

    def head(self, head: Linear, number: int) -> None:
        """The last layer, whose sums are the logits."""
        given = self._plan.activations[number]
        weights = head.as_kernel(given.shape)
        shape = 1, 1, len(head.bias)
        kernel = given.shape[0], given.shape[1]
        step = Step(self._names.name(head), "sums", (number,), shape, None, kernel, weights=weights, bias=head.bias)
        self._add(step, given.quantization)

    def layer(self, layer: Layer, number: int, within: str) -> int:
        """The number of the output of ``layer`` for the input ``number``."""
        given = self._plan.activations[number]
        name, shape = self._names.name(layer, within), layer.output_shape(given.shape)
        if isinstance(layer, Residual):
            branches = [self.chain(branch, number, f"{name}.") for branch in (layer.layers, layer.shortcut)]
            end, shortcut = (self._plan.activations[branch].quantization for branch in branches)
            numerator = layer.numerator(end, shortcut)
            step = Step(name, "add", tuple(branches), shape, layer.output, numerator=numerator)
            return self._add(step, layer.output)
        if isinstance(layer, Conv):
            channels, groups = given.channels, layer.groups
            depthwise = groups == channels == len(layer.bias) and max(layer.weights.shape[2:]) <= DEPTHWISE_LARGEST
            kind: Kind = "depthwise" if depthwise else "grouped"
            if groups == 1 and layer.weights[0].size <= LARGEST_WINDOW:
                kind = "conv"
            window = (layer.weights.shape[2], layer.weights.shape[3]), layer.stride, layer.padding
            factors = layer.factors(given.quantization)
            step = Step(name, kind, (number,), shape, layer.output, *window, groups, layer.weights, layer.bias, factors)
            return self._add(step, layer.output)
        if isinstance(layer, Linear):
            _, output = layer.requantization()
            factors = layer.factors(given.quantization)
            weights, kernel = layer.as_kernel(given.shape), (given.shape[0], given.shape[1])
            kind = "conv" if weights[0].size <= LARGEST_WINDOW else "grouped"
            step = Step(name, kind, (number,), shape, output, kernel, weights=weights, bias=layer.bias, factors=factors)
            return self._add(step, output)
        if isinstance(layer, MaxPool):
            output = given.quantization
            step = Step(name, "max_pool", (number,), shape, output, layer.kernel, layer.stride, layer.padding)
            return self._add(step, output)
        if isinstance(layer, AveragePool):
            factors = layer.factors(given.quantization, given.shape[:2])
            if layer.kernel is None:
                step = Step(name, "global_pool", (number,), shape, layer.output, factors=factors)
                return self._add(step, layer.output)
            window = layer.kernel, layer.stride, layer.padding
            step = Step(name, "average_pool", (number,), shape, layer.output, *window, factors=factors)
            return self._add(step, layer.output)
        raise TypeError(f"a {type(layer).__name__} has no form in C")

    def _add(self, step: Step, quantization: Quantization) -> int:
        self._plan.steps.append(_in_fixed_point(step))
        self._plan.activations.append(Activation(step.shape, quantization))
        return len(self._plan.steps)


def _in_fixed_point(step: Step) -> Step:
    """``step`` with its factors in fixed point where that is exact, else as significands and exponents of float32.

    Raises:
        TypeError: a factor has no form in C.
    """
    if step.factors is None:
        return step
    assert step.output is not None
    try:
        return replace(step, fixed=fixed_point(step.factors, step.output))
    except ValueError:
        significands, exponents = np.frexp(step.factors.astype(np.float64))
    shifts = 24 - exponents
    if (shifts < 0).any() or (shifts > 255).any():
        raise TypeError(f"{step.name} has a factor that is not between 2^-200 and 2^24")
    multipliers = np.ldexp(significands, 24).astype(np.int32)
    return replace(step, fixed=FixedPoint(multipliers, shifts.astype(np.uint8)), is_float32=True)


def _pad(made: Plan, number: int, activation: Activation) -> None:
    """Give ``activation`` the columns of padding that the convolutions of it need."""
    for step in made.steps:
        if number in step.inputs and step.kind in CONVOLUTIONS:
            width = (step.shape[1] - 1) * step.stride[1] + step.kernel[1] - step.padding[1]
            activation.left = max(activation.left, step.padding[1])
            activation.right = max(activation.right, width - activation.shape[1])


def _lives(made: Plan) -> dict[tuple[int, int], list[int]]:
    """When each row is made and last read: (activation, row) -> [time, time].

    Runs the schedule without numbers, as ``templates/network.c`` does.
    """
    layers, head = made.steps[:-1], made.steps[-1]
    done = [0] * len(made.activations)
    needed = [_rows_needed(made, step, 0) for step in layers]
    lives: dict[tuple[int, int], list[int]] = {}
    time = 0
    for row in range(made.activations[0].shape[0]):
        lives[0, row] = [time, time]
        done[0] = row + 1
        time += 1
        index = len(layers) - 1
        while index >= 0:
            step = layers[index]
            if any(done[number] < needed[index] for number in step.inputs):
                index -= 1
                continue
            pooled = step.kind == "global_pool"
            rows_read = [needed[index] - 1] if pooled else window_rows(made, step, done[index + 1])
            for row_read in product(step.inputs, rows_read):
                lives[row_read][1] = time
            if pooled and needed[index] < made.activations[step.inputs[0]].shape[0]:
                needed[index] += 1
            else:
                lives[index + 1, done[index + 1]] = [time, time]
                done[index + 1] += 1
                needed[index] = _rows_needed(made, step, done[index + 1])
            time += 1
            index = min(made.last_reader(index + 1), len(layers) - 1)
    for read in window_rows(made, head, 0):
        lives[head.inputs[0], read][1] = time
    return lives


def window_rows(made: Plan, step: Step, row: int) -> range:
    """The rows of its inputs that ``row`` of a step is made of."""
    first = row * step.stride[0] - step.padding[0]
    return range(max(first, 0), min(first + step.kernel[0], made.activations[step.inputs[0]].shape[0]))


def _rows_needed(made: Plan, step: Step, row: int) -> int:
    """How many rows of its input ``row`` of a step needs; a global pool takes them one by one."""
    if row >= step.shape[0]:
        return _NEVER
    last = row * step.stride[0] + step.kernel[0] - 1 - step.padding[0]
    return max(0, min(last + 1, made.activations[step.inputs[0]].shape[0]))


def _place(made: Plan) -> None:
    """Give rows and rows of padding their places in the memory, and sums theirs behind it."""
    lives = _lives(made)
    places, end = place([made.activations[number].buffer(*times) for (number, _), times in lives.items()])
    for number, activation in enumerate(made.activations[:-1]):
        rows = {row: at for (of, row), at in zip(lives, places, strict=True) if of == number}
        activation.rows = [rows.get(row, 0) for row in range(activation.shape[0])]
    made.memory = end
    for index, step in enumerate(made.steps):
        given = made.activations[step.inputs[0]]
        if step.kind in CONVOLUTIONS and given.quantization.zero_point and any(step.padding[::2]):
            made.padding[index] = made.memory
            made.memory += -(-made.padding_bytes(index) // ALIGNMENT) * ALIGNMENT
        if step.kind == "global_pool":
            made.sums[index] = made.sum_count
            made.sum_count += step.shape[2] + 1
            made.sum_bytes = max(made.sum_bytes, pool_sum_bytes(given.shape))
    made.memory += SLACK
