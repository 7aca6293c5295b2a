"""Summary of an integer network: multiply-accumulates, and bytes of weights and activations on a device."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifar_edge.columns import PAGE, table, wrapped
from cifar_edge.integer.layers import AveragePool, Conv, Layer, LayerNames, Linear, MaxPool, Residual, Shape
from cifar_edge.spec import IMAGE_CHANNELS

if TYPE_CHECKING:
    from cifar_edge.integer.network import IntegerNetwork

_WORD = 4  # bytes of an int32


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """One layer, for one image.

    Attributes:
        name: kind and running number, such as ``Conv-1``; inside a residual it follows the name of that.
        kernel: height and width of its window, if it has one.
        input: height, width and channels of the input.
        output: height, width and channels of the output.
        parameters: number of weights and biases.
        macs: multiply-accumulates, of convolutions and Linear layers only.
        weight_bytes: int8 weights, int32 biases, and for each channel an int32 multiplier and a shift of one byte.
        activation_bytes: of the rows of the input that are kept at a time, see `summarize`.
    """

    name: str
    kernel: tuple[int, ...] | None
    input: Shape
    output: Shape
    parameters: int
    macs: int
    weight_bytes: int
    activation_bytes: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The layers of an integer network in the order they run, and its totals for one image.

    Attributes:
        layers: a residual comes after the layers inside it.
        parameters: number of weights and biases.
        macs: multiply-accumulates of all convolutions and Linear layers.
        weight_bytes: of all layers.
        activation_bytes: of all layers, and of the int32 logits.
    """

    layers: tuple[LayerSummary, ...]
    parameters: int
    macs: int
    weight_bytes: int
    activation_bytes: int

    def to_table(self, columns: int = PAGE) -> str:
        """The layers and totals for people, 78 columns wide, or for a terminal of fewer."""
        rows: list[tuple[str, ...]] = [("layer", "output", "parameters", "MACs", "weights", "rows")]
        for layer in self.layers:
            numbers = (layer.parameters, layer.macs, layer.weight_bytes, layer.activation_bytes)
            rows.append((layer.name, str(list(layer.output)), *(f"{number:,}" if number else "" for number in numbers)))
        totals = (self.parameters, self.macs, self.weight_bytes, self.activation_bytes)
        rows.append(("total", "", *(f"{number:,}" for number in totals)))
        notes = [
            f"weights      {self.weight_bytes / 1000:.1f} kB, with biases and a multiplier a channel",
            f"activations  {self.activation_bytes / 1000:.1f} kB, if each layer keeps a ring of rows",
        ]
        lines = [*table(rows, "<22 <16 >10 >12 >9 >9", columns), ""]
        return "\n".join([*lines, *(line for note in notes for line in wrapped(note, columns, " " * 13))])


def summarize(network: "IntegerNetwork") -> Summary:
    """The summary of ``network``, computed row by row for one image.

    Nothing is computed twice. A layer keeps as many rows of its input, in a ring buffer, as its kernel is high; so even
    the image is read row by row. A global pool keeps a sum of codes for each channel, a Linear its whole input. The
    layers of a residual read ahead of its shortcut, so the rows in between are kept for the shortcut.
    """
    layers = tuple(_chain(network.layers, (network.size, network.size, IMAGE_CHANNELS), "", LayerNames()))
    logits = _WORD * len(network.head.bias)
    return Summary(
        layers,
        sum(layer.parameters for layer in layers),
        sum(layer.macs for layer in layers),
        sum(layer.weight_bytes for layer in layers),
        sum(layer.activation_bytes for layer in layers) + logits,
    )


def pool_sum_bytes(shape: Shape) -> int:
    """Bytes of a sum of a global pool of codes ``shape`` (height, width, channels): 2 if the largest fits, else 4."""
    return 2 if 255 * shape[0] * shape[1] < 2**16 else 4


def _chain(layers: Sequence[Layer], shape: Shape, within: str, names: LayerNames) -> Iterator[LayerSummary]:
    for layer in layers:
        name = names.name(layer, within)
        if isinstance(layer, Residual):
            yield from _chain(layer.layers, shape, f"{name}.", names)
            yield from _chain(layer.shortcut, shape, f"{name}.", names)
            yield LayerSummary(name, None, shape, layer.output_shape(shape), 0, 0, 0, _shortcut_bytes(layer, shape))
        else:
            yield _single(layer, name, shape)
        shape = layer.output_shape(shape)


def _single(layer: Layer, name: str, shape: Shape) -> LayerSummary:
    output, kernel, row = layer.output_shape(shape), _kernel(layer), shape[1] * shape[2]
    weights = layer.weights if isinstance(layer, Conv | Linear) else None
    kept = row * (min(kernel[0], shape[0]) if kernel else shape[0])
    if isinstance(layer, AveragePool) and kernel is None:
        kept = pool_sum_bytes(shape) * shape[2]
    if weights is None:
        return LayerSummary(name, kernel, shape, output, 0, 0, 0, kept)
    out = len(weights)
    requantized = out * (_WORD + 1) if getattr(layer, "output", None) is not None else 0
    return LayerSummary(
        name,
        kernel,
        shape,
        output,
        parameters=weights.size + out,
        macs=math.prod(output[:2]) * weights.size,
        weight_bytes=weights.size + out * _WORD + requantized,
        activation_bytes=kept,
    )


def _kernel(layer: Layer) -> tuple[int, ...] | None:
    if isinstance(layer, Conv):
        return layer.weights.shape[2:]
    return layer.kernel if isinstance(layer, MaxPool | AveragePool) else None


def _shortcut_bytes(residual: Residual, shape: Shape) -> int:
    """Bytes of the input rows that the shortcut of ``residual`` needs, beyond those that the other branch keeps.

    Both branches read the same rows. Those kept by the first layer of a shortcut are counted there.
    """
    ahead = _last_row(residual.layers) - _last_row(residual.shortcut)
    first = _kernel(residual.layers[0]) if residual.layers else None
    kept = 0 if residual.shortcut or first is None else first[0] - 1
    return max(ahead - kept, 0) * shape[1] * shape[2]


def _last_row(layers: Sequence[Layer], last: int = 0) -> int:
    """The last row of the input that row ``last`` of the output needs."""
    for layer in reversed(layers):
        if isinstance(layer, Residual):
            last = max(_last_row(branch, last) for branch in (layer.layers, layer.shortcut))
        elif isinstance(layer, Conv | MaxPool | AveragePool) and (kernel := _kernel(layer)):
            last = last * layer.stride[0] + kernel[0] - 1 - layer.padding[0]
    return last
