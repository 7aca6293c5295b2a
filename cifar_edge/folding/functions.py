"""PyTorch's functions and methods, as the modules that do the same: `module_of`."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from cifar_edge.folding.refused import Refused

Build = Callable[[dict[str, Any]], nn.Module]
"""From arguments by name to a module."""


def pair(value: Any) -> tuple[int, int]:
    """One number or two, as (vertical, horizontal)."""
    first, second = value if isinstance(value, tuple | list) else (value, value)
    return first, second


def as_linear(convolution: nn.Conv2d) -> nn.Linear:
    """A convolution whose output is one pixel, as the layer that does the same with the flattened input."""
    inputs = convolution.weight[0].numel()
    linear = nn.Linear(inputs, convolution.out_channels, bias=convolution.bias is not None)
    linear.load_state_dict({**convolution.state_dict(), "weight": convolution.weight.flatten(1)})
    return linear


def filled(module: nn.Module, tensors: Mapping[str, Any]) -> nn.Module:
    """``module`` with ``tensors`` in place of those that PyTorch initialised."""
    for name, tensor in module.state_dict().items():
        if name in tensors:
            tensor.copy_(tensors[name])
    return module


def module_of(target: object, arguments: Sequence[Any], settings: Mapping[str, Any]) -> nn.Module:
    """The module that does what a module, a function or a method does; see `forms`.

    Args:
        target: the module or function, or the name of the method.
        arguments: of the call, without the tensor.
        settings: its arguments by name.

    Raises:
        Refused: nothing here does the same.
    """
    if isinstance(target, nn.Module):
        return target
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    for targets, names, build in _FUNCTIONS:
        if any(each is target or each == name for each in targets):
            bound = {**dict(zip(names.split(), arguments, strict=False)), **settings}
            return build({name: value for name, value in bound.items() if value is not None})
    raise Refused.of(target)


def _make(kind: Callable[..., nn.Module], kept: str) -> Build:
    """A module made of those arguments that are named in ``kept``."""
    return lambda bound: kind(**{name: bound[name] for name in kept.split() if name in bound})


def _clamp(bound: dict[str, Any]) -> nn.Module:
    low, high = bound.get("min", -math.inf), bound.get("max", math.inf)
    if not (isinstance(low, int | float) and isinstance(high, int | float) and low < high):
        raise Refused("a clamp to limits that are no numbers, or in no order", "clamp to two numbers")
    return nn.Hardtanh(low, high)


def _mean(bound: dict[str, Any]) -> nn.Module:
    dim = bound.get("dim", bound.get("axis", ()))
    dims = {each - 4 if each > 0 else each for each in (dim if isinstance(dim, list | tuple) else [dim])}
    sizes: dict[frozenset[int], Any] = {
        frozenset({-1, -2}): (1, 1),
        frozenset({-1}): (None, 1),
        frozenset({-2}): (1, None),
    }
    if frozenset(dims) not in sizes:
        raise Refused("a mean over other dimensions than height and width", "write nn.AdaptiveAvgPool2d(1)")
    return nn.AdaptiveAvgPool2d(sizes[frozenset(dims)])


def _amax(bound: dict[str, Any]) -> nn.Module:
    dim = bound.get("dim", ())
    if sorted(each % 4 for each in (dim if isinstance(dim, list | tuple) else [dim])) != [2, 3]:
        raise Refused("a maximum over other dimensions than height and width", "write nn.AdaptiveMaxPool2d(1)")
    return nn.AdaptiveMaxPool2d(1)


def _pad(bound: dict[str, Any]) -> nn.Module:
    pad = tuple(bound["pad"])
    if bound.get("mode", "constant") != "constant" or bound.get("value", 0) != 0 or len(pad) not in (2, 4, 6):
        raise Refused("a padding by something else than zeros", "pad by zeros")
    return nn.ConstantPad3d(pad + (0,) * (6 - len(pad)), 0.0)


def _index(bound: dict[str, Any]) -> nn.Module:
    """Every so many rows and columns, which a max pool of one pixel gives; or the one pixel that there is."""
    index, every = bound["index"], slice(None)
    if isinstance(index, tuple) and len(index) == 4 and index[:2] == (every, every):
        if index[2:] == (0, 0):
            return nn.Flatten()
        rows, columns = index[2:]
        if all(isinstance(each, slice) and each.start in (None, 0) and each.stop is None for each in (rows, columns)):
            return nn.MaxPool2d(1, (rows.step or 1, columns.step or 1))
    raise Refused("an index of an activation", "only x[:, :, ::2, ::2] and the like are layers")


def _dropout(bound: dict[str, Any]) -> nn.Module:
    if bound.get("training", True) is not False:
        raise Refused("a dropout that drops in evaluation mode too", "give it training=self.training")
    return nn.Identity()


def _conv2d(bound: dict[str, Any]) -> nn.Module:
    out, inputs, *kernel = bound["weight"].shape
    groups = bound.get("groups", 1)
    padding = bound.get("padding", 0)
    made = nn.Conv2d(
        inputs * groups,
        out,
        pair(kernel),
        pair(bound.get("stride", 1)),
        padding if isinstance(padding, str) else pair(padding),
        pair(bound.get("dilation", 1)),
        groups,
        bias="bias" in bound,
    )
    return filled(made, bound)


def _linear(bound: dict[str, Any]) -> nn.Module:
    return filled(nn.Linear(bound["weight"].shape[1], bound["weight"].shape[0], bias="bias" in bound), bound)


def _batch_norm(bound: dict[str, Any]) -> nn.Module:
    if bound.get("training") or "running_mean" not in bound:
        raise Refused("a batch norm of the batch's own statistics", "call network.eval() before")
    made = nn.BatchNorm2d(
        len(bound["running_mean"]), eps=bound.get("eps", 1e-5), affine=bool({"weight", "bias"} & bound.keys())
    )
    return filled(made.eval(), bound)


def _group_norm(bound: dict[str, Any]) -> nn.Module:
    groups, affine = bound["num_groups"], "weight" in bound or "bias" in bound
    channels = len(bound["weight" if "weight" in bound else "bias"]) if affine else groups
    return filled(nn.GroupNorm(groups, channels, bound.get("eps", 1e-5), affine=affine), bound)


def _instance_norm(bound: dict[str, Any]) -> nn.Module:
    if not bound.get("use_input_stats", True):
        raise Refused("an instance norm of running statistics", "write nn.BatchNorm2d, and train again")
    affine = "weight" in bound or "bias" in bound
    channels = len(bound["weight" if "weight" in bound else "bias"]) if affine else 1
    return filled(nn.InstanceNorm2d(channels, bound.get("eps", 1e-5), affine=affine), bound)


def _layer_norm(bound: dict[str, Any]) -> nn.Module:
    shape, eps = list(bound["normalized_shape"]), bound.get("eps", 1e-5)
    return filled(nn.LayerNorm(shape, eps, elementwise_affine="weight" in bound, bias="bias" in bound), bound)


_MAX_POOL = "kernel_size stride padding dilation ceil_mode"
_AVERAGE_POOL = "kernel_size stride padding ceil_mode count_include_pad divisor_override"
_FUNCTIONS: tuple[tuple[tuple[object, ...], str, Build], ...] = (
    (("relu", "relu_"), "inplace", lambda bound: nn.ReLU()),
    (("relu6",), "inplace", lambda bound: nn.ReLU6()),
    (("hardtanh", "hardtanh_"), "min_val max_val inplace", _make(nn.Hardtanh, "min_val max_val")),
    (("clamp", "clip", "clamp_"), "min max", _clamp),
    (("clamp_min", "clamp_min_"), "min", _clamp),
    (("clamp_max", "clamp_max_"), "max", _clamp),
    ((F.max_pool2d, torch.max_pool2d), f"{_MAX_POOL} return_indices", _make(nn.MaxPool2d, _MAX_POOL)),
    ((F.avg_pool2d,), _AVERAGE_POOL, _make(nn.AvgPool2d, _AVERAGE_POOL)),
    ((F.adaptive_avg_pool2d,), "output_size", _make(nn.AdaptiveAvgPool2d, "output_size")),
    ((F.adaptive_max_pool2d,), "output_size return_indices", _make(nn.AdaptiveMaxPool2d, "output_size")),
    (("mean",), "dim keepdim", _mean),
    (("amax",), "dim keepdim", _amax),
    (("getitem",), "index", _index),
    (("flatten", "view", "reshape", "squeeze"), "", lambda bound: nn.Flatten()),
    (("contiguous", "clone", "detach", "float", "to", "type_as"), "", lambda bound: nn.Identity()),
    (("dropout", "dropout2d", "feature_dropout"), "p training inplace", _dropout),
    (("stochastic_depth",), "p mode training", _dropout),
    ((F.pad,), "pad mode value", _pad),
    ((F.conv2d,), "weight bias stride padding dilation groups", _conv2d),
    ((F.linear,), "weight bias", _linear),
    ((F.group_norm,), "num_groups weight bias eps", _group_norm),
    ((F.instance_norm,), "running_mean running_var weight bias use_input_stats momentum eps", _instance_norm),
    ((F.layer_norm,), "normalized_shape weight bias eps", _layer_norm),
    ((F.batch_norm,), "running_mean running_var weight bias training momentum eps", _batch_norm),
)
"""Functions, or names of functions and methods; the names of their arguments behind the input; the module of these."""
