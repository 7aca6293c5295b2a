"""What a shell completes for options and arguments: networks, targets, runs, models, and keys of a recipe.

Bash, zsh and fish ask the command itself at each press of Tab. So nothing here imports torch or onnx: the names of
networks and targets are written out, and tests hold them equal to the registries.
"""

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

NETWORKS = (
    "gn-cnn",
    "gn-cnn-max",
    "gn-cnn-nano",
    "s8-layer",
    "s8-group",
    "s8-batch",
    "s8-none",
    "wrn-16-4",
)
"""Keys of `cifar_edge.models.MODELS`."""

TARGETS = ("c", "litert", "onnx-float-head")
"""Keys of `cifar_edge.export.targets.TARGETS` without ``onnx``, which is always written."""


def complete_network(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The networks that `train` takes."""
    return _beginning(NETWORKS, incomplete)


def complete_target(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The formats that `export` writes besides ONNX."""
    return _beginning(TARGETS, incomplete)


def complete_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs under ``./runs`` and released models, by name; any file or folder."""
    from cifar_edge.runs.resolve import released_models

    return _or_file([*_runs(), *released_models()], incomplete)


def complete_summary(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs under ``./runs``, and networks, by name; any file or folder."""
    return _or_file([*_runs(), *NETWORKS], incomplete)


def complete_own_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs under ``./runs``, by name; any file or folder."""
    return _or_file(_runs(), incomplete)


def complete_init(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What `train --init` takes."""
    return [*complete_run(context, parameter, incomplete), *_items(["released", "none"], incomplete)]


def complete_model(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Released models, each of their files, and runs that were exported, by name; any file or folder."""
    from cifar_edge.runs.resolve import exported_runs, released_exports

    released = released_exports()
    files = [file.stem for each in released.values() for file in each]
    return _or_file([*released, *files, *(run.path.name for run in exported_runs())], incomplete)


def complete_setting(only: str, incomplete: str) -> list[str]:
    """Keys of a recipe that begin with ``only``, or the values of a key.

    Bash splits a word at ``=``, so that there the values are not completed.
    """
    from cifar_edge.runs.recipe import KEYS, PRECISIONS
    from cifar_edge.runs.resolve import released_models

    key, equals, _ = incomplete.partition("=")
    if not equals:
        return _beginning((f"{key}=" for key in KEYS if key.startswith(only)), incomplete)
    values: Iterable[str] = ()
    if KEYS.get(key) is bool:
        values = ("true", "false")
    elif key == "precision":
        values = PRECISIONS
    elif key in {"init", "teacher"}:
        values = (*_runs(), *released_models())
    return _beginning((f"{key}={value}" for value in values), incomplete)


def _runs() -> list[str]:
    from cifar_edge.runs.run import list_runs

    return [run.path.name for run in list_runs()]


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _items(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in _beginning(names, incomplete)]


def _or_file(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    # The item for files is the first, since in click's script for bash it removes the items before it.
    return [CompletionItem(incomplete, type="file"), *_items(names, incomplete)]
