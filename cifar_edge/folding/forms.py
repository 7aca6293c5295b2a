"""What integers can compute of PyTorch's modules and functions: each as one of few kinds of modules.

The kinds are Conv2d, Linear, BatchNorm, norms that are fitted, ReLU, ReLU6 and Hardtanh, MaxPool2d, AvgPool2d,
AdaptiveAvgPool2d of one output, ZeroPad2d and Flatten.
"""

import copy
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cifar_edge.folding.functions import filled, module_of, pair
from cifar_edge.folding.refused import ADVICE, Refused
from cifar_edge.messages import with_article
from cifar_edge.models.depthwise import DepthwiseConv2d

Shape = tuple[int, ...]
"""Of an activation, with the batch."""
Pair = tuple[int, int]
"""Vertical and horizontal."""

ADDS = {operator.add, operator.iadd, torch.add, "add", "add_"}
"""Targets of nodes that add."""
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
FITTED_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)
"""Norms that depend on each image, so that they are fitted."""

NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
"""Modules that compute nothing in evaluation mode."""
CLIPS = (nn.ReLU, nn.Hardtanh)
"""ReLU6 is a Hardtanh."""
LARGEST_CLIP = 1e30
"""The limit of a clip that has none on one side."""


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
    if 3 in (len(shape), len(output)):
        return _of_places(module, shape, output)
    if len(shape) not in (2, 4):
        raise Refused(f"{with_article(type(module).__name__)} of an input of {len(shape)} dimensions", ADVICE["other"])
    if isinstance(module, nn.Flatten | nn.Unflatten):
        return _reshaped(shape, output)
    if len(shape) == len(output):
        return _computing(module, shape, output)
    return [*_computing(module, shape, (*output, 1, 1)), nn.Flatten()]  # a mean over height and width


def _of_places(module: nn.Module, shape: Shape, output: Shape) -> list[nn.Module]:
    """The modules of a step to or from ``[n, channels, places]``, which stays of four dimensions in the tree.

    So a mean over width and then over height, or over a flattened image, is the mean over both.
    """
    if isinstance(module, nn.AdaptiveAvgPool2d) and len(shape) == 4:
        return _computing(
            module, shape, (*output[:2], 1, output[2]) if module.output_size == (1, None) else (*output, 1)
        )
    if isinstance(module, nn.AdaptiveAvgPool2d) and len(output) == 2:
        return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if isinstance(module, nn.Flatten):
        if output[:2] == shape[:2] and len(output) == 3:
            return []
        if output == (shape[0], math.prod(shape[1:])):
            return [nn.Flatten()]
    raise Refused(
        f"{with_article(type(module).__name__)} from {list(shape[1:])} to {list(output[1:])}", ADVICE["other"]
    )


def _computing(module: nn.Module, shape: Shape, output: Shape) -> list[nn.Module]:
    """The modules that compute ``module``, which is no reshape."""
    if isinstance(module, nn.Conv2d):
        return _convolution(module)
    if isinstance(module, nn.Linear):
        if len(shape) != 2:
            raise Refused("a Linear of an input that is not flat", "write a 1x1 convolution, or flatten before it")
        return [filled(nn.Linear(module.in_features, module.out_features, module.bias is not None), _tensors(module))]
    if isinstance(module, CLIPS):
        low, high = limits(module)
        if not low <= 0 <= high:
            raise Refused("a clip to a range without 0", "clip to a range with 0 in it")
        return [clip(low, high)]
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        return _pool(module, shape, output)
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return _adaptive_pool(nn.AvgPool2d if isinstance(module, nn.AdaptiveAvgPool2d) else nn.MaxPool2d, shape, output)
    if isinstance(module, (*BATCH_NORMS, nn.SyncBatchNorm)):
        return [_batch_norm_of(module, flat=len(shape) == 2)]
    if isinstance(module, FITTED_NORMS):
        made = copy.deepcopy(module)
        if isinstance(made, nn.InstanceNorm2d):
            made.num_features = shape[1]  # a function without weights does not say it
        return [made]
    if isinstance(module, nn.ZeroPad2d | nn.ConstantPad2d | nn.ConstantPad3d):
        return _padding(module, shape)
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
    if pair(module.dilation) != (1, 1):
        raise Refused("a Conv2d with dilation", "write a larger kernel or a stride, and train again")
    before: list[nn.Module] = []
    padding = module.padding
    if isinstance(padding, str):
        rows, columns = (each - 1 if padding == "same" else 0 for each in pair(module.kernel_size))
        padding = rows // 2, columns // 2
        if rows % 2 or columns % 2:
            before = [nn.ZeroPad2d((columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))]
            padding = 0, 0
    depthwise = module.groups == module.in_channels == module.out_channels > 1
    made = (DepthwiseConv2d if depthwise else nn.Conv2d)(
        module.in_channels,
        module.out_channels,
        pair(module.kernel_size),
        pair(module.stride),
        pair(padding),
        groups=module.groups,
        bias=module.bias is not None,
    )
    return [*before, filled(made, _tensors(module))]


def _batch_norm_of(module: nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm, *, flat: bool) -> nn.Module:
    """A batch norm of the kind that the shape of its input needs."""
    if module.running_mean is None:
        raise Refused("a batch norm without running statistics", "train it with track_running_stats=True")
    made = (nn.BatchNorm1d if flat else nn.BatchNorm2d)(module.num_features, module.eps, affine=module.affine)
    return filled(made.eval(), {name: each for name, each in module.state_dict().items() if each is not None})


def _padding(module: nn.ZeroPad2d | nn.ConstantPad2d | nn.ConstantPad3d, shape: Shape) -> list[nn.Module]:
    """A padding by zeros: of columns, rows, and channels, which a 1x1 convolution adds."""
    left, right, top, bottom, *channels = module.padding
    if getattr(module, "value", 0) != 0:
        raise Refused("a padding by something else than zeros", "pad by zeros")
    if min(module.padding) < 0:
        raise Refused("a padding by negative numbers", "crop by a stride, or leave it out")
    made: list[nn.Module] = [nn.ZeroPad2d((left, right, top, bottom))] if any(module.padding[:4]) else []
    if any(channels):
        before, behind = channels
        wider = nn.Conv2d(shape[1], before + shape[1] + behind, 1, bias=False)
        wider.weight.zero_()
        wider.weight[before : before + shape[1], :, 0, 0] = torch.eye(shape[1])
        made.append(wider)
    return made


def _pool(module: nn.MaxPool2d | nn.AvgPool2d, shape: Shape, output: Shape) -> list[nn.Module]:
    kernel, stride, padding = (pair(each) for each in (module.kernel_size, module.stride, module.padding))
    name = type(module).__name__
    floor = tuple((s + 2 * p - k) // d + 1 for s, k, d, p in zip(shape[2:], kernel, stride, padding, strict=True))
    if floor != output[2:]:
        raise Refused(f"{with_article(name)} with ceil_mode or dilation", "leave that out, and pad or crop instead")
    if isinstance(module, nn.MaxPool2d):
        return [nn.MaxPool2d(kernel, stride, padding)]
    if module.divisor_override is not None or (any(padding) and not module.count_include_pad):
        raise Refused(f"{with_article(name)} with count_include_pad=False or divisor_override", "leave that out")
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


def _tensors(module: nn.Conv2d | nn.Linear) -> dict[str, Tensor]:
    """Weight and bias, as the module computes them if they are parametrized."""
    tensors = {"weight": module.weight, "bias": module.bias}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}
