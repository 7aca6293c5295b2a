"""Whether a model answers the same on another processor: its logits there are compared with those here.

    python -m benchmarks.processors --data cifar10.npz -- qemu-x86_64 -cpu Haswell .venv/bin/python

What follows the `--` starts a Python with numpy and onnxruntime on the other processor, here an emulated one without
VNNI. docs/int8.md says what came out, and how to do it for ARM64. The exit code is 1 if an image changes its class.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from cifar_edge.cli.loading import data_options, load
from cifar_edge.runs.resolve import resolve_model

SCRIPT = Path(__file__).with_name("answer.py")


@click.command()
@click.option("--model", default="gn-cnn", show_default=True, help="As for cifar-edge predict.")
@click.option("--images", "count", default=1000, show_default=True, type=click.IntRange(1), help="Test images.")
@data_options
@click.argument("python", nargs=-1, required=True)
def main(model: str, count: int, data: str | None, offline: bool, python: tuple[str, ...]) -> None:
    """Compare, and print what is equal."""
    images = load(data, offline).test_images[:count]
    path = resolve_model(model).path
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "images.npy"), images)
        here, there = (_logits(command, path, Path(folder)) for command in ((sys.executable,), python))
    same = int(np.count_nonzero(here.argmax(1) == there.argmax(1)))
    equal = int(np.count_nonzero((here == there).all(1)))
    click.echo(
        f"{path.name} by {' '.join(python)}: of {len(images)} images {same} keep their class, {equal} all their "
        f"logits, which differ by up to {np.abs(here - there).max():.3g}"
    )
    sys.exit(same < len(images))


def _logits(python: tuple[str, ...], model: Path, folder: Path) -> npt.NDArray[np.float32]:
    files = [model, folder / "images.npy", folder / "logits.npy"]
    subprocess.run([*python, SCRIPT, *files], check=True)
    return np.asarray(np.load(files[-1]))


if __name__ == "__main__":
    main()
