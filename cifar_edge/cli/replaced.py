"""Says which earlier export a command replaces, and what of it will be gone."""

from collections.abc import Container
from pathlib import Path

from cifar_edge.cli.verbosity import note
from cifar_edge.messages import listed


def note_replaced(folder: Path, targets: Container[str]) -> None:
    """Say on stderr that the export in ``folder`` is replaced, and which files ``targets`` do not write anew.

    Nothing is said where there is none.
    """
    from cifar_edge.export.targets import ALWAYS
    from cifar_edge.runs.exports import REPORT, Export

    if not (folder / REPORT).exists():
        return
    line = "replacing the earlier export there, if this one passes its gates"
    earlier = {name: files for name, files in Export(folder).targets.items() if name not in targets and name != ALWAYS}
    if gone := sorted({file.partition("/")[0] for files in earlier.values() for file in files}):
        options = " ".join(f"--target {name}" for name in earlier)
        line += f"; that removes {listed(gone)}, which {options} would write anew"
    note(line)
