"""The callback of an option that names a picture to write."""

from pathlib import Path

import click


def checked_png(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """``value``, found fit to be written before any work is done.

    Raises:
        BadParameter: it does not end in .png, the one format that is written.
        CifarEdgeError: nothing can be written there.
    """
    if value is not None:
        from cifar_edge.files import check_writable
        from cifar_edge.messages import display_name

        if value.suffix.lower() != ".png":
            raise click.BadParameter(f"{display_name(value.name)} is not the name of a .png file.")
        check_writable(value)
    return value
