"""An exported int8 file, written in another format. Its integers are read from it: no weights are needed, nor torch."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cifar_edge.data import load_dataset
from cifar_edge.errors import ContractError, ExportError
from cifar_edge.export.folder import stem_of
from cifar_edge.export.targets import ALWAYS, TARGETS, Written, write_targets
from cifar_edge.files import check_writable, make_folder, sync_folder, write_bytes
from cifar_edge.integer import IntegerNetwork
from cifar_edge.messages import display_name
from cifar_edge.model_file.reading import read_graph, read_model


def export_file(
    path: Path,
    out: Path,
    targets: Mapping[str, Any],
    stem: str | None = None,
    stage: Callable[[str], None] = lambda name: None,
) -> dict[str, Written]:
    """Write the integer network in the file at ``path`` for each of ``targets`` into the folder ``out``.

    The gate compares them on the images of CIFAR-10 in this package, whatever the classes are; the logits of the file
    itself, in onnxruntime, stand for those of the network, after they were compared with it as well.

    Args:
        path: an int8 ``.onnx`` file of `cifar-edge export`.
        out: made if it is missing.
        targets: as `cifar_edge.export.targets.target_options` returns them.
        stem: what the files are called by; None for that of the file.
        stage: called with what is done next, in a few words.

    Raises:
        ModelError: there is no such file, or it is damaged.
        ContractError: it is not an integer network.
        MissingExtra: a package that writes a target is not installed.
        ExportError: a target cannot write it, what it writes exists, or ``out`` cannot be written to.
        GateFailed: the files of a target give other logits; nothing is written.
    """
    _, metadata = read_graph(path)
    if metadata.precision != "int8":
        raise ContractError(
            f"{display_name(path)} is in {metadata.precision}, and only an int8 file is written in other formats"
            f"{_int8_beside(path, metadata.precision)}"
        )
    stem = stem or stem_of(path.name.removesuffix(".onnx").removesuffix(f".{metadata.precision}"), metadata.model)
    _check_free(out, [TARGETS[name].path.format(stem=stem) for name in targets if name != ALWAYS])
    network = IntegerNetwork.from_onnx(path)
    sample = load_dataset("sample", size=network.size)
    images = np.concatenate([sample.test_images, sample.train_images])
    written = write_targets(targets, network, metadata, images, None, stem, exported=read_model(path), stage=stage)
    del written[ALWAYS]
    try:
        _write({name: content for target in written.values() for name, content in target.files.items()}, out)
    except OSError as error:
        raise ExportError(f"cannot write to {display_name(out)}: {error.strerror or error}") from error
    return written


def _int8_beside(path: Path, precision: str) -> str:
    """Advice to take the int8 file of the same export, if there is one."""
    int8 = path.with_name(f"{path.name.removesuffix('.onnx').removesuffix(f'.{precision}')}.int8.onnx")
    return f"; give {display_name(int8)}" if int8.is_file() else "; `cifar-edge export --quantize` writes one"


def _check_free(out: Path, names: Iterable[str]) -> None:
    """Refuse, before any work is done, to write over what is in ``out``, or where nothing can be written."""
    for name in names:
        check_writable(out / name)
        if (out / name).exists():
            shown = display_name(out / name)
            raise ExportError(f"{shown} exists; remove it, or give another folder with --out")


def _write(files: Mapping[str, bytes], out: Path) -> None:
    """Write ``files`` into ``out``, all or nothing."""
    tops = list(dict.fromkeys(name.split("/")[0] for name in files))
    _check_free(out, tops)  # once more, since the work took its time
    made = make_folder(out)
    staged = out / f".{tops[0]}.work"
    try:
        shutil.rmtree(staged, ignore_errors=True)
        for name, content in files.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(staged / name, content, called=out / name)
        for top in tops:
            (staged / top).rename(out / top)
        sync_folder(out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        for folder in made:
            if not any(folder.iterdir()):
                folder.rmdir()
