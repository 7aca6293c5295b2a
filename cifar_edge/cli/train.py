"""`cifar-edge train`: a network trained by a recipe, in a folder of its own."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifar_edge.cli.extras import needs
from cifar_edge.cli.loading import load, own_data_options, uneven

if TYPE_CHECKING:
    from cifar_edge.training.run import EpochRecord, Watcher


@click.command("train")
@click.option("--model", metavar="NAME", help="Network to train.  [default: gn-cnn]")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training images, before any folding.")
@click.option(
    "--fold-epochs", type=click.IntRange(min=0), help="Epochs of fine-tuning with the norms folded away; 0 for none."
)
@click.option("--seed", type=click.IntRange(min=0), help="Decides initial weights, order and augmentation.")
@click.option("--recipe", "file", type=click.Path(path_type=Path), metavar="FILE", help="A recipe.toml to train by.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one key of the recipe; repeatable.")
@click.option("--name", help="Write to runs/NAME.  [default: the time and the network]")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to train."
)
@own_data_options
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    model: str | None,
    epochs: int | None,
    fold_epochs: int | None,
    seed: int | None,
    file: Path | None,
    settings: tuple[str, ...],
    name: str | None,
    device: str,
    data: str | None,
    holdout: float | None,
    strict: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """Train a network on CIFAR-10, or on pictures of your own.

    Without options: gn-cnn for 20 epochs, of which the last five fine-tune it with its norms folded away; some minutes
    on two cores. The run, runs/TIME-NETWORK, holds recipe, weights, metrics, a summary and pictures.
    """
    if name is not None and (Path(name).name != name or name in {"", ".", ".."}):
        raise click.BadParameter(f"{name!r} is no name of a folder.", param_hint="--name")
    with needs("train"):
        from cifar_edge.training.recipe import Recipe
        from cifar_edge.training.run import train
    recipe = Recipe.from_file(file) if file else Recipe.default(model or "gn-cnn")
    recipe = recipe.updated(settings)
    given = {"model": model, "epochs": epochs, "fold_epochs": fold_epochs, "seed": seed}
    recipe = Recipe.from_mapping({**recipe.to_mapping(), **{k: v for k, v in given.items() if v is not None}})
    dataset = load(data, offline, holdout, strict)
    folder = Path("runs", name or f"{datetime.now():%Y%m%d-%H%M%S}-{recipe.model}")
    click.echo(f"training {recipe.model} on {dataset.name}, {len(dataset.train_labels)} images, in {folder}", err=True)
    if told_uneven := uneven(dataset):
        click.echo(told_uneven, err=True)
    with watching(recipe.epochs, recipe.fold_epochs) as watcher:
        summary = train(recipe, dataset, folder, device=device, watcher=watcher)
    click.echo(json.dumps({**summary, "folder": str(folder)}, indent=2) if as_json else told(summary, folder))


def told(summary: dict[str, Any], folder: Path) -> str:
    """The summary of a run, for a person."""
    lines = [
        f"{f'{title} accuracy':<22}{summary[f'{key}_accuracy']:.2%} of {summary[f'{key}_images']:,} images"
        for key, title in (("train", "training"), ("holdout", "held-out"), ("test", "test"))
        if f"{key}_accuracy" in summary
    ]
    if "folded_test_accuracy" in summary:
        lines.append(f"{'  with norms folded':<22}{summary['folded_test_accuracy']:.2%}")
    lines.append(f"{'parameters':<22}{summary['parameters']:,}")
    lines.append(f"{'time':<22}{summary['seconds']:.0f} s on {summary['device']}")
    lines.append(f"{'run':<22}{folder}")
    return "\n".join(lines)


@contextmanager
def watching(epochs: int, fold_epochs: int) -> "Iterator[Watcher]":
    """Progress on stderr, of so many epochs in all: a bar on a terminal, a line an epoch elsewhere."""
    from cifar_edge.training.run import Watcher

    if not sys.stderr.isatty():
        yield Watcher(epoch=lambda record, epochs: click.echo(_line(record, epochs), err=True))
        return
    with needs("train"):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("starting", total=None, figures="")

        def step(
            stage: str, epoch: int, stage_epochs: int, index: int, steps: int, loss: float, accuracy: float
        ) -> None:
            done = ((epoch - 1) if stage == "train" else epochs + epoch - 1) * steps + index
            total = (epochs + fold_epochs) * steps
            progress.update(
                task,
                completed=done,
                total=total,
                description=f"{stage} {epoch}/{stage_epochs}",
                figures=f"loss {loss:.3f}  accuracy {accuracy:.1%}",
            )

        yield Watcher(step, lambda record, epochs: progress.console.print(_line(record, epochs), highlight=False))


def _line(record: "EpochRecord", epochs: int) -> str:
    return (
        f"{record.stage:<5} {record.epoch:>{len(str(epochs))}}/{epochs}  loss {record.loss:.3f}  "
        f"training {record.train_accuracy:.2%}  watched {record.accuracy:.2%}  {record.seconds:.0f} s"
    )
