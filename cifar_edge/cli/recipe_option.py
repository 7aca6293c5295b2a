"""Option ``--set KEY=VALUE``, which changes keys of a recipe, with completion of the keys."""

from collections.abc import Callable
from typing import Any

import click

from cifar_edge.cli.completion import complete_setting


def set_option(text: str, *, only: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option as a decorator; a shell completes the recipe's keys that begin with ``only``."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        return complete_setting(only, incomplete)

    return click.option(
        "--set", "settings", multiple=True, metavar="KEY=VALUE", shell_complete=complete, help=f"{text}; repeatable."
    )
