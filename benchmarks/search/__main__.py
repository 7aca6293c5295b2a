"""The architecture search: latencies of untrained networks first, then short trainings of those that are fast enough.

    python -m benchmarks.search latency c32k4s2,n32,n40s2,n40 c24k4s2,n24,n24,n48s2,d,p64
    python -m benchmarks.search accuracy c32k4s2,n32,n40s2,n40 --set epochs=16
    python -m benchmarks.search instructions
    python -m benchmarks.search plot

space.py says how a network is written. Each training is one line of benchmarks/search/results.csv, added when it is
finished; a training that has a line is not repeated. docs/search.md has the conclusions.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.search import results as search_results
from benchmarks.search import space as search_space
from benchmarks.search.results import Training
from cifar_edge.cli.loading import data_options, load
from cifar_edge.data import load_dataset
from cifar_edge.data.dataset import Dataset
from cifar_edge.errors import CifarEdgeError
from cifar_edge.export.integers import quantize
from cifar_edge.export.targets.onnx_graph import integer_graph
from cifar_edge.files import replacing
from cifar_edge.folding.gn_cnn import unfitted
from cifar_edge.measure.processor import cpuinfo, int8_instructions
from cifar_edge.measure.timing import machine, session_run, time_singles
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.resolve import resolve_run
from cifar_edge.training.checkpoint import load_network
from cifar_edge.training.loop import Epoch, fit, logits_of
from cifar_edge.training.machine import DEVICES, choose_device, resolve_precision
from cifar_edge.training.run import training_images
from cifar_edge.training.teacher import Teacher

PLOT = Path(__file__).parents[2] / "docs" / "search.png"
HOLDOUT = 5_000
PROXY = Recipe(epochs=16)
ROUNDS = 50
_RESNET8 = "ResNet-8"


class Commands(click.Group):
    """Prints errors in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CifarEdgeError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands)
def main() -> None:
    """Search for networks that are more accurate at the latency of the released gn-cnn, or faster at its accuracy."""


@main.command()
@click.argument("specs", nargs=-1)
@click.option("--resnet8", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="As in benchmarks.peers.")
@click.option("--rounds", type=click.IntRange(min=1), default=ROUNDS, show_default=True)
def latency(specs: tuple[str, ...], resnet8: Path | None, rounds: int) -> None:
    """Time the int8 graphs of SPECS, or of all networks in the CSV file, in alternation; latencies go there.

    They go into the column of the kind of processor that this is.
    """
    wanted = [search_space.canonical(spec) for spec in specs] or [row.spec for row in search_results.read()]
    seconds = time_candidates(list(dict.fromkeys([search_results.REFERENCE, *wanted])), resnet8, rounds)
    peer = seconds.pop(_RESNET8, None)
    to_reference = {spec: round(time / seconds[search_results.REFERENCE], 3) for spec, time in seconds.items()}
    to_resnet8 = {spec: round(time / peer, 3) for spec, time in seconds.items()} if peer else {}
    if has_vnni():
        search_results.set_ratios({"latency_ratio": to_reference, "latency_ratio_resnet8": to_resnet8})
    else:
        search_results.set_ratios({"latency_ratio_avx2": to_reference})
    click.echo(f"{machine()}, onnxruntime {onnxruntime.__version__}, one thread, batch 1, median", err=True)
    click.echo(f"{'us':>6} {'ratio':>6} {_RESNET8:>8} {'MACs':>7} {'parameters':>10} {'RAM':>8}  spec")
    for spec, time in sorted(seconds.items(), key=lambda item: item[1]):
        costs = search_space.costs(spec)
        ratios = f"{to_reference[spec]:6.3f} {to_resnet8.get(spec, '-'):>8}"
        sizes = f"{costs.macs / 1e6:6.2f}M {costs.parameters:>10,} {costs.activation_bytes / 1000:5.1f} kB"
        click.echo(f"{time * 1e6:6.1f} {ratios} {sizes}  {spec}")


def has_vnni() -> bool:
    """Whether this processor computes int8 by VNNI; onnxruntime's kernels, and so the ratios, are others without."""
    instructions = int8_instructions(cpuinfo()) or {}
    return instructions.get("AVX-512 VNNI", False) or instructions.get("AVX-VNNI", False)


def time_candidates(specs: Sequence[str], resnet8: Path | None, rounds: int) -> dict[str, float]:
    """Median seconds for one image, by spec, and of ResNet-8 if its file is given.

    Raises:
        ModelError: a spec is not a network, or the file is not ResNet-8.
    """
    images = load_dataset("sample").train_images
    calls: dict[str, Callable[[], object]] = {
        spec: session_run(_session(int8_model(spec, images[:64])), images[:1]) for spec in specs
    }
    if resnet8:
        from benchmarks.peers.resnet8 import resnet8 as peer

        calls[_RESNET8] = partial(peer(resnet8).start(), images[:1])
    return {name: median(seconds) for name, seconds in time_singles(calls, rounds).items()}


def int8_model(spec: str, images: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """The int8 graph of an untrained network, which is as fast as a trained one."""
    torch.manual_seed(0)
    network = unfitted(search_space.candidate(spec)).eval().requires_grad_(False)
    content: bytes = integer_graph(quantize(network.layers, images, fit=False)).SerializeToString()
    return content


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@main.command()
@click.argument("specs", nargs=-1)
def instructions(specs: tuple[str, ...]) -> None:
    """Count the instructions of SPECS, or of all networks in the CSV file, for AVX2 alone; ratios go there."""
    from benchmarks.search.instructions import count

    wanted = [search_space.canonical(spec) for spec in specs] or [row.spec for row in search_results.read()]
    images = load_dataset("sample").train_images[:64]
    counts = count({spec: int8_model(spec, images) for spec in dict.fromkeys([search_results.REFERENCE, *wanted])})
    ratios = {spec: round(found / counts[search_results.REFERENCE], 3) for spec, found in counts.items()}
    search_results.set_ratios({"instructions_ratio_avx2": ratios})
    for spec, found in sorted(counts.items(), key=lambda item: item[1]):
        click.echo(f"{found / 1e6:6.3f}M {ratios[spec]:6.3f}  {spec}")


@main.command()
@click.argument("specs", nargs=-1, required=True)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one key of the recipe; repeatable.")
@click.option("--group-size", type=click.IntRange(min=1), default=search_space.GROUP_SIZE, show_default=True)
@click.option(
    "--holdout-seed", type=int, help="Seed that draws the validation images, such as those that a teacher never saw."
)
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@data_options
def accuracy(
    specs: tuple[str, ...],
    settings: tuple[str, ...],
    group_size: int,
    holdout_seed: int | None,
    device: str,
    data: str | None,
    offline: bool,
) -> None:
    """Train SPECS on all but 5,000 training images; the accuracy on these validation images goes to the CSV file.

    Trainings have sixteen epochs by default. A teacher is a run, --set teacher=runs/NAME, or a list of runs.
    """
    where = choose_device(device)
    recipe = search_results.recipe_of(settings, PROXY.with_values(holdout=HOLDOUT))
    recipe = resolve_precision(recipe, where)
    teachers = [load_network(resolve_run(name).path) for name in recipe.teachers]
    taught_by = " ".join(teacher.name for teacher in teachers)
    trainings = [
        Training.of(search_space.canonical(spec), group_size, recipe, taught_by, holdout_seed) for spec in specs
    ]
    for training in trainings:
        search_space.candidate(training.spec, group_size)  # a bad one is an error before the first is trained
    images, labels, validation = _split(load(data, offline), holdout_seed, where)
    for training in trainings:
        if training in {row.training for row in search_results.read()}:
            click.echo(f"{training.spec} is in {search_results.RESULTS.name} already", err=True)
            continue
        torch.manual_seed(recipe.seed)
        network = search_space.candidate(training.spec, group_size).to(where)
        ema = fit(
            network,
            images,
            labels,
            recipe,
            teacher=Teacher([teacher.network.to(where) for teacher in teachers], recipe) if teachers else None,
            after_epoch=partial(_print_epoch, validation, recipe.epochs),
        )
        accuracies = (_accuracy(ema, *validation), _accuracy(ema, images, labels))
        device_name = torch.cuda.get_device_name() if where.type == "cuda" else "cpu"
        row = search_results.append(training, accuracies, device_name)
        click.echo(f"validation {row.held_out_accuracy:.2%}  training {row.train_accuracy:.2%}  {row.spec}")


def _split(
    dataset: Dataset, holdout_seed: int | None, device: torch.device
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Images and labels to train on, and the validation images with theirs."""
    images, labels, validation = training_images(dataset, 0 if holdout_seed is not None else HOLDOUT, device)
    if validation is None:
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(holdout_seed or 0)).to(device)
        out, kept = order[:HOLDOUT], order[HOLDOUT:]
        images, labels, validation = images[kept], labels[kept], (images[out], labels[out])
    return images, labels, validation


def _print_epoch(validation: tuple[Tensor, Tensor], epochs: int, epoch: Epoch, ema: nn.Module) -> None:
    accuracy = _accuracy(ema, *validation)
    click.echo(f"{epoch.number}/{epochs}  loss {epoch.loss:.3f}  validation {accuracy:.2%}", err=True)


def _accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return (logits_of(network, images).argmax(1) == labels).double().mean().item()


@main.command()
def plot() -> None:
    """Draw all rows of the CSV file, the released networks and published ones into docs/search.png."""
    from benchmarks.search.others import published, released_networks
    from benchmarks.search.plot import draw

    with replacing(PLOT) as temporary:
        draw(search_results.read(), released_networks(), published()).savefig(temporary, dpi=120)
    click.echo(PLOT)


if __name__ == "__main__":
    sys.exit(main())
