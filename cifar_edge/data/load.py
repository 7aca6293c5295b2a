"""The one way to get a data set: by name, from a folder or file, from the cache, or fetched."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from cifar_edge.data.cache import cache_folder
from cifar_edge.data.cifar10.corpus import CIFAR10, Corpus
from cifar_edge.data.cifar10.fetch import fetch
from cifar_edge.data.cifar10.formats import find, read
from cifar_edge.data.cifar10.transfer import Progress, Transfer
from cifar_edge.data.dataset import Dataset, Images, Report
from cifar_edge.data.folder.layout import has_classes, has_pictures, refused
from cifar_edge.data.folder.own import load_own
from cifar_edge.data.sample import load_sample
from cifar_edge.errors import DataError
from cifar_edge.messages import display_name
from cifar_edge.runtime.transform import to_pixels
from cifar_edge.spec import IMAGE_SIZE

DATA_VARIABLE = "CIFAR_EDGE_DATA"
SAMPLE = "sample"
_SECONDS_BETWEEN_LINES = 5.0


def ignore(line: str) -> None:
    """The report of callers that want none."""


def location(data: str | os.PathLike[str] | None = None) -> Path | None:
    """The file or folder that `load_dataset` reads for the same argument; None for the embedded sample.

    Raises:
        DataError: ``data`` is an empty name, or begins with the home of a user whose home, or who, is unknown.
    """
    if data is not None and not os.fspath(data):  # Path("") would be the current folder, and $UNSET is no name
        raise DataError("the name of the data is empty")
    chosen = data or os.environ.get(DATA_VARIABLE) or cache_folder() / f"{CIFAR10.name}.npz"
    try:
        return None if chosen == SAMPLE else Path(chosen).expanduser()
    except RuntimeError as error:
        raise DataError(f"{display_name(os.fspath(chosen))}: there is no such home") from error


def load_dataset(
    data: str | os.PathLike[str] | None = None,
    *,
    size: int = IMAGE_SIZE,
    holdout: float | None = None,
    strict: bool = False,
    offline: bool = False,
    report: Callable[[str], None] = ignore,
    progress: Progress | None = None,
) -> Dataset:
    """Load CIFAR-10, verified by the SHA-256 of its pixels whatever the source, or own pictures in folders by class.

    Args:
        data: ``"sample"`` for the embedded sample; else a folder or file in one of the formats of
            `cifar_edge.data.cifar10.formats`, or a folder of own classes (see `cifar_edge.data.folder.own`); None for
            ``$CIFAR_EDGE_DATA``, else the cache, else fetched into the cache.
        size: height and width of the images, one of `cifar_edge.spec.IMAGE_SIZES`; those of CIFAR-10 are enlarged.
        holdout: share of own pictures that are test images, where they lie in one folder of classes.
        strict: fail where an own picture cannot be read or lies in two classes, instead of leaving it out.
        offline: fail rather than touch the network.
        report: called with each line worth telling while data is fetched or decoded.
        progress: called several times a second during a download; without it, ``report`` tells now and then.

    Raises:
        DataError: there is no such data, it is damaged, it is neither CIFAR-10 nor classes, or it cannot be fetched.
        MissingExtra: parquet files, and pyarrow is not installed.
    """
    variable = os.environ.get(DATA_VARIABLE) if data is None else None
    try:
        chosen = data if data is not None else variable or None
        return resized(_load(chosen, size, holdout, strict, offline, report, progress), size)
    except DataError as error:
        if variable:
            raise DataError(f"${DATA_VARIABLE}: {error}") from error
        raise


def _load(
    data: str | os.PathLike[str] | None,
    size: int,
    holdout: float | None,
    strict: bool,
    offline: bool,
    report: Report,
    progress: Progress | None,
) -> Dataset:
    path = location(data)
    given = data is not None
    if path is not None and given:
        try:
            found = find(path, CIFAR10)
            nothing = _nothing_there(path) if found is None and not has_classes(path) else ""
        except OSError as error:
            raise refused(error) from error
        if nothing:
            raise DataError(nothing)
        if found is None:
            return load_own(path, size=size, holdout=holdout, strict=strict, report=report)
    if holdout is not None and given and path is not None and path.is_file():
        raise DataError(
            f"--holdout is for one folder of own classes, but {display_name(str(path))} is a file; unpack an archive "
            "of pictures, and give the folder"
        )
    if holdout is not None:
        raise DataError("--holdout is for one folder of own classes, given with --data; CIFAR-10 has test images")
    if path is None:
        return load_sample()
    if given:
        return read(path, CIFAR10)
    return load_cached(CIFAR10, path.parent, offline=offline, report=report, progress=progress)


def resized(dataset: Dataset, size: int) -> Dataset:
    """``dataset`` with images of ``size``, by the runtime's own transform; itself where they have that size."""
    if dataset.size == size:
        return dataset

    def images(originals: Images) -> Images:
        return np.stack([to_pixels(Image.fromarray(original), size) for original in originals])

    return replace(dataset, train_images=images(dataset.train_images), test_images=images(dataset.test_images))


def _nothing_there(path: Path) -> str:
    """What is told where ``path`` has neither CIFAR-10 nor folders of pictures."""
    shown = display_name(str(path))
    own = "CLASS/* with --holdout, or train/CLASS/* and test/CLASS/*"
    if not path.exists():
        return f"there is no {shown}; give a folder of own pictures ({own}), one of {CIFAR10.title}, or leave it out"
    if not path.is_dir():
        return f"{shown} is neither a folder nor a regular file"
    if has_pictures(path):
        return f"{shown} holds pictures, but no folders of classes: give the folder that it is in, or make {own}"
    return f"{shown} holds neither folders of pictures ({own}) nor {CIFAR10.title}, in any of its formats"


def load_cached(
    corpus: Corpus, folder: Path, *, offline: bool, report: Report, progress: Progress | None = None
) -> Dataset:
    """Load a corpus from the cache ``folder``, fetching it into there if it is missing or damaged.

    Raises:
        DataError: as `load_dataset`.
    """
    path = folder / f"{corpus.name}.npz"
    if path.is_file():
        try:
            return read(path, corpus)
        except DataError:
            if offline:
                raise
    if offline:
        raise DataError(f"{corpus.title} is not in the cache ({path}), and offline nothing is fetched")
    return fetch(corpus, folder, report=report, progress=progress or _as_lines(report))


def _as_lines(report: Report) -> Progress:
    """Progress for callers that show lines only: one every few seconds."""
    last = time.monotonic()

    def progress(transfer: Transfer) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            report(str(transfer))

    return progress
