"""The geometry of a folded network as JSON, to be written beside its weights: `describe`, and `build` back from it.

The description is a list with an object for each layer: its ``kind``, which is the name of PyTorch's class, and the
arguments of that class. ``Sequential`` has ``layers`` instead, a list again, and `cifar_edge.folding.layers.Residual`
has ``layers`` and ``shortcut``. The kinds are a closed set: those that an integer network can be made of, and
``Flatten``, ``Identity`` and ``Dropout``, which compute nothing there.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from cifar_edge.folding.forms import LARGEST_CLIP
from cifar_edge.folding.layers import Residual, Shift
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.json_values import brief, count, mapping, number, text
from cifar_edge.models.depthwise import DepthwiseConv2d
from cifar_edge.models.summary import summarize

_MOST_LAYERS = 1_000
_DEEPEST = 8
_WIDEST = 1 << 20
"""Channels or features."""
_LARGEST_WINDOW = 256
"""Height or width of a kernel, a stride or a padding."""
_MOST_VALUES = 1 << 26
"""Of an activation, for one image."""


def _features(value: object) -> int:
    return _positive(value, _WIDEST)


def _positive(value: object, most: int) -> int:
    found = count(value, most)
    if found == 0:
        raise ValueError("a size is 0")
    return found


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{brief(value)} is not true or false")
    return value


def _numbers(length: int, least: int) -> Callable[[object], tuple[int, ...]]:
    def check(value: object) -> tuple[int, ...]:
        if not isinstance(value, list) or len(value) != length:
            raise ValueError(f"{brief(value)} is not a list of {length} numbers")
        return tuple(_positive(each, _LARGEST_WINDOW) if least else count(each, _LARGEST_WINDOW) for each in value)

    return check


def _at_most_zero(value: object) -> float:
    return number(value, -LARGEST_CLIP, 0.0)


def _at_least_zero(value: object) -> float:
    return number(value, 0.0, LARGEST_CLIP)


_PAIR, _PADDING = _numbers(2, least=1), _numbers(2, least=0)
_WINDOW = {"kernel_size": _PAIR, "stride": _PAIR, "padding": _PADDING}

_Arguments = Mapping[str, Callable[[object], Any]]
"""Argument -> what gives its value from JSON, or raises ValueError; the module's attribute has its name."""

_KINDS: Mapping[str, tuple[type[nn.Module], _Arguments]] = {
    "Conv2d": (
        nn.Conv2d,
        {"in_channels": _features, "out_channels": _features, **_WINDOW, "groups": _features, "bias": _flag},
    ),
    "Linear": (nn.Linear, {"in_features": _features, "out_features": _features, "bias": _flag}),
    "MaxPool2d": (nn.MaxPool2d, _WINDOW),
    "AvgPool2d": (nn.AvgPool2d, _WINDOW),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d, {"output_size": _numbers(2, least=1)}),
    "ZeroPad2d": (nn.ZeroPad2d, {"padding": _numbers(4, least=0)}),
    "ReLU": (nn.ReLU, {}),
    "ReLU6": (nn.ReLU6, {}),
    "Hardtanh": (nn.Hardtanh, {"min_val": _at_most_zero, "max_val": _at_least_zero}),
    "Shift": (Shift, {"pixel": lambda value: count(value, 255)}),
    "Flatten": (nn.Flatten, {}),
    "Identity": (nn.Identity, {}),
    "Dropout": (nn.Dropout, {"p": lambda value: number(value, 0.0, 1.0)}),
}
_USUAL: Mapping[str, object] = {
    "dilation": (1, 1),
    "padding_mode": "zeros",
    "ceil_mode": False,
    "return_indices": False,
    "count_include_pad": True,
    "divisor_override": None,
    "inplace": False,
    "start_dim": 1,
    "end_dim": -1,
}
"""Settings that a description has no field for, as all its layers have them."""


def describe(network: nn.Module) -> list[dict[str, Any]]:
    """The description of the layers of a `FoldedNetwork`, or of an ``nn.Sequential``.

    Raises:
        ValueError: a layer is of no kind that a folded network has, or has a setting that is not described.
    """
    layers = network.layers if isinstance(network, FoldedNetwork) else network
    assert isinstance(layers, nn.Sequential)
    return [_describe(module) for module in layers]


def _describe(module: nn.Module) -> dict[str, Any]:
    if isinstance(module, nn.Sequential):
        return {"kind": "Sequential", "layers": describe(module)}
    if isinstance(module, Residual):
        return {"kind": "Residual", "layers": describe(module.layers), "shortcut": describe(module.shortcut)}
    kind = "Conv2d" if type(module) is DepthwiseConv2d else type(module).__name__
    if kind not in _KINDS or not isinstance(module, _KINDS[kind][0]):
        raise ValueError(f"a {type(module).__name__} is no layer of a folded network")
    for name, usual in _USUAL.items():
        found = getattr(module, name, usual)
        if (_pair(found) if isinstance(usual, tuple) else found) != usual:
            raise ValueError(f"a {kind} of a folded network has no other {name} than {usual}")
    found = {name: _argument(module, name) for name in _KINDS[kind][1]}
    _checked(kind, found)  # what is described can be built
    return {"kind": kind, **found}


def _argument(module: nn.Module, name: str) -> Any:
    value = getattr(module, name)
    if name == "bias":
        return value is not None
    if name in {*_WINDOW, "output_size"}:
        value = _pair(value)
    return list(value) if isinstance(value, tuple) else value


def _pair(value: object) -> object:
    return value if isinstance(value, tuple) else (value, value)


def build(description: object) -> nn.Sequential:
    """The layers that a description from outside says, with weights as PyTorch initialises them.

    On the device of ``with torch.device(...)``; on ``meta`` the weights take no memory.

    Raises:
        ValueError: it is no description, or one of layers that are too many, too deep or too large.
    """
    return _build(description, 0, [0])


def _build(description: object, depth: int, built: list[int]) -> nn.Sequential:
    """As `build`; ``built`` holds how many layers there are already."""
    if not isinstance(description, list):
        raise ValueError(f"{brief(description)} is not a list of layers")
    if depth > _DEEPEST:
        raise ValueError(f"layers within layers, more than {_DEEPEST} deep")
    made: list[nn.Module] = []
    for entry in description:
        built[0] += 1
        if built[0] > _MOST_LAYERS:
            raise ValueError(f"more than {_MOST_LAYERS:,} layers")
        fields = dict(mapping(entry))
        kind = text(fields.pop("kind", None), ("Sequential", "Residual", *_KINDS))
        inner = {"Sequential": ["layers"], "Residual": ["layers", "shortcut"]}.get(kind)
        if inner is None:
            made.append(_module(kind, fields))
        else:
            _check_names(kind, fields, inner)
            ways = [_build(fields[name], depth + 1, built) for name in inner]
            made.append(Residual(*ways) if kind == "Residual" else ways[0])
    return nn.Sequential(*made)


def _module(kind: str, fields: Mapping[str, object]) -> nn.Module:
    arguments = _checked(kind, fields)
    depthwise = kind == "Conv2d" and arguments["groups"] == arguments["in_channels"] == arguments["out_channels"] > 1
    return (DepthwiseConv2d if depthwise else _KINDS[kind][0])(**arguments)


def _checked(kind: str, fields: Mapping[str, object]) -> dict[str, Any]:
    """The arguments of a module of that kind.

    Raises:
        ValueError: a field is missing, unknown, or no value of its argument.
    """
    arguments = _KINDS[kind][1]
    _check_names(kind, fields, arguments)
    try:
        return {name: value(fields[name]) for name, value in arguments.items()}
    except ValueError as error:
        raise ValueError(f"in a {kind} {error}") from error


def _check_names(kind: str, found: Mapping[str, object], expected: Any) -> None:
    if set(found) != set(expected):
        raise ValueError(f"a {kind} has {', '.join(expected) or 'no fields'}, not {', '.join(found) or 'none'}")


def folded_network(description: object, classes: int, size: int) -> FoldedNetwork:
    """The network that a description from outside says, on the device ``meta``: shapes, and no weights yet.

    Args:
        description: see `build`.
        classes: that the network is to tell apart.
        size: height and width of its images.

    Raises:
        ValueError: as `build`; or its layers do not fit each other, or that size and that number of classes.
    """
    with torch.device("meta"):
        network = FoldedNetwork(build(description))
    try:
        layers = summarize(network, size).layers
    except (RuntimeError, IndexError) as error:
        raise ValueError("its layers do not fit each other") from error
    if any(math.prod(layer.output) > _MOST_VALUES for layer in layers):
        raise ValueError(f"a layer has more than {_MOST_VALUES:,} outputs for an image")
    if not layers or layers[-1].output != (classes,):
        raise ValueError(f"its output is not one of {classes} classes")
    return network
