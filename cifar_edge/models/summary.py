"""Summary of a network: its layers, and their parameters, multiply-accumulates and memory."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cifar_edge.columns import PAGE, table
from cifar_edge.spec import IMAGE_CHANNELS, IMAGE_SIZE

BYTES_PER_VALUE = 4
"""float32"""
MEGABYTE = 2**20
"""As the reference table counts: its 47,236 parameters of 4 bytes are 0.18 MB."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One call of a leaf module, for one image.

    Attributes:
        name: class and running number, such as ``Conv2d-1``. Every leaf module is counted, even Dropout and ReLU.
        kernel: height and width of the kernel of a convolution, else None.
        input: shape of the input without the batch.
        output: shape of the output without the batch.
        parameters: values in the module's weights and biases.
        macs: multiply-accumulates, of convolutions and linear layers only.
    """

    name: str
    kernel: tuple[int, ...] | None
    input: tuple[int, ...]
    output: tuple[int, ...]
    parameters: int
    macs: int

    @property
    def is_listed(self) -> bool:
        """Whether tables list it: it holds parameters or shrinks its input, unlike ReLU, Dropout and Flatten."""
        return self.parameters > 0 or math.prod(self.output) < math.prod(self.input)


@dataclass(frozen=True, slots=True)
class Summary:
    """A network's layers in the order they run, and the totals for one image.

    Attributes:
        layers: every call of a leaf module. What is computed between modules (an add, a ``torch.relu``) is not listed.
        parameters: of the whole network, each counted once.
        macs: multiply-accumulates of all convolutions and linear layers.
        size: height and width of the image.
    """

    layers: tuple[Layer, ...]
    parameters: int
    macs: int
    size: int = IMAGE_SIZE

    @property
    def input_mb(self) -> float:
        """Megabytes of the float32 input."""
        return _megabytes(IMAGE_CHANNELS * self.size**2)

    @property
    def forward_backward_mb(self) -> float:
        """Megabytes of all layers' outputs, counted twice: once for the values, once for their gradients."""
        return 2 * _megabytes(sum(math.prod(layer.output) for layer in self.layers))

    @property
    def parameters_mb(self) -> float:
        """Megabytes of the float32 parameters."""
        return _megabytes(self.parameters)

    @property
    def total_mb(self) -> float:
        """Megabytes of input, outputs with gradients, and parameters."""
        return self.input_mb + self.forward_backward_mb + self.parameters_mb

    def to_table(self, columns: int = PAGE) -> str:
        """The listed layers and the sizes for people, 60 columns wide, or for a terminal of fewer."""
        rows = [
            (
                layer.name + (" (1x1)" if layer.kernel == (1, 1) else ""),
                str(list(layer.output)),
                f"{layer.parameters:,}" if layer.parameters else "",
                f"{layer.macs:,}" if layer.macs else "",
            )
            for layer in self.layers
            if layer.is_listed
        ]
        head, total = ("layer", "output", "parameters", "MACs"), ("total", "", f"{self.parameters:,}", f"{self.macs:,}")
        lines = [
            *table([head, *rows, total], "<22 <16 >10 >12", columns),
            "",
            f"input             {self.input_mb:.2f} MB",
            f"forward/backward  {self.forward_backward_mb:.2f} MB",
            f"parameters        {self.parameters_mb:.2f} MB",
            f"total             {self.total_mb:.2f} MB",
        ]
        return "\n".join(lines)


def summarize(network: nn.Module, size: int = IMAGE_SIZE) -> Summary:
    """The summary of a network for one image, float32 ``[1, 3, size, size]``.

    A copy of the network computes shapes only. The network itself, its mode and its running statistics do not change.
    """
    shapes_only = copy.deepcopy(network).to("meta").eval()
    layers: list[Layer] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        layers.append(
            Layer(
                name=f"{type(module).__name__}-{len(layers) + 1}",
                kernel=module.kernel_size if isinstance(module, nn.Conv2d) else None,
                input=tuple(inputs[0].shape[1:]),
                output=tuple(output.shape[1:]),
                parameters=count_parameters(module),
                macs=_macs(module, output),
            )
        )

    for module in shapes_only.modules():
        if next(module.children(), None) is None:
            module.register_forward_hook(record)
    with torch.no_grad():
        shapes_only(torch.empty(1, IMAGE_CHANNELS, size, size, device="meta"))
    return Summary(tuple(layers), count_parameters(network), sum(layer.macs for layer in layers), size)


def count_parameters(module: nn.Module) -> int:
    """Number of values in all weights and biases; buffers, such as running statistics, are not counted."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(network: nn.Module, size: int = IMAGE_SIZE) -> int:
    """Multiply-accumulates of the convolutions and linear layers for one image, float32 ``[1, 3, size, size]``."""
    return summarize(network, size).macs


def _macs(module: nn.Module, output: Tensor) -> int:
    """Multiply-accumulates of ``module`` for the ``output`` of one image."""
    if isinstance(module, nn.Conv2d):
        return output.numel() * math.prod(module.weight.shape[1:])
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    return 0


def _megabytes(values: int) -> float:
    return values * BYTES_PER_VALUE / MEGABYTE
