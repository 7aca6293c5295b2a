"""Option ``--size S``: height and width of the images that a network takes."""

from collections.abc import Callable
from typing import Any

import click

_HELP = "Height and width of the images, a multiple of 16 from 32 to 128.  [default: 32]"
"""Written out, since `cifar_edge.spec` would make ``--help`` slower."""


def checked_size(context: click.Context, parameter: click.Parameter, value: int | None) -> int | None:
    """The callback of an option that takes such a size.

    Raises:
        BadParameter: it is none.
    """
    from cifar_edge.spec import IMAGE_SIZES

    if value is not None and value not in IMAGE_SIZES:
        raise click.BadParameter(f"{value} is not a multiple of 16 from {IMAGE_SIZES[0]} to {IMAGE_SIZES[-1]}.")
    return value


def size_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option; None where it is not given."""
    return click.option("--size", type=int, metavar="S", callback=checked_size, help=_HELP)(command)
