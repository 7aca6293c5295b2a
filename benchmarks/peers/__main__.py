"""A trained network in every runtime there is for it, and MLPerf Tiny's ResNet-8: accuracy, size and speed.

    pip install -c constraints.txt '.[train,peers]'
    python -m benchmarks.peers --resnet8 pretrainedResnet_quant.tflite

MODEL is a released model or a run, exported in both precisions; without it the released gn-cnn. torch.compile needs a
C++ compiler, and our C a C compiler. A peer that cannot run here is left out, and named with the reason.
pretrainedResnet_quant.tflite is in the repository mlcommons/tiny, in the folder
benchmark/training/image_classification/trained_models; its SHA-256 is
3c002613d1b2475eb51dd78dfb85a546c8ae658dee71cf6ade43b022fe205415.

Every peer takes the same pixels, uint8 NHWC, and answers with logits; that is what is timed, its own conversions
included. All take turns within one run, one image at a time, another one each time, with one thread. Accuracy is that
of the very function whose latency is measured, on all test images.

Prints the table of docs/peers.md, writes benchmarks/peers/results.csv and docs/peers.png. The table of processors with
AVX2 alone is made by

    python -m benchmarks.processors.avx2 python -m benchmarks.peers --resnet8 FILE --results benchmarks/peers/avx2.csv
"""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import get_args

import click
import numpy as np
import numpy.typing as npt

from benchmarks import results_file
from benchmarks.peers.desktop import compiled, eager, in_onnxruntime, in_openvino, usual_tools
from benchmarks.peers.devices import in_executorch, in_mnn, in_ncnn
from benchmarks.peers.ours import exported_network, in_c, in_litert, in_our_runtime, ours_in_openvino
from benchmarks.peers.peer import Classify, Logits, Peer, Pixels
from benchmarks.peers.report import Result, plot, table
from benchmarks.peers.resnet8 import resnet8
from cifar_edge.cli.loading import data_options, load
from cifar_edge.data import Dataset
from cifar_edge.errors import CannotRun, CifarEdgeError, MissingExtra, ModelError
from cifar_edge.files import replacing
from cifar_edge.measure.metrics import accuracy
from cifar_edge.measure.timing import machine, time_singles
from cifar_edge.runs.resolve import DEFAULT_MODEL, precisions_beside, resolve_model, resolve_run
from cifar_edge.spec import Precision
from cifar_edge.training.checkpoint import TrainedNetwork, load_network

RESULTS = Path(__file__).with_name("results.csv")
PLOT = Path(__file__).parents[2] / "docs" / "peers.png"
ROUNDS = 100
TIMED_IMAGES = 1_000
"""One image again and again would let the processor predict every branch."""


@click.command()
@click.argument("model", default=DEFAULT_MODEL)
@click.option("--resnet8", "resnet8_file", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--results", "results_csv", type=click.Path(dir_okay=False, path_type=Path), help="Without a plot.")
@data_options
def main(model: str, resnet8_file: Path, results_csv: Path | None, data: str | None, offline: bool) -> None:
    """Measure all peers, print the table, write the CSV file and the plot."""
    try:
        results = run(model, resnet8_file, load(data, offline))
    except CifarEdgeError as error:
        raise click.ClickException(str(error)) from error
    results_file.write(results_csv or RESULTS, Result, results)
    if results_csv is None:
        with replacing(PLOT) as temporary:
            plot(results).savefig(temporary, dpi=120)
    click.echo(table(results))


def run(model: str, resnet8_file: Path, dataset: Dataset) -> list[Result]:
    """Make all peers, and measure them.

    Raises:
        CifarEdgeError: ``model`` is not there or not exported in both precisions, or a peer cannot run.
    """
    logging.disable(logging.WARNING)  # the quantizers' advice to preprocess: here they run as they are
    trained = load_network(resolve_run(model).path)
    files = precisions_beside(resolve_model(model).path)
    if len(files) != len(get_args(Precision)):
        raise ModelError(
            f"{model} is not exported in both precisions; run `cifar-edge export {model} --quantize` first"
        )
    with tempfile.TemporaryDirectory() as folder:
        return measure(list(_found(_peers(trained, files, resnet8_file, dataset, Path(folder)))), dataset)


def _peers(
    trained: TrainedNetwork, files: Sequence[Path], resnet8_file: Path, dataset: Dataset, folder: Path
) -> Iterator[Callable[[], Peer]]:
    """What makes each peer, our int8 file last."""
    images, int8 = dataset.train_images, files[-1]
    yield from (partial(make, trained) for make in (eager, compiled))
    tools = usual_tools(trained, images, folder)
    yield from (partial(in_onnxruntime, file) for file in tools)
    yield from (partial(in_openvino, file) for file in tools if file.compared)
    yield partial(resnet8, resnet8_file)
    if trained.folded is not None:
        name = f"{trained.name}, folded"
        yield partial(in_mnn, trained.folded, name, folder)
        yield partial(in_executorch, trained.folded, name, images)
    yield partial(in_ncnn, int8, exported_network(int8, trained))
    yield from (partial(of, int8, trained) for of in (ours_in_openvino, in_litert, in_c))
    yield from (partial(in_our_runtime, file, trained) for file in files)


def _found(makers: Iterable[Callable[[], Peer]]) -> Iterator[Peer]:
    """The peers that can run here; the others are named on stderr."""
    for make in makers:
        try:
            yield make()
        except (ModuleNotFoundError, MissingExtra, CannotRun) as error:
            click.echo(f"left out: {error}", err=True)


def measure(peers: Sequence[Peer], dataset: Dataset) -> list[Result]:
    """Measure ``peers`` side by side; the last one is our int8 file, which the others are compared with."""
    images, labels = dataset.test_images, dataset.test_labels
    started = {peer.name: peer.start() for peer in peers}
    timed = images[:TIMED_IMAGES]
    seconds = time_singles({name: _one_by_one(classify, timed) for name, classify in started.items()}, ROUNDS)
    p50 = {name: median(found) for name, found in seconds.items()}
    results = []
    for peer in peers:
        right = int(np.count_nonzero(_classes(started[peer.name], images) == labels))
        share = accuracy(right, len(labels))
        results.append(
            Result(
                name=peer.name,
                network=peer.network.name,
                runtime=peer.runtime,
                precision=peer.precision,
                parameters=peer.network.parameters,
                macs=peer.network.macs,
                size=peer.size,
                accuracy=share.value,
                accuracy_low=round(share.low, 4),
                accuracy_high=round(share.high, 4),
                images=share.images,
                p50_us=round(p50[peer.name] * 1e6, 1),
                ratio=round(p50[peer.name] / p50[peers[-1].name], 2),
                machine=machine(),
            )
        )
    return results


def _one_by_one(classify: Classify, images: Pixels) -> Callable[[], Logits]:
    """A call that classifies the next one of ``images``, again and again."""
    turns = cycle([images[index : index + 1] for index in range(len(images))])
    return lambda: classify(next(turns))


def _classes(classify: Classify, images: Pixels) -> npt.NDArray[np.intp]:
    return np.array([classify(images[index : index + 1]).argmax() for index in range(len(images))])


if __name__ == "__main__":
    main()
