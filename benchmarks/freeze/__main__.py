"""What the product does, frozen before a rebuild, so that every difference after a step of it can be listed.

    python -m benchmarks.freeze record before --checkout ../start
    python -m benchmarks.freeze record after
    python -m benchmarks.freeze compare before after --word picture=image

It runs the commands in processes of their own and imports nothing but ``cifar_edge``'s public names. It needs CIFAR-10
in the cache. This folder goes when the rebuild ends.
"""

import shutil
import sys
import time
from pathlib import Path

import click

from benchmarks.freeze.comparison import differences
from benchmarks.freeze.parts import PARTS
from benchmarks.freeze.product import product

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def main() -> None:
    """Record what a checkout does, and compare two recordings."""


@main.command()
@click.argument("out", type=_FOLDER)
@click.option("--checkout", type=_FOLDER, default=Path(), help="What to record.  [default: the current folder]")
@click.option("--only", "parts", multiple=True, type=click.Choice(list(PARTS)), help="Record this part; repeatable.")
def record(out: Path, checkout: Path, parts: tuple[str, ...]) -> None:
    """Write OUT/PART/ for each part; what OUT had of it is replaced."""
    with product(checkout.resolve()) as this:
        for part in parts or PARTS:
            began = time.monotonic()
            unfinished = out / f".{part}"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            this.renew_home()
            PARTS[part](this, unfinished)
            shutil.rmtree(out / part, ignore_errors=True)
            unfinished.rename(out / part)
            click.echo(f"{part}: {time.monotonic() - began:.0f} s", err=True)


@main.command()
@click.argument("before", type=_FOLDER)
@click.argument("after", type=_FOLDER)
@click.option("--only", "parts", multiple=True, type=click.Choice(list(PARTS)), help="Compare this part; repeatable.")
@click.option("--word", "words", multiple=True, metavar="OLD=NEW", help="OLD in BEFORE counts as NEW; repeatable.")
def compare(before: Path, after: Path, parts: tuple[str, ...], words: tuple[str, ...]) -> None:
    """List every difference of AFTER from BEFORE; the exit code is 1 if there is any."""
    if any("=" not in word for word in words):
        raise click.UsageError("--word is OLD=NEW")
    renamed = [(old, new) for old, _, new in (word.partition("=") for word in words)]
    found = 0
    for part in parts or PARTS:
        for difference in differences(before, after, part, renamed):
            click.echo(difference)
            found += 1
    click.echo(f"{found} differences", err=True)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
