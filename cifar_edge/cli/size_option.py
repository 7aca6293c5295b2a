"""Option ``--size S``: height and width of the images that a network takes."""

from collections.abc import Callable
from typing import Any

import click

from cifar_edge.spec import IMAGE_SIZE, IMAGE_SIZES


def _checked(context: click.Context, parameter: click.Parameter, value: int | None) -> int | None:
    if value is not None and value not in IMAGE_SIZES:
        raise click.BadParameter(
            f"{value} is not a size; it has to be a multiple of 16 from {IMAGE_SIZES[0]} to {IMAGE_SIZES[-1]}."
        )
    return value


def size_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option; None where it is not given."""
    help_text = f"Height and width of the images, a multiple of 16 up to {IMAGE_SIZES[-1]}.  [default: {IMAGE_SIZE}]"
    return click.option("--size", type=int, metavar="S", callback=_checked, help=help_text)(command)
