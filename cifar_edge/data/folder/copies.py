"""Files that are one picture: those of equal pixels, such as a copy, or the same photo saved with other metadata."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from cifar_edge.data.folder.folders import PictureFile


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures that some files hold, each once.

    Attributes:
        kept: positions of the files that stand for them, in ascending order of the SHA-256 of their pixels.
        copies: of each picture in several files of one class, those of the other files, behind the one that is kept.
        both: of each picture in the training and the test files, that of a training file, behind the test file.
        contradictions: of each picture in several classes, that of a file of each; none of its files is kept.
    """

    kept: tuple[int, ...]
    copies: tuple[tuple[int, ...], ...]
    both: tuple[tuple[int, ...], ...]
    contradictions: tuple[tuple[int, ...], ...]


def pictures(files: Sequence[PictureFile], digests: Sequence[str]) -> Pictures:
    """Find the files that are one picture.

    A picture that is among the test files counts as a test picture. Which of its files stands for it makes no
    difference to any network.

    Args:
        files: of one folder.
        digests: SHA-256 of the pixels of each, in hexadecimal; empty where it cannot be read: those are passed over.
    """
    order = sorted(
        (index for index, digest in enumerate(digests) if digest),
        key=lambda index: (digests[index], files[index].split != "test", files[index].label, files[index].name),
    )
    kept: list[int] = []
    copies: list[tuple[int, ...]] = []
    both: list[tuple[int, ...]] = []
    contradictions: list[tuple[int, ...]] = []
    for _, group in groupby(order, key=lambda index: digests[index]):
        same = list(group)
        by_label = {files[index].label: index for index in reversed(same)}
        if len(by_label) > 1:
            contradictions.append(tuple(by_label[label] for label in sorted(by_label)))
            continue
        kept.append(same[0])
        other_side = next((index for index in same if files[index].split != files[same[0]].split), None)
        if other_side is not None:
            both.append((same[0], other_side))
        elif len(same) > 1:
            copies.append(tuple(same))
    return Pictures(tuple(kept), tuple(copies), tuple(both), tuple(contradictions))
