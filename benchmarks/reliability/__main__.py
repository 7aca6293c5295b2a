"""What `cifar-edge predict` does with pictures and models that are damaged, on purpose and at random.

    python -m benchmarks.reliability [--inputs N] [--models N] [--seed S]

Pictures in every format and mode that Pillow writes, and N damaged ones made of them, go through the command itself,
with 4 GiB of address space a process; N damaged models through `Classifier`. Every input must be classified or refused
with one line. Prints a table and writes benchmarks/reliability/results.csv; an input that crashes a process is kept as
crash-*.bin in the current folder. docs/reliability.md has the figures.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import PIL

from benchmarks import results_file
from benchmarks.reliability.corpus import Sample, damaged, originals
from benchmarks.reliability.run import MODELS, PICTURES, run
from cifar_edge.files import released

RESULTS = Path(__file__).with_name("results.csv")


@dataclass(frozen=True)
class Result:
    """What became of the inputs of one kind.

    Attributes:
        kind: what was done to them.
        inputs: how many there were.
        classified: those with an answer.
        refused: those with an error of one line.
        crashes: those at which a process ended before its time, or ran out of it.
        noise: lines printed besides.
        slowest_seconds: the longest wait between two answers.
        peak_mib: the most physical memory that a process held.
    """

    kind: str
    inputs: int
    classified: int
    refused: int
    crashes: int
    noise: int
    slowest_seconds: float
    peak_mib: int


def result(kind: str, program: list[str], contents: list[bytes]) -> Result:
    """Run ``contents``; keep what crashes."""
    outcome = run(program, contents)
    for number, content in enumerate(outcome.crashed):
        Path(f"crash-{kind.replace(' ', '-')}-{number}.bin").write_bytes(content)
    for line in outcome.noise[:5]:
        print(f"  printed: {line}")
    return Result(
        kind=kind,
        inputs=outcome.inputs,
        classified=outcome.classified,
        refused=outcome.refused,
        crashes=len(outcome.crashed),
        noise=len(outcome.noise),
        slowest_seconds=round(outcome.slowest_seconds, 2),
        peak_mib=outcome.peak_bytes >> 20,
    )


def by_kind(samples: Iterable[Sample]) -> dict[str, list[bytes]]:
    """The contents of ``samples``, by what was done to them."""
    groups: dict[str, list[bytes]] = defaultdict(list)
    for sample in samples:
        groups[sample.kind].append(sample.content)
    return groups


def main() -> None:
    """Run, print, and write the CSV."""
    parser = argparse.ArgumentParser("python -m benchmarks.reliability", description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--models", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    pictures = originals()
    models = [
        Sample("model", "ONNX", released(f"export/{name}.onnx").read_bytes())
        for name in ("gn-cnn/gn-cnn.int8", "gn-cnn/gn-cnn.fp32", "s8-group/s8-group.int8")
    ]
    print(f"Pillow {PIL.__version__}, {len({sample.form for sample in pictures})} formats, seed {arguments.seed}\n")
    print("kind                         inputs  answered  refused  crashes  noise   slowest      peak")
    results = []
    groups = [(PICTURES, kind, contents) for kind, contents in by_kind(pictures).items()]
    groups += [(PICTURES, *group) for group in by_kind(damaged(pictures, arguments.inputs, arguments.seed)).items()]
    groups += [
        (MODELS, f"model: {kind}", contents)
        for kind, contents in by_kind(damaged(models, arguments.models, arguments.seed)).items()
    ]
    for program, kind, contents in groups:
        row = result(kind, program, contents)
        results.append(row)
        print(
            f"{row.kind:<27} {row.inputs:>7,} {row.classified:>9,} {row.refused:>8,} {row.crashes:>8,} {row.noise:>6,} "
            f"{row.slowest_seconds:>7.2f} s {row.peak_mib:>5,} MiB",
            flush=True,
        )
    results_file.write(RESULTS, Result, results)


if __name__ == "__main__":
    main()
