"""Runs a notebook from top to bottom and keeps its outputs: what `make notebook` calls."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import nbformat
from nbclient import NotebookClient

from cifar_edge.files import write_text

PARAMETERS = "parameters"
"""Tag of the cell whose assignments may be replaced."""
TIMEOUT_SECONDS = 3 * 3600
"""For one cell: a training on a slow or busy machine takes its time."""


def execute(source: Path, parameters: Mapping[str, object], folder: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run in ``folder``, its kernel that of the running interpreter.

    Args:
        source: the ``.ipynb`` file.
        parameters: name -> value, each assigned in the cell tagged ``parameters``.
        folder: the current folder of its cells.

    Raises:
        ValueError: the notebook has no parameter of that name.
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(source, as_version=4)
    # Times of execution would change with every run.
    client = NotebookClient(
        with_parameters(notebook, parameters),
        timeout=TIMEOUT_SECONDS,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    done: nbformat.NotebookNode = client.execute()
    # The version of the interpreter, which nbclient adds.
    done.metadata.language_info = {"name": "python"}
    return done


def with_parameters(notebook: nbformat.NotebookNode, parameters: Mapping[str, object]) -> nbformat.NotebookNode:
    """Replace the value of each of ``parameters`` in the notebook, in place."""
    (cell,) = (cell for cell in notebook.cells if PARAMETERS in cell.metadata.get("tags", []))
    for name, value in parameters.items():
        cell.source, found = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", cell.source, flags=re.MULTILINE)
        if not found:
            raise ValueError(f"{PARAMETERS} has no {name}")
    return notebook


@click.command()
@click.argument("notebook", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(notebook: Path) -> None:
    """Execute NOTEBOOK in its own folder, and write its outputs into it."""
    done: Any = execute(notebook, {}, notebook.parent)
    write_text(notebook, nbformat.writes(done) + "\n")


if __name__ == "__main__":
    main()
