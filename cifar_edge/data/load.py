"""The one way to get a data set: by name, from a folder or file, from the cache, or fetched."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from cifar_edge.data.cache import cache_folder
from cifar_edge.data.corpus import CIFAR10, Corpus
from cifar_edge.data.dataset import Dataset
from cifar_edge.data.fetch import Report, fetch
from cifar_edge.data.formats import read
from cifar_edge.data.sample import load_sample
from cifar_edge.data.transfer import Progress, Transfer
from cifar_edge.errors import DataError

DATA_VARIABLE = "CIFAR_EDGE_DATA"
SAMPLE = "sample"
_SECONDS_BETWEEN_LINES = 5.0


def ignore(line: str) -> None:
    """The report of callers that want none."""


def location(data: str | os.PathLike[str] | None = None) -> Path | None:
    """The file or folder that `load_dataset` reads for the same argument; None for the embedded sample."""
    chosen = data or os.environ.get(DATA_VARIABLE) or cache_folder() / f"{CIFAR10.name}.npz"
    return None if chosen == SAMPLE else Path(chosen).expanduser()


def load_dataset(
    data: str | os.PathLike[str] | None = None,
    *,
    offline: bool = False,
    report: Callable[[str], None] = ignore,
    progress: Progress | None = None,
) -> Dataset:
    """Load CIFAR-10, verified by the SHA-256 of its pixels whatever the source.

    Args:
        data: ``"sample"`` for the embedded sample; else a folder or file in one of the formats of
            `cifar_edge.data.formats`; None for ``$CIFAR_EDGE_DATA``, else the cache, else fetched into the cache.
        offline: fail rather than touch the network.
        report: called with each line worth telling while data is fetched.
        progress: called several times a second during a download; without it, ``report`` tells now and then.

    Raises:
        DataError: there is no such data, it is damaged, it is not CIFAR-10, or it cannot be fetched.
        MissingExtra: parquet files, and pyarrow is not installed.
    """
    path = location(data)
    if path is None:
        return load_sample()
    if data or os.environ.get(DATA_VARIABLE):
        return read(path, CIFAR10)
    return load_cached(CIFAR10, path.parent, offline=offline, report=report, progress=progress)


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
