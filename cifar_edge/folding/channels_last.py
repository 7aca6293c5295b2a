"""Layers between two permutes, where channels are the last dimension: in the tree they come before height and width."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from cifar_edge.folding import forms as channels_first
from cifar_edge.folding.forms import CLIPS, Shape
from cifar_edge.folding.functions import module_of
from cifar_edge.folding.layers import ChannelLayerNorm
from cifar_edge.folding.refused import ADVICE, Refused

PERMUTES = (torch.permute, "permute")
"""Targets of nodes that permute."""

_MOVES = {True: (0, 2, 3, 1), False: (0, 3, 1, 2)}
"""Whether channels become the last dimension -> the order of dimensions that does it."""


def permuted(arguments: Sequence[Any], settings: Mapping[str, Any], *, last: bool) -> list[nn.Module]:
    """The modules of a permute: none, if it moves the channels last or back.

    Args:
        arguments: of its call, without the input.
        settings: keyword arguments of its call.
        last: whether the channels are to come last behind it.

    Raises:
        Refused: it moves something else.
    """
    given = settings.get("dims", arguments)
    order = given[0] if len(given) == 1 else given
    if tuple(each % 4 if isinstance(each, int) else each for each in order) != _MOVES[last]:
        raise Refused(f"a permute to {tuple(order)}", ADVICE["permute"])
    return []


def forms(
    target: object, arguments: Sequence[Any], settings: Mapping[str, Any], shape: Shape, output: Shape
) -> list[nn.Module]:
    """The modules that compute ``target``, for channels that come first; as `cifar_edge.folding.forms.forms`.

    Raises:
        Refused: there are none.
    """
    module = module_of(target, arguments, settings)
    if isinstance(module, nn.Linear):
        module = _pointwise(module)
    elif isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1:
        module = _over_channels(module)
    elif not isinstance(module, (*CLIPS, *channels_first.NOTHING)):
        raise Refused(f"a {type(module).__name__} of channels that come last", "move them back before it")
    return channels_first.forms(module, (), {}, *(each[:1] + each[-1:] + each[1:-1] for each in (shape, output)))


def _pointwise(linear: nn.Linear) -> nn.Conv2d:
    made = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=linear.bias is not None)
    made.load_state_dict({**linear.state_dict(), "weight": linear.weight[:, :, None, None]})
    return made


def _over_channels(norm: nn.LayerNorm) -> ChannelLayerNorm:
    affine, shifted = norm.weight is not None, norm.bias is not None
    made = ChannelLayerNorm(list(norm.normalized_shape), norm.eps, elementwise_affine=affine, bias=shifted)
    made.load_state_dict(norm.state_dict())
    return made
