"""A trained network in every runtime there is for it, and MLPerf Tiny's ResNet-8: accuracy, size and speed.

    pip install -c constraints.txt '.[train,bench]'
    python -m benchmarks.peers --resnet8 pretrainedResnet_quant.tflite

MODEL is a released model or a run, exported in both precisions; without it the released gn-cnn. torch.compile needs a
C++ compiler. pretrainedResnet_quant.tflite is in the repository mlcommons/tiny, in the folder
benchmark/training/image_classification/trained_models; its SHA-256 is
3c002613d1b2475eb51dd78dfb85a546c8ae658dee71cf6ade43b022fe205415.

Every peer takes the same pixels, uint8 NHWC, and answers with logits; that is what is timed, its own conversions
included. All take turns within one run: latency of one image with one thread, then throughput of batches of 64 with
two. Accuracy is that of the very function whose latency is measured, on all test images, one at a time.

Prints the table of docs/peers.md, writes benchmarks/peers/results.csv and docs/peers.png.
"""

import logging
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import get_args

import click
import numpy as np
import numpy.typing as npt

from benchmarks import results_file
from benchmarks.peers.report import Result, plot, table
from benchmarks.peers.runtimes import Classify, Peer, Pixels, ours, ours_in_openvino, pytorch, resnet8, usual_tools
from cifar_edge.cli.loading import data_options, load
from cifar_edge.data import Dataset
from cifar_edge.errors import CifarEdgeError, ModelError
from cifar_edge.files import replacing
from cifar_edge.measure.metrics import accuracy
from cifar_edge.measure.timing import LARGE_BATCH, Latency, machine, time_batches, time_singles
from cifar_edge.runs.resolve import DEFAULT_MODEL, precisions_beside, resolve_model, resolve_run
from cifar_edge.spec import Precision
from cifar_edge.training.checkpoint import load_network

RESULTS = Path(__file__).with_name("results.csv")
PLOT = Path(__file__).parents[2] / "docs" / "peers.png"
THREADS = 2
"""Of the throughput; latency is measured with one."""
ROUNDS = 100


@click.command()
@click.argument("model", default=DEFAULT_MODEL)
@click.option("--resnet8", "resnet8_file", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@data_options
def main(model: str, resnet8_file: Path, data: str | None, offline: bool) -> None:
    """Measure all peers, print the table, write the CSV file and the plot."""
    try:
        results = run(model, resnet8_file, load(data, offline))
    except CifarEdgeError as error:
        raise click.ClickException(str(error)) from error
    results_file.write(RESULTS, Result, results)
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
        peers = [
            *pytorch(trained),
            *usual_tools(trained, dataset.train_images, Path(folder)),
            resnet8(resnet8_file),
            ours_in_openvino(files[-1], trained),
            *(ours(file, trained) for file in files),
        ]
        return measure(peers, dataset)


def measure(peers: Sequence[Peer], dataset: Dataset) -> list[Result]:
    """Measure ``peers`` side by side; the last one is our int8 file, which the others are compared with.

    Raises:
        ModelError: a peer answers otherwise in batches than one image at a time, so that its throughput means nothing.
    """
    images, labels = dataset.test_images, dataset.test_labels
    singles = {peer.name: peer.start(1, 1) for peer in peers}
    classes = {name: _classes(classify, images) for name, classify in singles.items()}
    latencies = {
        name: Latency.of(seconds)
        for name, seconds in time_singles(
            {name: partial(classify, images[:1]) for name, classify in singles.items()}, ROUNDS
        ).items()
    }
    batch = images[:LARGE_BATCH]
    batches = {peer.name: peer.start(THREADS, LARGE_BATCH) for peer in peers}
    for name, classify in batches.items():
        # Not exactly: quantize_dynamic scales activations by the extremes of the whole batch.
        if np.mean(classify(batch).argmax(axis=1) == classes[name][:LARGE_BATCH]) < 0.9:
            raise ModelError(f"{name} answers otherwise in a batch of {LARGE_BATCH}")
    throughput = time_batches({name: partial(classify, batch) for name, classify in batches.items()}, ROUNDS)
    results = []
    for peer in peers:
        right = accuracy(int(np.count_nonzero(classes[peer.name] == labels)), len(labels))
        latency = latencies[peer.name]
        results.append(
            Result(
                name=peer.name,
                network=peer.network.name,
                runtime=peer.runtime,
                precision=peer.precision,
                parameters=peer.network.parameters,
                macs=peer.network.macs,
                size=peer.size,
                accuracy=right.value,
                accuracy_low=round(right.low, 4),
                accuracy_high=round(right.high, 4),
                images=right.images,
                p50_us=round(latency.p50_seconds * 1e6, 1),
                p99_us=round(latency.p99_seconds * 1e6, 1),
                ratio=round(latency.p50_seconds / latencies[peers[-1].name].p50_seconds, 2),
                images_per_second=round(LARGE_BATCH / median(throughput[peer.name])),
                machine=machine(),
            )
        )
    return results


def _classes(classify: Classify, images: Pixels) -> npt.NDArray[np.intp]:
    return np.array([classify(images[index : index + 1]).argmax() for index in range(len(images))])


if __name__ == "__main__":
    main()
