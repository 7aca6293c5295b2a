r"""Fits what the work of layers takes in instructions, for `cifar_edge/c/estimate.py`, to counts of drawn networks.

    python -m benchmarks.microcontrollers.estimate

Draws networks of convolutions, depthwise pairs and residuals, counts their instructions as
`benchmarks.microcontrollers` does, which says what that needs, and writes drawn.csv. Prints the fitted numbers, and how
far estimates are off: for each drawn network by a fit to the others, and for the released networks, to which nothing is
fitted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from benchmarks import results_file
from benchmarks.microcontrollers import __main__ as counts
from benchmarks.microcontrollers.processors import PROCESSORS
from cifar_edge.c.estimate import PROCESSORS as ESTIMATED
from cifar_edge.c.estimate import work
from cifar_edge.c.plan import Plan, plan
from cifar_edge.integer import (
    PIXELS,
    AveragePool,
    Conv,
    IntegerNetwork,
    Layer,
    Linear,
    Quantization,
    Residual,
    exact_scales,
)

DRAWN = Path(__file__).with_name("drawn.csv")
NETWORKS = 24
_OUTPUT = Quantization(np.float32(1 / 32))


@dataclass(frozen=True)
class Line:
    """A drawn network on a processor.

    Attributes:
        seed: which network.
        instructions: of one image.
    """

    seed: int
    processor: str
    instructions: int


@click.command()
def main() -> None:
    """Count, fit and say how far estimates are off."""
    results_file.write(DRAWN, Line, _counted())
    lines = results_file.read(DRAWN, Line)
    for processor in ESTIMATED:
        numbers = ", ".join(f"{each:.3g}" for each in fitted(lines, processor))
        click.echo(f'"{processor}": ({numbers}),')
        click.echo(f"  drawn networks, left out: at most {max(map(abs, left_out(lines, processor))):.1%}")
        click.echo(f"  {released(counts.MODELS, lines, processor)}")


def fitted(lines: Sequence[Line], processor: str, without: int | None = None) -> npt.NDArray[np.float64]:
    """Instructions for each unit of work on ``processor``: least squares of relative errors, ``without`` one seed."""
    of = [line for line in lines if line.processor == processor and line.seed != without]
    relative = np.array([_work(line.seed, processor) / line.instructions for line in of])
    solution: npt.NDArray[np.float64] = np.linalg.lstsq(relative, np.ones(len(of)), rcond=None)[0]
    return solution


def left_out(lines: Sequence[Line], processor: str) -> list[float]:
    """The relative error for each drawn network by a fit to the others."""
    return [
        float(_work(line.seed, processor) @ fitted(lines, processor, line.seed)) / line.instructions - 1
        for line in lines
        if line.processor == processor
    ]


def released(models: Sequence[str], lines: Sequence[Line], processor: str) -> Mapping[str, str]:
    """The relative errors for released networks, in percent, by a fit to the drawn ones."""
    before = results_file.read(counts.RESULTS, counts.Line)
    counted = {line.model: line.instructions for line in before if line.processor == processor}
    costs = fitted(lines, processor)
    works = {name: work(plan(counts.network_called(name)), processor) for name in models}
    return {name: f"{each @ costs / counted[name] - 1:+.1%}" for name, each in works.items()}


def _counted() -> Iterator[Line]:
    processors = [each for each in PROCESSORS if each.name in ESTIMATED]
    for seed in range(NETWORKS):
        for line in counts.measured(f"drawn-{seed}", drawn(seed), processors):
            yield Line(seed, line.processor, line.instructions)
        click.echo(f"{seed + 1} of {NETWORKS}", err=True)


@cache
def _work(seed: int, processor: str) -> npt.NDArray[np.float64]:
    return work(_plan(seed), processor)


@cache
def _plan(seed: int) -> Plan:
    return plan(drawn(seed))


def drawn(seed: int) -> IntegerNetwork:
    """A network of a stem and two to five blocks, with drawn weights."""
    draw = np.random.default_rng(seed)
    channels = int(draw.choice([8, 16, 24, 32]))
    kernel, side = int(draw.choice([3, 4])), 16 if seed % 3 else 32
    layers: list[Layer] = [_conv(draw, 3, channels, kernel, 2 if seed % 3 else 1, given=PIXELS)]
    for _ in range(int(draw.integers(2, 6))):
        kind = str(draw.choice(["full", "separable", "residual", "pointwise"]))
        stride = 2 if side > 8 and draw.random() < 0.5 else 1
        wider = int(draw.choice([16, 32, 48, 64, 96])) if side <= 16 else int(draw.choice([8, 16, 32]))
        kernel = int(draw.choice([3, 3, 5]))
        if kind in ("residual", "pointwise"):
            stride = 1
        if kind == "residual":
            branch = _conv(draw, channels, channels, kernel, groups=channels), _conv(draw, channels, channels, 1)
            layers.append(Residual(branch, (), _OUTPUT))
            continue
        if kind == "full":
            layers.append(_conv(draw, channels, wider, 3, stride))
        elif kind == "separable":
            layers.append(_conv(draw, channels, channels, kernel, stride, groups=channels))
            layers.append(_conv(draw, channels, wider, 1))
        else:
            layers.append(_conv(draw, channels, wider, 1))
        channels, side = wider, side // stride
    head = Linear(draw.integers(-127, 128, (10, channels), np.int8), None, np.zeros(10, np.int32), None)
    return IntegerNetwork(32, (*layers, AveragePool(_OUTPUT), head), np.float32(1e-4))


def _conv(
    draw: np.random.Generator,
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    given: Quantization = _OUTPUT,
) -> Conv:
    weights = draw.integers(-127, 128, (outputs, inputs // groups, kernel, kernel), np.int8)
    scales = np.full(outputs, 0.3 / (127 * np.sqrt(weights[0].size)), np.float32)
    scales = exact_scales(scales, lambda each: given.scale * each / _OUTPUT.scale, _OUTPUT)
    bias = draw.integers(0, 4000, outputs, np.int32)
    padding = (1 if kernel == 4 else kernel // 2,) * 4
    return Conv(weights, scales, bias, (stride, stride), padding, groups, _OUTPUT)


if __name__ == "__main__":
    main()
