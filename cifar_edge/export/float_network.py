"""A network without norms as the layers that an integer network has, still in float."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from cifar_edge.errors import ExportError
from cifar_edge.folding.layers import Residual
from cifar_edge.integer.layers import Padding

_NOTHING = (nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout2d)
"""Modules that compute nothing in evaluation mode, or, as Flatten, nothing that a Linear does not say itself."""


@dataclass(frozen=True, slots=True, eq=False)
class FloatLayer:
    """A module, the padding before it and the activation behind it.

    Attributes:
        module: in evaluation mode.
        padding: top, left, bottom, right: the module's own, and that of a ``ZeroPad2d`` before it.
        largest: where its output is clipped from above, 6 by ReLU6; infinity by ReLU; None where nothing is clipped.
        layers: of a `Residual`: its layers.
        shortcut: of a `Residual`: its shortcut.
    """

    module: nn.Module
    padding: Padding
    largest: float | None = None
    layers: tuple["FloatLayer", ...] = ()
    shortcut: tuple["FloatLayer", ...] = ()


def float_layers(network: nn.Sequential) -> tuple[FloatLayer, ...]:
    """The layers of ``network``, nested ``Sequential`` modules laid out flat.

    Raises:
        ExportError: a module has a setting that integers do not have, or stands where it cannot.
    """
    layers: list[FloatLayer] = []
    padding: Padding | None = None
    for module in _leaves(network):
        if isinstance(module, nn.ZeroPad2d):
            left, right, top, bottom = module.padding
            padding = (top, left, bottom, right)
        elif isinstance(module, nn.ReLU | nn.ReLU6):
            # The largest of clipped values is the clipped largest: so the layer before a max pool clips for it.
            behind = [place for place, layer in enumerate(layers) if not isinstance(layer.module, nn.MaxPool2d)]
            if not behind or layers[behind[-1]].largest is not None or padding:
                raise ExportError(f"a {type(module).__name__} stands behind a layer in an integer network")
            largest = 6.0 if isinstance(module, nn.ReLU6) else float("inf")
            layers[behind[-1]] = replace(layers[behind[-1]], largest=largest)
        elif not isinstance(module, _NOTHING):
            layers.append(_layer(module, padding or (0, 0, 0, 0)))
            padding = None
    if padding:
        raise ExportError("a ZeroPad2d stands before a convolution or a pool in an integer network")
    return tuple(layers)


def run(layers: Sequence[FloatLayer], x: Tensor, see: Callable[[FloatLayer, Tensor], None]) -> Tensor:
    """The output of ``layers``; ``see`` is given each layer and what it passes on, inner layers first."""
    for layer in layers:
        if isinstance(layer.module, Residual):
            x = run(layer.layers, x, see) + run(layer.shortcut, x, see)
        elif isinstance(layer.module, nn.Linear):
            x = layer.module(x.flatten(1))
        else:
            top, left, bottom, right = layer.padding
            down, across = _padding(layer.module)  # the module pads by as much itself
            x = layer.module(F.pad(x, (left - across, right - across, top - down, bottom - down)))
        x = x if layer.largest is None else x.clamp(0, layer.largest)
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
    down, across = _padding(module)
    top, left, bottom, right = before
    return FloatLayer(module, (top + down, left + across, bottom + down, right + across))


def _check(module: nn.Module, padded: bool) -> None:
    """Refuse what the layers of an integer network have no field for."""
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


def pair(value: Any) -> tuple[int, int]:
    """Down and across, as PyTorch's modules hold it: one number for both, or two."""
    down, across = value if isinstance(value, tuple) else (value, value)
    return down, across
