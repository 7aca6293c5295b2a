"""Which other runtimes load an int8 file as `cifar-edge export` writes it, and with a float head; and do they agree?

    cifar-edge export gn-cnn --quantize --target onnx-float-head --out float-head
    pip install opencv-python-headless openvino tract emx-onnx-cgen pnnx
    python -m benchmarks.runtimes float-head/gn-cnn.int8.onnx float-head/gn-cnn.float-head.onnx

Each runtime that is installed gets each file and the test images of the embedded sample, and is compared with
onnxruntime on the first file. emx-onnx-cgen writes C, which needs a C compiler. pnnx writes files for ncnn; layers that
ncnn does not have are counted. Prints the table of docs/deploy.md and writes benchmarks/runtimes/results.csv.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
import numpy as np

from benchmarks import results_file
from benchmarks.runtimes.runtimes import RUNTIMES, Refused
from cifar_edge.data import load_dataset
from cifar_edge.runtime.model import load, run

RESULTS = Path(__file__).with_name("results.csv")


@dataclass(frozen=True)
class Result:
    """What a runtime made of a file.

    Attributes:
        runtime: its name and version.
        file: name of the file.
        outcome: ``equal`` (every logit, bit for bit), ``close``, or why there are no logits.
        images: number of images compared; 0 if there are no logits.
        changed: number of them that change class.
        difference: largest absolute difference of a logit.
    """

    runtime: str
    file: str
    outcome: str
    images: int = 0
    changed: int = 0
    difference: float = 0.0


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(files: tuple[Path, ...]) -> None:
    """Try FILES, the first of which is the reference, in every runtime that is installed."""
    results = [result for package in RUNTIMES for result in tried(package, files)]
    results_file.write(RESULTS, Result, results)
    click.echo(table(results))


def tried(package: str, files: Sequence[Path]) -> list[Result]:
    """The results of one runtime, by the name of its package."""
    images = load_dataset("sample").test_images
    wanted = run(load(files[0]).session, images)
    try:
        name = f"{package} {version(package)}"
    except PackageNotFoundError:
        return [Result(package, file.name, "untried: not installed") for file in files]
    results = []
    for file in files:
        try:
            logits = RUNTIMES[package](file, images)
        except Refused as error:
            results.append(Result(name, file.name, str(error)))
            continue
        changed = int(np.count_nonzero(logits.argmax(axis=1) != wanted.argmax(axis=1)))
        difference = float(np.abs(logits - wanted).max())
        outcome = "close" if difference else "equal"
        results.append(Result(name, file.name, outcome, len(images), changed, difference))
    return results


def table(results: Sequence[Result]) -> str:
    """The results in Markdown."""
    lines = ["| runtime | file | | classes that differ | logits differ by |", "|---|---|---|--:|--:|"]
    for each in results:
        figures = f"{each.changed} of {each.images} | {each.difference:.2g}" if each.images else "|"
        lines.append(f"| {each.runtime} | `{each.file}` | {each.outcome} | {figures} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
