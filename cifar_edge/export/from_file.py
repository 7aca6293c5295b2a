"""An exported int8 file, written in another format. Its integers are read from it, so no weights are needed."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_edge.errors import ExportError
from cifar_edge.export.targets import ALWAYS, Written, write_targets
from cifar_edge.export.targets.gate import GATE_IMAGES
from cifar_edge.files import make_folder, sync_folder, write_bytes
from cifar_edge.integer import IntegerNetwork
from cifar_edge.runtime.model import read_graph
from cifar_edge.spec import IMAGE_CHANNELS


def export_file(path: Path, out: Path, targets: Mapping[str, Any]) -> dict[str, Written]:
    """Write the integer network in the file at ``path`` for each of ``targets`` into the folder ``out``.

    The gate compares them on images that are made up, see `made_up_images`.

    Args:
        path: an int8 ``.onnx`` file of `cifar-edge export`.
        out: made if it is missing.
        targets: as `cifar_edge.export.targets.target_options` returns them.

    Raises:
        ModelError: there is no such file, or it is damaged.
        ContractError: it is not an integer network.
        ExportError: a target cannot write it, what it writes exists, or ``out`` cannot be written to.
        GateFailed: the files of a target give other logits; nothing is written.
    """
    network = IntegerNetwork.from_onnx(path)
    _, metadata = read_graph(path)
    images = made_up_images(network.size)
    written = write_targets(targets, network, metadata, images, network(images).argmax(axis=1))
    del written[ALWAYS]
    try:
        _write({name: content for target in written.values() for name, content in target.files.items()}, out)
    except OSError as error:
        raise ExportError(f"cannot write to {out}: {error.strerror or error}") from error
    return written


def made_up_images(size: int, count: int = GATE_IMAGES) -> npt.NDArray[np.uint8]:
    """Images from noise to smooth colours, always the same: uint8 ``[count, size, size, 3]``."""
    generator = np.random.default_rng(0)
    images = np.empty((count, size, size, IMAGE_CHANNELS), np.uint8)
    for index in range(count):
        block = 2 ** (index % 5)  # noise of one pixel, then of blocks of 2, 4, 8 and 16
        small = generator.integers(0, 256, (-(-size // block), -(-size // block), IMAGE_CHANNELS))
        contrast = generator.uniform(0.2, 1.0)
        large = small.repeat(block, 0).repeat(block, 1)[:size, :size]
        images[index] = (128 + contrast * (large - 128)).astype(np.uint8)
    return images


def _write(files: Mapping[str, bytes], out: Path) -> None:
    """Write ``files`` into ``out``, all or nothing."""
    tops = list(dict.fromkeys(name.split("/")[0] for name in files))
    for top in tops:
        if (out / top).exists():
            raise ExportError(f"{out / top} exists; remove it, or give another folder with --out")
    made = make_folder(out)
    staged = out / f".{tops[0]}.work"
    try:
        shutil.rmtree(staged, ignore_errors=True)
        for name, content in files.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(staged / name, content)
        for top in tops:
            (staged / top).rename(out / top)
        sync_folder(out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        for folder in made:
            if not any(folder.iterdir()):
                folder.rmdir()
