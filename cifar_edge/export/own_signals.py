"""Where the signal of an integer network is lost: layer by layer, by the names of the user's own modules."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cifar_edge.columns import PAGE, table
from cifar_edge.export.float_network import FloatLayer, float_layers, run
from cifar_edge.export.own_checks import check_images, check_stage
from cifar_edge.export.own_network import Quantized
from cifar_edge.folding.layers import Shift
from cifar_edge.integer import Layer, Quantization, Residual
from cifar_edge.integer.quantization import Codes
from cifar_edge.models.pixels import pixels_to_input

DEBUG_IMAGES = 256
_BATCH = 64
_NOISY = 20.0
"""dB, below which a signal has lost so much that classes change."""

Outputs = dict[nn.Module, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Signal:
    """Signal-to-noise ratios after a layer, in dB; infinite without any noise.

    Attributes:
        layer: name of its module in the network; what follows up to the next convolution belongs to it.
        folding: of the folded network against the network; None where it has no layer of that output.
        rounding: of the integers against the folded network.
    """

    layer: str
    folding: float | None
    rounding: float


@dataclass(frozen=True, slots=True)
class Signals:
    """The signal after each layer.

    Attributes:
        layers: in the order they run; the last one is that of the logits.
    """

    layers: tuple[Signal, ...]

    @property
    def advice(self) -> str:
        """What to try, in a sentence."""
        last = self.layers[-1]
        if min(last.rounding, last.folding if last.folding is not None else np.inf) > _NOISY:
            return "little is lost"
        if last.folding is not None and last.folding < last.rounding:
            return "folding loses most: fine-tune with edge.finetune(folded, (images, labels), teacher=network)"
        noise = [10 ** (-signal.rounding / 10) for signal in self.layers]
        added = [after - before for before, after in zip([0.0, *noise], noise, strict=False)]
        worst = self.layers[int(np.argmax(added))].layer
        return (
            f"rounding loses most in {worst}: quantize with more images, write nn.ReLU6 behind it so that its largest "
            "values are bounded, or fine-tune with edge.finetune"
        )

    def to_table(self, columns: int = PAGE) -> str:
        """The signals and the advice for people."""
        rows = [(signal.layer, _shown(signal.folding), _shown(signal.rounding)) for signal in self.layers]
        head = ("signal-to-noise ratio after", "folding", "rounding")
        return "\n".join([*table([head, *rows], "<44 >10 >10", columns), self.advice])


def debug(quantized: Quantized, images: npt.NDArray[np.uint8]) -> Signals:
    """The signal after each layer: of the network as given, of the folded one, and of the integers.

    Args:
        quantized: as `cifar_edge.export.quantize` returned it.
        images: uint8 ``[n, S, S, 3]``; the first `DEBUG_IMAGES` are used.

    Raises:
        ExportError: the images are not as described.
    """
    check_stage(quantized, Quantized, "debug", "quantize")
    images = check_images(images, "images", least=1, size=quantized.integers.size)
    folded, origin = quantized.folded, quantized.folded.origin
    layers = float_layers(folded.layers)
    modules = list(folded.layers.modules())
    names, ends = dict(zip(modules, origin.names, strict=True)), dict(zip(modules, origin.ends, strict=True))
    shown = [layer.module for layer in _flat(layers) if not isinstance(layer.module, nn.MaxPool2d)]
    powers = {module: np.zeros(4) for module in shown}  # signal and noise of folding, then of rounding
    for start in range(0, min(len(images), DEBUG_IMAGES), _BATCH):
        part = images[start : min(start + _BATCH, DEBUG_IMAGES)]
        exact, floats, rounded = (
            _traced(quantized, part),
            _folded(quantized, layers, part),
            _rounded(quantized, layers, part),
        )
        for module in shown:
            end = ends[module]
            folding = _powers(exact[end], floats[module]) if end in exact else (0.0, 0.0)
            powers[module] += (*folding, *_powers(floats[module], rounded[module]))
    found = []
    for module in shown:
        signal, noise, *rounding = powers[module]
        found.append(Signal(names[module] or "logits", _db(signal, noise) if signal else None, _db(*rounding)))
    return Signals(tuple(found))


@torch.inference_mode()
def _traced(quantized: Quantized, images: npt.NDArray[np.uint8]) -> dict[nn.Module | None, npt.NDArray[np.float32]]:
    """The output of each module of the network as traced."""
    outputs: dict[nn.Module | None, npt.NDArray[np.float32]] = {}

    def see(module: nn.Module, inputs: object, output: Tensor) -> None:
        outputs[module] = output.numpy()

    traced = quantized.folded.origin.traced
    hooks = [module.register_forward_hook(see) for module in traced.modules()]
    traced(pixels_to_input(torch.tensor(images)))
    for hook in hooks:
        hook.remove()
    return outputs


@torch.inference_mode()
def _folded(quantized: Quantized, layers: Sequence[FloatLayer], images: npt.NDArray[np.uint8]) -> Outputs:
    """The output of each layer of the folded network, behind its activation."""
    outputs: Outputs = {}

    def see(layer: FloatLayer, values: Tensor) -> None:
        outputs[layer.module] = values.numpy()

    shift = Shift(quantized.integers.pixels.zero_point)
    run(layers, shift(pixels_to_input(torch.tensor(images))), see)
    return outputs


def _rounded(quantized: Quantized, layers: Sequence[FloatLayer], images: npt.NDArray[np.uint8]) -> Outputs:
    """The output of each layer of the integer network, as real numbers."""
    outputs: Outputs = {}

    def chain(
        floats: Sequence[FloatLayer], integers: Sequence[Layer], codes: Codes, given: Quantization
    ) -> tuple[Codes, Quantization]:
        for layer, integer in zip(floats, integers, strict=True):
            if isinstance(integer, Residual):
                ways = [
                    chain(branch, parts, codes, given)
                    for branch, parts in ((layer.layers, integer.layers), (layer.shortcut, integer.shortcut))
                ]
                codes, given = integer.total(*ways), integer.output
            else:
                codes, given = integer(codes, given)
            reals = (codes.astype(np.float32) - given.zero_point) * given.scale
            outputs[layer.module] = reals.transpose(0, 3, 1, 2)
        return codes, given

    network = quantized.integers
    chain(layers[:-1], network.layers[:-1], images, network.pixels)
    outputs[layers[-1].module] = quantized(images)
    return outputs


def _flat(layers: Sequence[FloatLayer]) -> list[FloatLayer]:
    """The layers in the order they run, those inside a residual before it."""
    found: list[FloatLayer] = []
    for layer in layers:
        found += [*_flat(layer.layers), *_flat(layer.shortcut), layer]
    return found


def _powers(wanted: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Power of the signal, and of what is found besides."""
    difference = wanted.reshape(len(wanted), -1).astype(np.float64) - found.reshape(len(found), -1)
    return float(np.square(wanted, dtype=np.float64).sum()), float(np.square(difference).sum())


def _db(signal: float, noise: float) -> float:
    if noise == 0:
        return float("inf")
    return 10 * float(np.log10(signal / noise)) if signal else float("-inf")


def _shown(decibels: float | None) -> str:
    return "" if decibels is None else "exact" if decibels > 120 else f"{decibels:.1f} dB"
