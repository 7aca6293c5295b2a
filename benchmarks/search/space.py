"""Candidate networks written as short specs, such as ``c32k4s2,n32,n32,n32s2,n32,n28,p64``.

A layer is one word: its kind, its output channels, and the size of its kernel (``k``) and its stride (``s``) if these
are not the default of the kind.

    c   3x3 convolution with a parallel 1x1 branch at training time; with an even kernel, as ``c32k4s2``, without it
    n   convolution with an odd kernel and no 1x1 branch
    d   depthwise 3x3 convolution with a parallel 1x1 branch; it has no number, as it keeps the number of channels
    e   the same without the 1x1 branch
    p   1x1 convolution
    q   the same without an identity branch

Words in brackets, such as ``(e,q64)``, have a residual around them. Every layer but ``q`` has an identity branch if
shapes allow. All networks have GroupNorm, ReLU, the pool and the classifier: see `cifar_edge.models.gn_cnn`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cifar_edge.errors import ModelError
from cifar_edge.export.integers import quantize
from cifar_edge.folding.gn_cnn import unfitted
from cifar_edge.models.gn_cnn import GnCnn, Layer
from cifar_edge.models.summary import summarize
from cifar_edge.spec import IMAGE_CHANNELS, IMAGE_SIZE

CLASSES = 10
GROUP_SIZE = 4

_WORD = re.compile(r"([cnpq])([1-9]\d{0,2})(?:k([2-8]))?(?:s([2-4]))?|([de])(?:k([2-8]))?(?:s([2-4]))?")
_KERNEL = 3


def parse(spec: str) -> tuple[Layer, ...]:
    """The layers of a spec.

    Raises:
        ModelError: a word is not a layer, or its layer does not fit the one before.
    """
    layers: list[Layer] = []
    channels, size = IMAGE_CHANNELS, IMAGE_SIZE
    opened: int | None = None
    for word in spec.split(","):
        if word.startswith("(") and opened is None:
            word, opened = word.removeprefix("("), len(layers)
        closes = word.endswith(")") and opened is not None
        layer = _layer(word.removesuffix(")") if closes else word, channels)
        size = _size_after(layer, channels, size, f"{word!r} in {spec!r}")
        channels = layer.channels
        layers.append(layer)
        if closes and opened is not None:
            layers[-1] = replace(layer, residual=len(layers) - opened)
            opened = None
    if opened is not None:
        raise ModelError(f"a bracket in {spec!r} is not closed")
    return tuple(layers)


def write(layers: Sequence[Layer]) -> str:
    """The canonical spec of ``layers``; `parse` reads it back."""
    words = [_word(layer) for layer in layers]
    for index, layer in enumerate(layers):
        if layer.residual:
            words[index + 1 - layer.residual] = "(" + words[index + 1 - layer.residual]
            words[index] += ")"
    return ",".join(words)


def canonical(spec: str) -> str:
    """``spec`` as `write` spells it.

    Raises:
        ModelError: as for `parse`.
    """
    return write(parse(spec))


def candidate(spec: str, group_size: int = GROUP_SIZE) -> GnCnn:
    """A network for ten classes, with weights drawn from PyTorch's global generator.

    Raises:
        ModelError: as for `parse`, or the channels do not divide into groups of ``group_size``.
    """
    layers = parse(spec)
    for layer in layers:
        if layer.channels % group_size:
            raise ModelError(f"{layer.channels} channels in {spec!r} are not a multiple of the group size {group_size}")
    try:
        return GnCnn(CLASSES, layers, group_size)
    except ValueError as error:
        raise ModelError(f"{spec!r}: {error}") from error


@dataclass(frozen=True)
class Costs:
    """What a network costs, whatever its weights.

    Attributes:
        parameters: of the network as trained, with GroupNorm and all branches.
        macs: multiply-accumulates of the folded network, for one image.
        activation_bytes: of the int8 network, where each layer keeps only the rows that it needs.
    """

    parameters: int
    macs: int
    activation_bytes: int


def costs(spec: str) -> Costs:
    """The costs of a network.

    Raises:
        ModelError: as for `parse`.
    """
    network = candidate(spec, group_size=1).eval().requires_grad_(False)  # nothing here depends on the group size
    image = np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, IMAGE_CHANNELS), np.uint8)
    integers = quantize(unfitted(network).layers, image, fit=False).summary()
    return Costs(summarize(network).parameters, integers.macs, integers.activation_bytes)


def _layer(word: str, channels: int) -> Layer:
    match = _WORD.fullmatch(word)
    if match is None:
        raise ModelError(f"{word!r} is not a layer; write one as c32, n32k5s2, d, es2 or p64")
    kind, width, kernel, stride, depthwise, depthwise_kernel, depthwise_stride = match.groups()
    if depthwise:
        size = int(depthwise_kernel or _KERNEL)
        pointwise = depthwise == "d" and size % 2 == 1
        return Layer(channels, size, int(depthwise_stride or 1), depthwise=True, pointwise=pointwise)
    if kind in {"p", "q"}:
        if kernel:
            raise ModelError(f"{word!r} is not a layer; {kind} is a 1x1 convolution and takes no k")
        return Layer(int(width), 1, int(stride or 1), identity=kind == "p")
    size = int(kernel or _KERNEL)
    if kind == "n" and size % 2 == 0:
        raise ModelError(f"{word!r} is not a layer; an even kernel has no 1x1 branch, so write c instead of n")
    return Layer(int(width), size, int(stride or 1), pointwise=kind == "c" and size % 2 == 1)


def _size_after(layer: Layer, channels: int, size: int, where: str) -> int:
    """Height and width of the layer's output."""
    after = (size + 2 * ((layer.kernel - 1) // 2) - layer.kernel) // layer.stride + 1
    if after < 1:
        raise ModelError(f"{where} has a kernel larger than its input of {size}x{size}")
    if layer.kernel % 2 == 0 and layer.stride == 1 and layer.channels == channels:
        raise ModelError(f"{where} has an even kernel, whose output does not fit the identity branch; give a stride")
    return after


def _word(layer: Layer) -> str:
    if layer.depthwise:
        kind = "d" if layer.pointwise or layer.kernel % 2 == 0 else "e"
    elif layer.kernel == 1:
        kind = f"{'p' if layer.identity else 'q'}{layer.channels}"
    else:
        kind = f"{'c' if layer.pointwise or layer.kernel % 2 == 0 else 'n'}{layer.channels}"
    kernel = "" if layer.kernel in {1, _KERNEL} else f"k{layer.kernel}"
    return f"{kind}{kernel}{'' if layer.stride == 1 else f's{layer.stride}'}"
