"""Option ``--size S``: height and width of the images that a network takes."""

from collections.abc import Callable
from typing import Any

import click

_HELP = "Height and width of the images, a multiple of 16 from 32 to 128.  [default: {}]"
"""Written out, since `cifar_edge.spec` would make ``--help`` slower."""


class ImageSize(click.types.IntParamType):
    """A size that images may have, see `cifar_edge.spec.IMAGE_SIZES`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from cifar_edge.spec import IMAGE_SIZES

        size = {str(each): each for each in IMAGE_SIZES}.get(str(value))
        if size is None:
            self.fail(f"{str(value)!r} is not a multiple of 16 from {IMAGE_SIZES[0]} to {IMAGE_SIZES[-1]}.", param, ctx)
        return size


def size_option(default: str = "32") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option, which is None where it is not given; the help says what ``default`` is then."""
    return click.option("--size", type=ImageSize(), metavar="S", help=_HELP.format(default))
