"""Two recordings compared, file by file."""

import difflib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.freeze.graphs import digest

TEXTS = {".txt", ".json", ".csv"}
LONGEST = 40
"""Lines that are shown of one file's difference."""


def differences(before: Path, after: Path, part: str) -> Iterator[str]:
    """One text for each file of ``part`` that differs, or that only one recording has."""
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
        elif old.read_bytes() != new.read_bytes():
            yield _text(name, old, new) if old.suffix in TEXTS else _binary(name, old, new)


def _text(name: str, old: Path, new: Path) -> str:
    lines = list(
        difflib.unified_diff(
            old.read_text().splitlines(), new.read_text().splitlines(), f"before/{name}", f"after/{name}", lineterm=""
        )
    )
    left_out = len(lines) - LONGEST
    return "\n".join([*lines[:LONGEST], *([f"... and {left_out} more lines"] if left_out > 0 else [])])


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
