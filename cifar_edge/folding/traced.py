"""Folding of any plain network: `fold_network` traces it, merges its norms, and reads pixels in its first layer.

A batch norm is an affine of fixed numbers, so it is merged exactly. A norm that depends on the image is replaced by an
affine a channel, fitted by least squares to its output on training images, layer by layer from the input; the input of
the fit is what the layers folded so far compute. An affine that follows no convolution or Linear becomes a depthwise
1x1 convolution.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cifar_edge.errors import ExportError
from cifar_edge.folding.affines import Affine2d
from cifar_edge.folding.forms import BATCH_NORMS, CLIPS, FITTED_NORMS, clip, limits
from cifar_edge.folding.functions import as_linear
from cifar_edge.folding.layers import Residual, Shift
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.folding.trace import trace
from cifar_edge.models.depthwise import DepthwiseConv2d
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.spec import IMAGE_CHANNELS, PIXEL_SCALE, PIXEL_ZERO_POINT

_BATCH = 64
_FIT_PIXELS = 2_000 * 32 * 32
"""Pixels of the images that norms are fitted on: 2,000 images of 32x32."""
_FEW = 2
"""Images that are enough where nothing is fitted."""

Batches = list[Tensor]
Weighted = nn.Conv2d | nn.Linear


class InputMap(nn.Module):
    """From the edge contract's input, ``(p - 128) / 64``, to that of a network: ``(p - mean) / std``.

    Attributes:
        mean: of each channel, in units of 0 to 255.
        std: of each channel, in the same units.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.mean, self.std = mean, std
        means, deviations = torch.tensor(mean).double()[:, None, None], torch.tensor(std).double()[:, None, None]
        self.scale = nn.Parameter((1 / (PIXEL_SCALE * deviations)).float(), requires_grad=False)
        self.shift = nn.Parameter(((PIXEL_ZERO_POINT - means) / deviations).float(), requires_grad=False)

    @property
    def text(self) -> str | None:
        """``(p - mean) / std``; None where it is the edge contract's map."""
        if set(self.mean) == {PIXEL_ZERO_POINT} and set(self.std) == {1 / PIXEL_SCALE}:
            return None
        return f"(p - {_numbers(self.mean)}) / {_numbers(self.std)}"

    def then(self, scale: Tensor, shift: Tensor) -> "InputMap":
        """This map with an affine behind it, which is a map again.

        Args:
            scale: of each channel, float64, none of them 0.
            shift: of each channel, float64.
        """
        mean, std = (torch.tensor(each).double() for each in (self.mean, self.std))
        return InputMap(tuple((mean - shift * std / scale).tolist()), tuple((std / scale).tolist()))

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, 3, S, S]`` in and out."""
        return x * self.scale + self.shift


def _numbers(values: Sequence[float]) -> str:
    """One number, or one a channel."""
    texts = [f"{value:.6g}" for value in values]
    return texts[0] if len(set(values)) == 1 else f"[{', '.join(texts)}]"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a `TracedNetwork` was made of.

    Attributes:
        network: as given, behind its `InputMap`.
        traced: its layers, norms included, behind the same map.
        names: of each module of the folded layers, in their order, its name in the network; empty where it has none.
        ends: of the same modules, the one of ``traced`` with the same output; None where there is none.
        size: height and width of the images.
        fitted: whether a norm was fitted, or the folded network trained further.
        padding: the pixel that the folded network pads the image with, where that is not exactly the network's zero;
            else None.
    """

    network: nn.Sequential
    traced: nn.Sequential
    names: tuple[str, ...]
    ends: tuple[nn.Module | None, ...]
    size: int
    fitted: bool
    padding: int | None

    @property
    def exact(self) -> bool:
        """Whether the folded network computes what the network does."""
        return not self.fitted and self.padding is None

    @property
    def reason(self) -> str:
        """Why it is not exact, and what would be."""
        if self.fitted:
            return "norms that depend on the image are fitted, where batch norms are not"
        return (
            f"zeros around the image stand for the mean, and the nearest pixel, {self.padding} in all channels, takes "
            "their place; a network trained with one whole-numbered mean, or without padding in its first layer, has "
            "no such loss"
        )


class TracedNetwork(FoldedNetwork):
    """A folded network that knows the network it was made of.

    Attributes:
        layers: as those of every `FoldedNetwork`; they take ``(p - 128) / 64``.
        origin: of the layers.
    """

    def __init__(self, layers: nn.Sequential, origin: Origin) -> None:
        super().__init__(layers)
        self.origin = origin

    @property
    def classes(self) -> int:
        """The number of logits."""
        head = list(self.layers)[-1]
        assert isinstance(head, nn.Linear)
        return head.out_features


@torch.no_grad()
def fold_network(network: nn.Module, images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> TracedNetwork:
    """The folded network nearest to ``network`` on ``images``, without any training.

    Args:
        network: on the CPU, in evaluation mode; it takes ``(p - mean) / std``, float32 ``[n, 3, S, S]``.
        images: training images, uint8 ``[n, S, S, 3]``; two or more.
        mean: of each channel, in units of 0 to 255.
        std: of each channel, in the same units.

    Raises:
        ExportError: as `cifar_edge.folding.trace.trace`.
    """
    input_map = InputMap(mean, std)
    found = trace(network, input_map(pixels_to_input(images[:_FEW])))
    fitted = any(isinstance(module, FITTED_NORMS) for module in found.layers.modules())
    seen = images[: max(_FEW, _FIT_PIXELS // images.shape[1] ** 2)] if fitted else images[:_FEW]
    inner_map, first = _whole_map(input_map, found.layers)
    inputs = [inner_map(pixels_to_input(part)) for part in seen.split(_BATCH)]
    folding = _Folding(dict(found.names))
    made, _, outputs = folding.chain(found.layers[first:], inputs, inputs)
    made = folding.classified(made, outputs[0].shape[1])
    made, padding = folding.on_pixels(made, inner_map)
    layers = nn.Sequential(*made).eval().requires_grad_(False)
    modules = list(layers.modules())
    origin = Origin(
        nn.Sequential(input_map, network).eval(),
        nn.Sequential(input_map, *found.layers).eval(),
        tuple(folding.names.get(module, "") for module in modules),
        tuple(folding.ends.get(module) for module in modules),
        images.shape[1],
        fitted,
        padding,
    )
    return TracedNetwork(layers, origin).eval()


def _whole_map(input_map: InputMap, layers: nn.Sequential) -> tuple[InputMap, int]:
    """The map of the image with the arithmetic that ``layers`` begin with, and the number of layers that this is."""
    for number, module in enumerate(layers):
        scale, shift = _batch_norm(module) if isinstance(module, Affine2d) else (torch.zeros(1), torch.zeros(1))
        if not scale.ne(0).all():
            return input_map, number
        input_map = input_map.then(scale, shift)
    return input_map, len(layers)


class _Folding:
    """The layers while they are folded.

    Attributes:
        names: module -> its name in the network.
        ends: folded module -> the traced one with the same output.
    """

    def __init__(self, names: dict[nn.Module, str]) -> None:
        self.names = names
        self.ends: dict[nn.Module, nn.Module | None] = {}

    def chain(self, layers: nn.Sequential, exact: Batches, folded: Batches) -> tuple[list[nn.Module], Batches, Batches]:
        """The folded form of ``layers``; what ``layers`` make of ``exact``, and the folded ones of ``folded``."""
        made: list[nn.Module] = []
        for number, module in enumerate(layers):
            following = list(layers)[number + 1 :]
            if isinstance(module, Residual):
                ways = [self.chain(branch, exact, folded) for branch in (module.layers, module.shortcut)]
                (one, exact, folded), (other, exact_too, folded_too) = ways
                exact, folded = _sums(exact, exact_too), _sums(folded, folded_too)
                self._append(made, Residual(nn.Sequential(*one), nn.Sequential(*other)), module)
                continue
            before = exact[0].shape
            exact = [module(x) for x in exact]
            if isinstance(module, (*BATCH_NORMS, *FITTED_NORMS)):
                if isinstance(module, BATCH_NORMS):
                    scale, shift = _batch_norm(module)
                else:
                    scale, shift = _fitted(folded, exact)
                folded = [_affine(x, scale, shift) for x in folded]
                self._merge(made, module, scale, shift, flat=exact[0].dim() == 2)
                continue
            folded = [module(x) for x in folded]
            if isinstance(module, nn.ZeroPad2d):
                self._pad(made, module, exact[0].shape[1], following[:1])
            elif isinstance(module, CLIPS):
                self._clip(made, module, exact[0].shape)
            else:
                self._append(made, _biased(module) if isinstance(module, Weighted) else copy.deepcopy(module), module)
            if isinstance(module, nn.Flatten) and before[2:].numel() > 1 and _ends_flat(following):
                self._append(made, _own_affine(exact[0].shape[1], flat=True), module)
        return made, exact, folded

    def _append(self, made: list[nn.Module], module: nn.Module, origin: nn.Module) -> None:
        made.append(module)
        self.names[module], self.ends[module] = self.names[origin], origin

    def _merge(self, made: list[nn.Module], norm: nn.Module, scale: Tensor, shift: Tensor, *, flat: bool) -> None:
        """Merge an affine into the last module, or append it as one of its own."""
        last = made[-1] if made else None
        if not isinstance(last, Weighted):
            last = _own_affine(len(scale), flat=flat)
            self._append(made, last, norm)
        assert last.bias is not None
        last.weight.copy_(last.weight.double() * scale.reshape(-1, *[1] * (last.weight.dim() - 1)))
        last.bias.copy_(last.bias.double() * scale + shift)
        self.ends[last] = norm

    def _pad(self, made: list[nn.Module], pad: nn.ZeroPad2d, channels: int, following: Sequence[nn.Module]) -> None:
        """Append a padding, with a layer that pads where the one behind it cannot."""
        left, right, top, bottom = pad.padding
        last = made[-1] if made else None
        if isinstance(last, nn.ZeroPad2d):
            made.remove(last)
            left, right = left + last.padding[0], right + last.padding[1]
            top, bottom = top + last.padding[2], bottom + last.padding[3]
        self._append(made, nn.ZeroPad2d((left, right, top, bottom)), pad)
        if not any(isinstance(each, nn.ZeroPad2d | nn.Conv2d | nn.AvgPool2d) for each in following):
            self._append(made, _own_affine(channels, flat=False), pad)

    def _clip(self, made: list[nn.Module], module: nn.Module, shape: Sequence[int]) -> None:
        """Append a clip. A layer clips once, and a max pool may stand between the layer and its clip."""
        low, high = limits(module)
        others = [module for module in made if not isinstance(module, nn.MaxPool2d | nn.Flatten)]
        if not others:
            self._append(made, _own_affine(shape[1], flat=len(shape) == 2), module)
        elif isinstance(others[-1], CLIPS):
            first, second = limits(others[-1])
            made.remove(others[-1])
            low, high = max(low, first), min(high, second)
            if not low < high:
                raise ExportError(f"{self.names[module]}: clips to a single number, so that no network is left")
        made.append(clip(low, high))
        layers = [module for module in made if not isinstance(module, (*CLIPS, nn.Flatten))]
        for layer in reversed(layers):
            self.ends[layer] = module if layer is layers[-1] else None  # only the last one has the clipped output
            if not isinstance(layer, nn.MaxPool2d):
                break

    def classified(self, made: list[nn.Module], classes: int) -> list[nn.Module]:
        """The layers with a Linear last, as an integer network ends."""
        flat = made[:-1] if made and isinstance(made[-1], nn.Flatten) else made
        if flat and isinstance(flat[-1], nn.Linear):
            return made
        if len(flat) > 1 and isinstance(flat[-1], nn.AdaptiveAvgPool2d) and _is_pointwise(flat[-2]):
            # A mean of sums is a sum of means, so the pool may come first.
            convolution, pool = flat[-2], flat[-1]
            assert isinstance(convolution, nn.Conv2d)
            linear = as_linear(convolution)
            self.names[linear], self.ends[linear] = self.names[convolution], self.ends[pool]
            self.ends[pool] = None
            return [*flat[:-2], pool, nn.Flatten(), linear]
        return [*flat, nn.Flatten(), _own_affine(classes, flat=True)]

    def on_pixels(self, made: list[nn.Module], input_map: InputMap) -> tuple[list[nn.Module], int | None]:
        """The layers for the contract's input, and the pixel that they pad with where that is not exact.

        Zero padding of the network's input is a pixel: that of its mean. Where the channels have different means, it is
        the pixel nearest to all.
        """
        mean, std = (torch.tensor(each).double() for each in (input_map.mean, input_map.std))
        padded = bool(made) and isinstance(made[0], nn.ZeroPad2d)
        first = made[1 if padded else 0]
        if mean.eq(PIXEL_ZERO_POINT).all() and std.eq(1 / PIXEL_SCALE).all():
            return made, None
        if not isinstance(first, nn.Conv2d):
            first, padded = _depthwise(IMAGE_CHANNELS), False
            self.names[first] = "input"
            made = [first, *made]
        padded = padded or first.padding != (0, 0)
        pixel = min(max(round(float(mean.mean())), 0), 255) if padded else PIXEL_ZERO_POINT
        scale, shift = 1 / (PIXEL_SCALE * std), (pixel - mean) / std
        per_group = first.in_channels // first.groups
        groups = torch.arange(first.out_channels) // (first.out_channels // first.groups)
        channels = groups[:, None] * per_group + torch.arange(per_group)  # (out, in / groups) -> input channel
        weight = first.weight.double()
        assert first.bias is not None
        first.bias.copy_(first.bias.double() + (weight * shift[channels][..., None, None]).sum((1, 2, 3)))
        first.weight.copy_(weight * scale[channels][..., None, None])
        exact = not padded or bool(mean.eq(pixel).all())
        return ([] if pixel == PIXEL_ZERO_POINT else [Shift(pixel)]) + made, None if exact else pixel


def _ends_flat(following: Sequence[nn.Module]) -> bool:
    """Whether a residual reads or ends with what was flattened before ``following``.

    Integers flatten in a Linear alone, so that they need one there.
    """
    first = next((module for module in following if not isinstance(module, CLIPS)), None)
    return first is None or isinstance(first, Residual)


def _batch_norm(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift of each channel, float64."""
    assert isinstance(norm, BATCH_NORMS)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()


def _fitted(inputs: Batches, wanted: Batches) -> tuple[Tensor, Tensor]:
    """The scale and shift of each channel with which ``inputs`` are nearest to ``wanted``, float64."""
    count = 0
    sums = torch.zeros(4, inputs[0].shape[1], dtype=torch.float64)  # of x, y, x * x and x * y
    for one, other in zip(inputs, wanted, strict=True):
        x, y = (each.double().transpose(0, 1).flatten(1) for each in (one, other))
        count += x.shape[1]
        sums += torch.stack([x.sum(1), y.sum(1), (x * x).sum(1), (x * y).sum(1)])
    x, y, xx, xy = sums / count
    variance = xx - x * x
    scale = torch.where(variance > 1e-12 * xx, (xy - x * y) / variance, 0.0)  # a constant channel has no scale
    return scale, y - scale * x


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    shape = -1, *[1] * (x.dim() - 2)
    return x * scale.float().reshape(shape) + shift.float().reshape(shape)


def _sums(ones: Batches, others: Batches) -> Batches:
    return [one + other for one, other in zip(ones, others, strict=True)]


def _biased(module: Weighted) -> Weighted:
    """A copy with a bias."""
    made = copy.deepcopy(module)
    if made.bias is None:
        made.bias = nn.Parameter(torch.zeros(len(made.weight)))
    return made


def _own_affine(channels: int, *, flat: bool) -> Weighted:
    """A layer that returns its input, with weights and biases to merge an affine into."""
    if not flat:
        return _depthwise(channels)
    made = nn.Linear(channels, channels)
    made.weight.copy_(torch.eye(channels))
    made.bias.zero_()
    return made


def _depthwise(channels: int) -> nn.Conv2d:
    """A 1x1 convolution that returns its input."""
    made = (DepthwiseConv2d if channels > 1 else nn.Conv2d)(channels, channels, 1, groups=channels)
    made.weight.fill_(1.0)
    assert made.bias is not None
    made.bias.zero_()
    return made


def _is_pointwise(module: nn.Module) -> bool:
    """Whether it is a 1x1 convolution of all channels."""
    if not isinstance(module, nn.Conv2d):
        return False
    return (module.kernel_size, module.stride, module.padding, module.groups) == ((1, 1), (1, 1), (0, 0), 1)
