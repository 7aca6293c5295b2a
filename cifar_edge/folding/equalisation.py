"""Equalisation: the channels of an activation are scaled so that each uses the whole range of its int8 codes.

All channels of an activation share one scale in int8, so a channel whose values are small gets few codes. A positive
factor commutes with ReLU, sums and pools, so it can be moved from the weights that make a channel into those that read
it (Nagel et al. 2019, arXiv:1906.04721); along a chain of residuals a channel has one factor. That is done where the
weights lose nothing by it: where all that read are depthwise convolutions, which have a weight scale for each channel,
or the last Linear, whose weights are many to each logit. docs/int8.md shows what this gains.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cifar_edge.folding.layers import Residual
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.models.pixels import pixels_to_input

_BATCH = 500
_LEAST_SHARE = 1 / 16
"""Of the median range. A channel that hardly fires on the given images may do so on others."""

_COMMUTING = (
    nn.ReLU,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.ZeroPad2d,
    nn.Flatten,
    nn.Identity,
    nn.Dropout,
)
"""Modules with which a positive factor of a channel commutes. ReLU6 and the like clip at a value, which would move."""


@torch.no_grad()
def equalised(network: FoldedNetwork, images: Tensor) -> FoldedNetwork:
    """The same function, up to the rounding of floats, by weights with which channels have equal ranges.

    Args:
        network: in evaluation mode.
        images: the ranges are those on these, uint8 ``[n, S, S, 3]``, on the device of ``network``.
    """
    found = copy.deepcopy(network).eval().requires_grad_(False)
    pixels = _Channels([], is_fixed=True)
    groups = [pixels]
    _follow(found.layers, [pixels_to_input(part) for part in images.split(_BATCH)], pixels, groups)
    last = [module for module in found.modules() if isinstance(module, nn.Linear)][-1]
    for group in groups:
        if not group.is_fixed and all(reader is last or _is_depthwise(reader) for reader in group.readers):
            group.equalise()
    return found


@dataclass(eq=False, slots=True)
class _Channels:
    """Channels that share their factors: those of one activation, or of all along a chain of residuals.

    Attributes:
        writers: the modules whose outputs these channels are.
        readers: the modules that have them as inputs.
        ranges: the largest value that 255 codes have to cover, for each channel; None before any was seen.
        is_fixed: whether no factor can be moved, as with those of the image.
    """

    writers: list[nn.Conv2d | nn.Linear]
    readers: list[nn.Conv2d | nn.Linear] = field(default_factory=list)
    ranges: Tensor | None = None
    is_fixed: bool = False

    def see(self, batches: Iterable[Tensor]) -> None:
        """Widen the ranges to those of ``batches``, float ``[n, channels, height, width]``."""
        for x in batches:
            values = x.movedim(1, 0).flatten(1)
            least, largest = values.amin(1), values.amax(1)
            # Where values may be negative, half of the codes are for these.
            found = 2 * largest.maximum(-least) if bool((least < 0).any()) else largest
            self.ranges = found if self.ranges is None else self.ranges.maximum(found)

    def equalise(self) -> None:
        """Give all channels the largest of their ranges."""
        if self.ranges is None or not self.readers or self.ranges.max() == 0:
            return
        ranges = self.ranges.clamp_min(self.ranges.median() * _LEAST_SHARE).clamp_min(self.ranges.max() * 1e-6)
        factors = ranges.max() / ranges
        for writer in self.writers:
            writer.weight.mul_(factors.reshape(-1, *[1] * (writer.weight.ndim - 1)))
            if writer.bias is not None:
                writer.bias.mul_(factors)
        for reader in self.readers:
            if isinstance(reader, nn.Linear):  # it reads every position of a channel
                reader.weight.div_(factors.repeat_interleave(reader.in_features // len(factors)))
            else:
                reader.weight.div_(factors[:, None, None, None])


def _follow(
    layers: nn.Sequential, batches: list[Tensor], channels: _Channels, groups: list[_Channels]
) -> tuple[list[Tensor], _Channels]:
    """What ``layers`` make of ``batches``, and the group of its channels; new groups are added to ``groups``."""
    modules = list(layers)
    for module, following in zip(modules, [*modules[1:], None], strict=False):  # without layers there is only the None
        if isinstance(module, nn.Sequential):
            batches, channels = _follow(module, batches, channels, groups)
        elif isinstance(module, Residual):
            ones, branch = _follow(module.layers, batches, channels, groups)
            others, shortcut = _follow(module.shortcut, batches, channels, groups)
            batches = [one + other for one, other in zip(ones, others, strict=True)]
            channels = _joined(branch, shortcut, groups)
        else:
            batches = [module(x) for x in batches]
            if isinstance(module, nn.Conv2d | nn.Linear):
                channels.readers.append(module)
                channels = _Channels([module])
                groups.append(channels)
            elif not isinstance(module, _COMMUTING):
                channels.is_fixed = True
        if not isinstance(following, nn.ReLU) and batches[0].ndim == 4:
            channels.see(batches)
    return batches, channels


def _joined(one: _Channels, other: _Channels, groups: list[_Channels]) -> _Channels:
    """The group of the channels of both; the earlier of them, which others may know already, takes the later one in."""
    if one is other:
        return one
    kept, taken = sorted((one, other), key=groups.index)
    groups.remove(taken)
    kept.writers += taken.writers
    kept.readers += taken.readers
    kept.is_fixed |= taken.is_fixed
    if taken.ranges is not None:
        kept.ranges = taken.ranges if kept.ranges is None else kept.ranges.maximum(taken.ranges)
    return kept


def _is_depthwise(module: nn.Module) -> bool:
    """Whether each of its output channels reads one input channel."""
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels
