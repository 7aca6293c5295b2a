"""`load_dataset`, the one way to get a dataset: by name, from a folder or file, from the cache, or fetched."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from cifar_edge.data.cache import cache_folder
from cifar_edge.data.cifar10.dataset_spec import CIFAR10, DatasetSpec
from cifar_edge.data.cifar10.fetch import fetch
from cifar_edge.data.cifar10.formats import find, read
from cifar_edge.data.cifar10.transfer import Progress, Transfer
from cifar_edge.data.dataset import SPLIT_RULE, Dataset, Images, Report
from cifar_edge.data.folder.image_folder import load_image_folder
from cifar_edge.data.folder.layout import has_classes, has_images, refused
from cifar_edge.data.folder.table import is_table
from cifar_edge.data.sample import load_sample
from cifar_edge.errors import DataError
from cifar_edge.messages import did_you_mean, display_name
from cifar_edge.runtime.transform import to_pixels
from cifar_edge.spec import IMAGE_SIZE

DATA_VARIABLE = "CIFAR_EDGE_DATA"
SAMPLE = "sample"
_SECONDS_BETWEEN_LINES = 5.0


def ignore(line: str) -> None:
    """The ``report`` of callers that show nothing."""


def location(data: str | os.PathLike[str] | None = None) -> Path | None:
    """The file or folder that `load_dataset` reads for the same ``data``; None for the embedded sample.

    Raises:
        DataError: ``data`` is empty, or begins with ``~`` and there is no such home folder.
    """
    if data is not None and not os.fspath(data):  # such as an unset $VARIABLE; Path("") is the current folder
        raise DataError("the name of the data is empty")
    chosen = data or os.environ.get(DATA_VARIABLE) or cache_folder() / f"{CIFAR10.name}.npz"
    try:
        return None if chosen == SAMPLE else Path(chosen).expanduser()
    except RuntimeError as error:
        raise DataError(f"{display_name(os.fspath(chosen))}: there is no such home folder") from error


def image_folder(data: str | os.PathLike[str] | None) -> Path | None:
    """The image folder that `load_dataset` reads for the same ``data``; None if that is something else, or nothing.

    Raises:
        DataError: as `location`, or a folder cannot be read.
    """
    path = location(data)
    if path is None or (data is None and not os.environ.get(DATA_VARIABLE)):
        return None
    try:
        return path if _find(path) is None and has_classes(path) else None
    except OSError as error:
        raise refused(error) from error


def check_location(data: str | os.PathLike[str] | None = None) -> None:
    """Refuse, before any work is done, what `load_dataset` would refuse for the same ``data`` by its name alone.

    Raises:
        DataError: nothing is there, or something that is neither CIFAR-10 nor an image folder.
    """
    with _variable_named(data) as chosen:
        if chosen is not None and (path := location(chosen)) is not None:
            _cifar10_in(path)


def load_dataset(
    data: str | os.PathLike[str] | None = None,
    *,
    size: int = IMAGE_SIZE,
    holdout: float | None = None,
    strict: bool = False,
    source_size: int | None = None,
    split_rule: int = SPLIT_RULE,
    offline: bool = False,
    report: Callable[[str], None] = ignore,
    remark: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Load CIFAR-10, verified by the SHA-256 of its pixels whatever the source, or an image folder.

    Args:
        data: ``"sample"`` for the embedded sample; a folder or file in one of the formats of
            `cifar_edge.data.cifar10.formats`; an image folder (see `cifar_edge.data.folder.image_folder`), or a CSV
            file of names and labels (see `cifar_edge.data.folder.table`). None means ``$CIFAR_EDGE_DATA``, else the
            cache, else a download into the cache.
        size: height and width of the images, one of `cifar_edge.spec.IMAGE_SIZES`; those of CIFAR-10 are enlarged.
        holdout: share of the images of an image folder without ``train/`` and ``test/`` that become test images.
        strict: raise where an image cannot be read or lies in two classes, instead of leaving it out.
        source_size: height and width of the `Dataset.train_sources` of an image folder; None for none.
        split_rule: number of the rule that orders and splits an image folder, `SPLIT_RULE` or that of an earlier run.
        offline: raise instead of using the network.
        report: called with each line that a person should read while data is fetched or decoded.
        remark: called in place of ``report`` with lines on the files of an image folder: what is left out, warnings.
        progress: called several times a second during a download; without it, ``report`` gets a line now and then.

    Raises:
        DataError: the data is missing, damaged, neither CIFAR-10 nor an image folder, or cannot be fetched.
        MissingExtra: the files are parquet, and pyarrow is not installed.
    """
    with _variable_named(data) as chosen:
        return resized(
            _load(chosen, size, holdout, strict, source_size, split_rule, offline, report, remark or report, progress),
            size,
        )


@contextmanager
def _variable_named(data: str | os.PathLike[str] | None) -> Iterator[str | os.PathLike[str] | None]:
    """Yields ``data``, or ``$CIFAR_EDGE_DATA``, which an error then names, or None."""
    variable = os.environ.get(DATA_VARIABLE) if data is None else None
    try:
        yield data if data is not None else variable or None
    except DataError as error:
        if variable:
            raise DataError(f"${DATA_VARIABLE}: {error}") from error
        raise


def _load(
    data: str | os.PathLike[str] | None,
    size: int,
    holdout: float | None,
    strict: bool,
    source_size: int | None,
    split_rule: int,
    offline: bool,
    report: Report,
    remark: Report,
    progress: Progress | None,
) -> Dataset:
    path = location(data)
    given = data is not None
    if path is not None and given and _cifar10_in(path) is None:
        return load_image_folder(
            path,
            size=size,
            holdout=holdout,
            strict=strict,
            source_size=source_size,
            split_rule=split_rule,
            report=report,
            remark=remark,
        )
    if holdout is not None and given and path is not None and path.is_file():
        raise DataError(
            f"--holdout is for an image folder, but {display_name(str(path))} is a file; unpack an archive of "
            "images, and give the folder"
        )
    if holdout is not None:
        raise DataError("--holdout is for an image folder, given with --data; CIFAR-10 has test images")
    if path is None:
        return load_sample()
    if given:
        return read(path, CIFAR10)
    return load_cached(CIFAR10, path.parent, offline=offline, report=report, progress=progress)


def resized(dataset: Dataset, size: int) -> Dataset:
    """``dataset`` with images of ``size``, by the transform of the runtime; unchanged if they have that size."""
    if dataset.size == size:
        return dataset

    def images(originals: Images) -> Images:
        return np.stack([to_pixels(Image.fromarray(original), size) for original in originals])

    return replace(dataset, train_images=images(dataset.train_images), test_images=images(dataset.test_images))


def _find(path: Path) -> Path | None:
    """The file or folder of CIFAR-10 at or in ``path``, if there is one; a CSV file is none."""
    return None if is_table(path) else find(path, CIFAR10)


def _cifar10_in(path: Path) -> Path | None:
    """The file or folder of CIFAR-10 at or in ``path``; None if that is an image folder.

    Raises:
        DataError: it is neither.
    """
    try:
        found = _find(path)
        problem = _not_a_dataset(path) if found is None and not has_classes(path) else ""
    except OSError as error:
        raise refused(error) from error
    if problem:
        raise DataError(problem)
    return found


def _not_a_dataset(path: Path) -> str:
    """The error message where ``path`` holds neither CIFAR-10 nor folders of images."""
    shown = display_name(str(path))
    layouts = "CLASS/* with --holdout, or train/CLASS/* and test/CLASS/*"
    if not path.exists():
        meant = did_you_mean(path.name, [SAMPLE, *_names_beside(path)])
        return f"there is no {shown}{meant}; give an image folder ({layouts}), one of {CIFAR10.title}, or leave it out"
    if not path.is_dir():
        return f"{shown} is neither a folder nor a regular file"
    if has_images(path):
        return f"{shown} holds images, but no folders of classes: give its parent folder, or make {layouts}"
    return f"{shown} holds neither folders of images ({layouts}) nor {CIFAR10.title}, in any of its formats"


def _names_beside(path: Path) -> list[str]:
    """What else is in the folder of ``path``; empty if that is missing or cannot be read."""
    try:
        return [entry.name for entry in path.parent.iterdir() if entry.name != path.name]  # itself: a dangling link
    except OSError:
        return []


def load_cached(
    spec: DatasetSpec, folder: Path, *, offline: bool, report: Report, progress: Progress | None = None
) -> Dataset:
    """Load a published dataset from the cache ``folder``, fetching it if it is missing or damaged.

    Raises:
        DataError: as `load_dataset`.
    """
    path = folder / f"{spec.name}.npz"
    if path.is_file():
        try:
            return read(path, spec)
        except DataError:
            if offline:
                raise
    if offline:
        raise DataError(f"{spec.title} is not in the cache ({display_name(path)}), and offline nothing is fetched")
    return fetch(spec, folder, report=report, progress=progress or _as_lines(report))


def _as_lines(report: Report) -> Progress:
    """Progress for callers that show lines only: a line every few seconds."""
    last = time.monotonic()

    def progress(transfer: Transfer) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            report(str(transfer))

    return progress
