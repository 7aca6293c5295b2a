"""Checks that the optional dependencies of a command are installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from cifar_edge.errors import MissingExtra


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Wraps the imports of optional dependencies, those of ``pip install 'cifar-edge[extra]'``.

    Raises:
        MissingExtra: one of the imports fails.
    """
    try:
        yield
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] == "cifar_edge":
            raise
        reason = str(error).partition("\n")[0]
        raise MissingExtra(
            f"this command needs more than the base install ({reason}); pip install 'cifar-edge[{extra}]'"
        ) from error
