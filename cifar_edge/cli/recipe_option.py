"""Option ``--set KEY=VALUE``, which changes keys of a recipe, with completion of the keys."""

from collections.abc import Callable
from typing import Any

import click


def set_option(text: str, *, only: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option as a decorator; a shell completes the recipe's keys that begin with ``only``."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        from cifar_edge.runs.recipe import KEYS

        return [f"{key}=" for key in KEYS if key.startswith(only) and f"{key}=".startswith(incomplete)]

    return click.option(
        "--set", "settings", multiple=True, metavar="KEY=VALUE", shell_complete=complete, help=f"{text}; repeatable."
    )
