"""What integers can compute of PyTorch's modules and functions: each as one of few kinds of modules.

The kinds are Conv2d, Linear, BatchNorm, norms that are fitted, ReLU, ReLU6 and Hardtanh, MaxPool2d, AvgPool2d,
AdaptiveAvgPool2d of one output, ZeroPad2d and Flatten.
"""

import copy
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar_edge.models.depthwise import DepthwiseConv2d

Shape = tuple[int, ...]
"""Of an activation, with the batch."""
Pair = tuple[int, int]
"""Vertical and horizontal."""
Build = Callable[[dict[str, Any]], nn.Module]
"""From arguments by name to a module."""

ADDS = {operator.add, operator.iadd, torch.add, "add", "add_"}
"""Targets of nodes that add."""
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
FITTED_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)
"""Norms that depend on each image, so that they are fitted."""

NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d)
"""Modules that compute nothing in evaluation mode."""
CLIPS = (nn.ReLU, nn.Hardtanh)
"""ReLU6 is a Hardtanh."""
LARGEST_CLIP = 1e30
"""The limit of a clip that has none on one side."""

ADVICE: Mapping[str, str] = {
    "add": "add the outputs of two layers, or leave it out",
    "activation": "write nn.ReLU or nn.ReLU6, and train again",
    "mul": "leave out gates and squeeze-and-excitation, and train again",
    "cat": "add the branches, with a 1x1 convolution where their channels differ, and train again",
    "softmax": "leave it out: the network returns logits",
    "attention": "write convolutions, and train again",
    "permute": "move the channels by permute(0, 2, 3, 1), and back by permute(0, 3, 1, 2)",
    "other": "docs/own-network.md lists the layers that are",
}


class Refused(Exception):
    """A layer that integers cannot compute.

    Attributes:
        what: the layer, for the message.
        advice: what to write instead.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.what, self.advice = what, advice

    @classmethod
    def of(cls, target: object) -> Self:
        """A module, a function or the name of a method that has no form at all."""
        name = target if isinstance(target, str) else getattr(target, "__name__", type(target).__name__)
        found = next((kind for words, kind in _KINDS if any(word in name.lower() for word in words)), "other")
        return cls(f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}", ADVICE[found])


_KINDS = (
    (("pixel", "convtranspose", "conv_transpose"), "other"),
    (("silu", "gelu", "swish", "sigmoid", "mish", "elu", "tanh", "relu", "softplus"), "activation"),
    (("softmax",), "softmax"),
    (("attention", "matmul", "bmm", "einsum"), "attention"),
    (("mul", "div", "sub"), "mul"),
    (("cat", "stack", "split", "chunk"), "cat"),
    (("permute", "transpose", "movedim", "swapaxes"), "permute"),
)
"""Parts of names -> the advice."""


def forms(
    target: object, arguments: Sequence[Any], settings: Mapping[str, Any], shape: Shape, output: Shape
) -> list[nn.Module]:
    """The modules that compute ``target``; none if it computes nothing in evaluation mode.

    Args:
        target: a module, a function, or the name of a method of tensors.
        arguments: of its call, without the input.
        settings: keyword arguments of its call.
        shape: of the input.
        output: shape of the output.

    Raises:
        Refused: there are none.
    """
    module = module_of(target, arguments, settings)
    if isinstance(module, NOTHING):
        return []
    if len(shape) not in (2, 4):
        raise Refused(f"a {type(module).__name__} of an input of {len(shape)} dimensions", ADVICE["other"])
    if isinstance(module, nn.Flatten | nn.Unflatten):
        return _reshaped(shape, output)
    if len(shape) == len(output):
        return _computing(module, shape, output)
    return [*_computing(module, shape, (*output, 1, 1)), nn.Flatten()]  # a mean over height and width


def _computing(module: nn.Module, shape: Shape, output: Shape) -> list[nn.Module]:
    """The modules that compute ``module``, which is no reshape."""
    if isinstance(module, nn.Conv2d):
        return _convolution(module)
    if isinstance(module, nn.Linear):
        if len(shape) != 2:
            raise Refused("a Linear of an input that is not flat", "write a 1x1 convolution, or flatten before it")
        return [_filled(nn.Linear(module.in_features, module.out_features, module.bias is not None), _tensors(module))]
    if isinstance(module, CLIPS):
        low, high = limits(module)
        if not low <= 0 <= high:
            raise Refused("a clip to a range without 0", "clip to a range with 0 in it")
        return [clip(low, high)]
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        return _pool(module, shape, output)
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return _adaptive_pool(nn.AvgPool2d if isinstance(module, nn.AdaptiveAvgPool2d) else nn.MaxPool2d, shape, output)
    if isinstance(module, BATCH_NORMS) and module.running_mean is None:
        raise Refused("a batch norm without running statistics", "train it with track_running_stats=True")
    if isinstance(module, (*BATCH_NORMS, *FITTED_NORMS)):
        return [copy.deepcopy(module)]
    if isinstance(module, nn.ZeroPad2d):
        return [nn.ZeroPad2d(module.padding)]
    raise Refused.of(module)


def limits(module: nn.Module) -> tuple[float, float]:
    """The range that one of `CLIPS` clips to."""
    return (module.min_val, module.max_val) if isinstance(module, nn.Hardtanh) else (0.0, math.inf)


def clip(low: float, high: float) -> nn.Module:
    """The module that clips to a range."""
    if low == 0 and high in (6, math.inf):
        return nn.ReLU() if high == math.inf else nn.ReLU6()
    return nn.Hardtanh(max(low, -LARGEST_CLIP), min(high, LARGEST_CLIP))


def _convolution(module: nn.Conv2d) -> list[nn.Module]:
    if module.padding_mode != "zeros":
        raise Refused(f"a Conv2d that pads by {module.padding_mode}", "pad by zeros, and train again")
    if _pair(module.dilation) != (1, 1):
        raise Refused("a Conv2d with dilation", "write a larger kernel or a stride, and train again")
    before: list[nn.Module] = []
    padding = module.padding
    if isinstance(padding, str):
        rows, columns = (each - 1 if padding == "same" else 0 for each in _pair(module.kernel_size))
        padding = rows // 2, columns // 2
        if rows % 2 or columns % 2:
            before = [nn.ZeroPad2d((columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))]
            padding = 0, 0
    depthwise = module.groups == module.in_channels == module.out_channels > 1
    made = (DepthwiseConv2d if depthwise else nn.Conv2d)(
        module.in_channels,
        module.out_channels,
        _pair(module.kernel_size),
        _pair(module.stride),
        _pair(padding),
        groups=module.groups,
        bias=module.bias is not None,
    )
    return [*before, _filled(made, _tensors(module))]


def _pool(module: nn.MaxPool2d | nn.AvgPool2d, shape: Shape, output: Shape) -> list[nn.Module]:
    kernel, stride, padding = (_pair(each) for each in (module.kernel_size, module.stride, module.padding))
    name = type(module).__name__
    floor = tuple((s + 2 * p - k) // d + 1 for s, k, d, p in zip(shape[2:], kernel, stride, padding, strict=True))
    if floor != output[2:]:
        raise Refused(f"a {name} with ceil_mode or dilation", "leave that out, and pad or crop instead")
    if isinstance(module, nn.MaxPool2d):
        return [nn.MaxPool2d(kernel, stride, padding)]
    if module.divisor_override is not None or (any(padding) and not module.count_include_pad):
        raise Refused(f"a {name} with count_include_pad=False or divisor_override", "leave that out")
    return [_average(kernel, stride, padding, shape)]


def _adaptive_pool(kind: type[nn.MaxPool2d | nn.AvgPool2d], shape: Shape, output: Shape) -> list[nn.Module]:
    """Windows of one size, where the output divides the input."""
    if output[2:] == shape[2:]:
        return []
    if any(before % after for before, after in zip(shape[2:], output[2:], strict=True)):
        sizes = [f"{each[2]}x{each[3]}" for each in (shape, output)]
        raise Refused(
            f"an adaptive pool from {sizes[0]} to {sizes[1]}", "choose an output that divides its input, or 1"
        )
    window = shape[2] // output[2], shape[3] // output[3]
    return [nn.MaxPool2d(window, window) if kind is nn.MaxPool2d else _average(window, window, (0, 0), shape)]


def _average(kernel: Pair, stride: Pair, padding: Pair, shape: Shape) -> nn.Module:
    """An average pool; a global one where the window is the whole input, which is faster in integers."""
    if kernel == tuple(shape[2:]) and padding == (0, 0):
        return nn.AdaptiveAvgPool2d((1, 1))
    return nn.AvgPool2d(kernel, stride, padding)


def _reshaped(shape: Shape, output: Shape) -> list[nn.Module]:
    """A flattening, or nothing if the shape stays."""
    if output == shape:
        return []
    if len(shape) == 4 and output == (shape[0], math.prod(shape[1:])):
        return [nn.Flatten()]
    raise Refused(
        f"a reshape from {list(shape[1:])} to {list(output[1:])}", "keep [channels, height, width] or flatten it"
    )


def _pair(value: Any) -> Pair:
    first, second = value if isinstance(value, tuple | list) else (value, value)
    return first, second


def _tensors(module: nn.Conv2d | nn.Linear) -> dict[str, Tensor]:
    """Weight and bias, as the module computes them if they are parametrized."""
    tensors = {"weight": module.weight, "bias": module.bias}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _filled(module: nn.Module, tensors: Mapping[str, Any]) -> nn.Module:
    """``module`` with ``tensors`` in place of those that PyTorch initialised."""
    for name, tensor in module.state_dict().items():
        if name in tensors:
            tensor.copy_(tensors[name])
    return module


# Functions and methods.


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
    dim = bound.get("dim", ())
    if sorted(each % 4 for each in (dim if isinstance(dim, list | tuple) else [dim])) != [2, 3]:
        raise Refused("a mean over other dimensions than height and width", "write nn.AdaptiveAvgPool2d(1)")
    return nn.AdaptiveAvgPool2d(1)


def _pad(bound: dict[str, Any]) -> nn.Module:
    pad = tuple(bound["pad"])
    if bound.get("mode", "constant") != "constant" or bound.get("value", 0) != 0 or len(pad) != 4:
        raise Refused("a padding by something else than zeros", "pad by zeros")
    return nn.ZeroPad2d(pad)


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
        _pair(kernel),
        _pair(bound.get("stride", 1)),
        padding if isinstance(padding, str) else _pair(padding),
        _pair(bound.get("dilation", 1)),
        groups,
        bias="bias" in bound,
    )
    return _filled(made, bound)


def _linear(bound: dict[str, Any]) -> nn.Module:
    return _filled(nn.Linear(bound["weight"].shape[1], bound["weight"].shape[0], bias="bias" in bound), bound)


def _batch_norm(bound: dict[str, Any]) -> nn.Module:
    if bound.get("training") or "running_mean" not in bound:
        raise Refused("a batch norm of the batch's own statistics", "call network.eval() before")
    made = nn.BatchNorm2d(len(bound["running_mean"]), eps=bound.get("eps", 1e-5), affine="weight" in bound)
    return _filled(made.eval(), bound)


def _layer_norm(bound: dict[str, Any]) -> nn.Module:
    shape, eps = list(bound["normalized_shape"]), bound.get("eps", 1e-5)
    return _filled(nn.LayerNorm(shape, eps, elementwise_affine="weight" in bound, bias="bias" in bound), bound)


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
    (("flatten", "view", "reshape", "squeeze"), "", lambda bound: nn.Flatten()),
    (("contiguous", "clone", "detach"), "", lambda bound: nn.Identity()),
    (("dropout", "dropout2d", "feature_dropout"), "p training inplace", _dropout),
    (("stochastic_depth",), "p mode training", _dropout),
    ((F.pad,), "pad mode value", _pad),
    ((F.conv2d,), "weight bias stride padding dilation groups", _conv2d),
    ((F.linear,), "weight bias", _linear),
    ((F.layer_norm,), "normalized_shape weight bias eps", _layer_norm),
    ((F.batch_norm,), "running_mean running_var weight bias training momentum eps", _batch_norm),
)
"""Functions, or names of functions and methods; the names of their arguments behind the input; the module of these."""
