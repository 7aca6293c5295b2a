"""Two recordings compared, file by file."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.freeze.graphs import digest

TEXTS = {".txt", ".json", ".csv"}
LONGEST, WIDEST = 40, 200
"""Lines that are shown of one file's difference, and characters of a line."""


def differences(before: Path, after: Path, part: str, words: Sequence[tuple[str, str]] = ()) -> Iterator[str]:
    """One text for each file of ``part`` that differs, or that only one recording has.

    Each of ``words`` is a pair: the first, in texts of ``before``, counts as the second.
    """
    unrecorded = [folder / part for folder in (before, after) if not (folder / part).is_dir()]
    if unrecorded:
        yield f"not recorded: {', '.join(map(str, unrecorded))}"
        return
    names = {
        str(path.relative_to(folder))
        for folder in (before, after)
        for path in (folder / part).rglob("*")
        if path.is_file()
    }
    for name in sorted(names):
        old, new = before / name, after / name
        if not new.exists():
            yield f"only before: {name}"
        elif not old.exists():
            yield f"only after: {name}"
        elif old.suffix in TEXTS:
            lines = list(_text(name, old.read_text(), new.read_text(), words))
            left_out = len(lines) - LONGEST
            if lines:
                yield "\n".join(
                    [
                        *(line[:WIDEST] for line in lines[:LONGEST]),
                        *([f"... and {left_out} more lines"] if left_out > 0 else []),
                    ]
                )
        elif old.read_bytes() != new.read_bytes():
            yield _binary(name, old, new)


def _text(name: str, old: str, new: str, words: Sequence[tuple[str, str]]) -> Iterator[str]:
    for word, instead in words:
        old = old.replace(word, instead)
    return difflib.unified_diff(old.splitlines(), new.splitlines(), f"before/{name}", f"after/{name}", lineterm="")


def _binary(name: str, old: Path, new: Path) -> str:
    lines = [f"differs: {name}"]
    lines += [f"  {digest(path.read_bytes())} {path.stat().st_size} bytes" for path in (old, new)]
    if old.suffix == ".npy":
        first, second = np.load(old).astype(np.float64), np.load(new).astype(np.float64)
        if first.shape == second.shape:
            distance = np.abs(first - second)
            rows = int(distance.reshape(len(distance), -1).any(axis=1).sum())
            lines.append(f"  {rows} of {len(distance)} rows differ, by at most {distance.max():g}")
        else:
            lines.append(f"  shapes {list(first.shape)} and {list(second.shape)}")
    return "\n".join(lines)
