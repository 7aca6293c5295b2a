"""What an export has written, and the next step for it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from cifar_edge.export.targets import TARGETS
from cifar_edge.messages import shell_word


def next_steps(folder: Path, targets: Mapping[str, Iterable[str]]) -> list[str]:
    """A line for each target.

    Args:
        folder: that of the export.
        targets: target -> the names of its files, which may lie in a folder of ``folder``.
    """
    lines = []
    for name, files in targets.items():
        path = folder / next(iter(files)).partition("/")[0]
        shown = shell_word(str(path))
        step = TARGETS[name].next_step.format(path=shown)
        lines.append(f"wrote {shown}; next: {step}" if step else f"wrote {shown}")
    return lines
