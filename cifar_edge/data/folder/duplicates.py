"""Duplicates: files of equal pixels, such as a copy, or the same photograph saved with other metadata."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from cifar_edge.data.folder.folders import ImageFile


@dataclass(frozen=True, slots=True)
class Deduplicated:
    """The positions of files, sorted by what becomes of them.

    Attributes:
        kept: one file of each image, in ascending order of their keys.
        in_one_class: groups of duplicates in one class and one split; the first file is kept.
        in_both_splits: a kept test file, and a training file of the same pixels, for each such image.
        in_several_classes: one file from each class, for each image in several classes; none of its files is kept.
    """

    kept: tuple[int, ...]
    in_one_class: tuple[tuple[int, ...], ...]
    in_both_splits: tuple[tuple[int, ...], ...]
    in_several_classes: tuple[tuple[int, ...], ...]


def deduplicate(files: Sequence[ImageFile], digests: Sequence[str], keys: Sequence[str]) -> Deduplicated:
    """Keep one file of each image; an image among the test files counts as a test image.

    Args:
        files: those of one image folder.
        digests: SHA-256 of each file's pixels, in hexadecimal; empty for an unreadable file, which is skipped.
        keys: what images are ordered by: an image by the least key of its files.
    """
    order = sorted(
        (index for index, digest in enumerate(digests) if digest),
        key=lambda index: (digests[index], files[index].split != "test", files[index].label, files[index].name),
    )
    kept: list[tuple[str, int]] = []
    in_one_class: list[tuple[int, ...]] = []
    in_both_splits: list[tuple[int, ...]] = []
    in_several_classes: list[tuple[int, ...]] = []
    for _, group in groupby(order, key=lambda index: digests[index]):
        same = list(group)
        by_label = {files[index].label: index for index in reversed(same)}
        if len(by_label) > 1:
            in_several_classes.append(tuple(by_label[label] for label in sorted(by_label)))
            continue
        kept.append((min(keys[index] for index in same), same[0]))
        other_split = next((index for index in same if files[index].split != files[same[0]].split), None)
        if other_split is not None:
            in_both_splits.append((same[0], other_split))
        elif len(same) > 1:
            in_one_class.append(tuple(same))
    kept.sort()
    return Deduplicated(
        tuple(index for _, index in kept),
        tuple(in_one_class),
        tuple(in_both_splits),
        tuple(in_several_classes),
    )
