"""A network without norms, divided into the layers that an integer network has, but still in float."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn import functional as F

from cifar_edge.errors import ExportError
from cifar_edge.folding.functions import pair
from cifar_edge.folding.layers import Residual, Shift
from cifar_edge.integer import PIXELS, Quantization
from cifar_edge.integer.layers import Padding

_NOTHING = (Shift, nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout2d)
"""Modules that compute nothing in evaluation mode; Flatten is implied by a Linear, Shift by `pixels_of`."""


@dataclass(frozen=True, slots=True, eq=False)
class FloatLayer:
    """A module with the padding before it and the activation after it.

    Attributes:
        module: in evaluation mode.
        padding: top, left, bottom, right: the module's own plus that of a ``ZeroPad2d`` before it.
        largest: upper limit of its output: 6 with ReLU6, infinity with ReLU, None without activation.
        least: lower limit of its output: 0, or another with Hardtanh; of no meaning without activation.
        layers: the layers of a `Residual`.
        shortcut: the shortcut of a `Residual`.
    """

    module: nn.Module
    padding: Padding
    largest: float | None = None
    layers: tuple["FloatLayer", ...] = ()
    shortcut: tuple["FloatLayer", ...] = ()
    least: float = 0.0


def float_layers(network: nn.Sequential) -> tuple[FloatLayer, ...]:
    """The layers of ``network``, with nested ``Sequential`` modules flattened.

    Raises:
        ExportError: a module has a setting that integer layers do not have, or a position where they cannot be.
    """
    layers: list[FloatLayer] = []
    padding: Padding | None = None
    for index, module in enumerate(_leaves(network)):
        if isinstance(module, Shift) and index:
            raise ExportError("a Shift of an integer network is its first module")
        if isinstance(module, nn.ZeroPad2d):
            left, right, top, bottom = module.padding
            padding = (top, left, bottom, right)
        elif isinstance(module, nn.ReLU | nn.Hardtanh):  # ReLU6 is a Hardtanh
            # Clipping commutes with max pooling, so the layer before a max pool can clip for it.
            clippers = [index for index, layer in enumerate(layers) if not isinstance(layer.module, nn.MaxPool2d)]
            if not clippers or layers[clippers[-1]].largest is not None or padding:
                raise ExportError(f"a {type(module).__name__} of an integer network must follow a layer")
            least, largest = (module.min_val, module.max_val) if isinstance(module, nn.Hardtanh) else (0.0, math.inf)
            if not least <= 0 <= largest:
                raise ExportError(f"a Hardtanh of an integer network has 0 in its range, not {least} to {largest}")
            layers[clippers[-1]] = replace(layers[clippers[-1]], least=least, largest=largest)
        elif not isinstance(module, _NOTHING):
            layers.append(_layer(module, padding or (0, 0, 0, 0)))
            padding = None
    if padding:
        raise ExportError("a ZeroPad2d of an integer network must come before a convolution or a pool")
    return tuple(layers)


def pixels_of(network: nn.Sequential) -> Quantization:
    """The quantization of the image that the layers of ``network`` take: its zero point is 128 without a `Shift`."""
    first = network[0] if len(network) else None
    return Quantization(PIXELS.scale, first.pixel) if isinstance(first, Shift) else PIXELS


def run(layers: Sequence[FloatLayer], x: Tensor, see: Callable[[FloatLayer, Tensor], None]) -> Tensor:
    """The output of ``layers``; ``see`` is called with each layer and its output, inner layers first."""
    for layer in layers:
        if isinstance(layer.module, Residual):
            x = run(layer.layers, x, see) + run(layer.shortcut, x, see)
        elif isinstance(layer.module, nn.Linear):
            x = layer.module(x.flatten(1))
        else:
            top, left, bottom, right = layer.padding
            vertical, horizontal = _padding(layer.module)  # the module itself pads this much
            x = layer.module(F.pad(x, (left - horizontal, right - horizontal, top - vertical, bottom - vertical)))
        x = x if layer.largest is None else x.clamp(layer.least, layer.largest)
        see(layer, x)
    return x


def _leaves(network: nn.Module) -> Iterator[nn.Module]:
    for module in network.children():
        if isinstance(module, nn.Sequential):
            yield from _leaves(module)
        else:
            yield module


def _layer(module: nn.Module, before: Padding) -> FloatLayer:
    if isinstance(module, Residual) and not any(before):
        return FloatLayer(module, before, None, float_layers(module.layers), float_layers(module.shortcut))
    if isinstance(module, nn.Linear) and not any(before):
        return FloatLayer(module, before)
    if not isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d):
        raise ExportError(f"a {type(module).__name__} cannot be computed in integers")
    _check(module, padded=any(before))
    vertical, horizontal = _padding(module)
    top, left, bottom, right = before
    return FloatLayer(module, (top + vertical, left + horizontal, bottom + vertical, right + horizontal))


def _check(module: nn.Module, padded: bool) -> None:
    """Refuse settings for which the layers of an integer network have no field."""
    refused = {
        "another dilation than 1": pair(getattr(module, "dilation", 1)) != (1, 1),
        "another padding than by zeros": getattr(module, "padding_mode", "zeros") != "zeros",
        "a padding without a number": isinstance(getattr(module, "padding", 0), str),
        "ceil_mode": getattr(module, "ceil_mode", False),
        "count_include_pad=False": isinstance(module, nn.AvgPool2d)
        and any(_padding(module))
        and not module.count_include_pad,
        "a divisor of its own": getattr(module, "divisor_override", None) is not None,
        "another output_size than 1": pair(getattr(module, "output_size", 1)) != (1, 1),
        "a ZeroPad2d before it": padded and not isinstance(module, nn.Conv2d | nn.AvgPool2d),
    }
    for what, found in refused.items():
        if found:
            raise ExportError(f"a {type(module).__name__} with {what} cannot be computed in integers")


def _padding(module: nn.Module) -> tuple[int, int]:
    found = getattr(module, "padding", 0)
    return (0, 0) if isinstance(found, str) else pair(found)
