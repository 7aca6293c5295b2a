"""Does group norm keep its promises? The reference network with four norms, over batch sizes and seeds.

    python -m benchmarks.normalisation train --workers 2   # hours; the rest takes minutes
    python -m benchmarks.normalisation costs               # parameters, memory, time of a step, latency
    python -m benchmarks.normalisation tables
    python -m benchmarks.normalisation plot

What is trained stands in grid.toml. Each training is one line of benchmarks/normalisation/trainings.csv, added
when it is finished; what stands there is not trained again, so an interrupted study goes on where it was.
docs/normalisation.md says what was learned.
"""

import multiprocessing
import sys
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import click
import onnxruntime
import torch

from benchmarks import results_file
from benchmarks.normalisation import answers
from benchmarks.normalisation import costs as normalisation_costs
from benchmarks.normalisation import results as normalisation_results
from benchmarks.normalisation.answers import Study
from benchmarks.normalisation.costs import Cost, NormLatency
from benchmarks.normalisation.grid import Grid
from benchmarks.normalisation.results import Point, Row, Training
from benchmarks.normalisation.training import load_once, train_here
from cifar_edge.cli.loading import data_options, load
from cifar_edge.errors import CifarEdgeError
from cifar_edge.files import replacing
from cifar_edge.measure.timing import machine

GRID = Path(__file__).with_name("grid.toml")
RESULTS = Path(__file__).parent
IMAGES = Path(__file__).parents[2] / "docs" / "images"


class Commands(click.Group):
    """Tells errors in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CifarEdgeError as error:
            raise click.ClickException(str(error)) from error


_grid = click.option("--grid", type=click.Path(dir_okay=False, path_type=Path), default=GRID, help="A TOML file.")
_results = click.option(
    "--results", type=click.Path(file_okay=False, path_type=Path), default=RESULTS, help="Folder of the CSV files."
)


@click.group(cls=Commands)
def main() -> None:
    """Measure the claims that the reference makes for group normalisation."""


@main.command()
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Trainings at a time.")
@_grid
@_results
@data_options
def train(workers: int, grid: Path, results: Path, data: str | None, offline: bool) -> None:
    """Train all of the grid that the CSV file does not hold yet, each training on one thread."""
    load(data, offline)  # fetched and verified once, before the workers read it
    train_all(Grid.from_file(grid), results, workers, data)


def train_all(grid: Grid, results: Path, workers: int, data: str | None) -> None:
    """Train what ``grid`` wants until nothing is left, ``workers`` at a time, and note each in ``results``.

    Raises:
        CifarEdgeError: a results file is damaged or cannot be written, or the data set has too few images.
    """
    running: dict[Future[tuple[Row, list[Point]]], Training] = {}
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(workers, context, load_once, (data,)) as pool:
        while True:
            rows = normalisation_results.read(results)
            wanted = [training for training in grid.wanted(rows) if training not in running.values()]
            started = wanted[: workers - len(running)]
            for training in started:
                running[pool.submit(train_here, training, grid.held_out_images, training.seed in grid.seeds)] = training
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                del running[future]
                row, points = future.result()
                normalisation_results.add(results, row, points)
                left = len(running) + len(wanted) - len(started)
                click.echo(f"{_told(row)}, {left} known to be left", err=True)


@main.command()
@click.option("--rounds", type=click.IntRange(min=1), default=normalisation_costs.ROUNDS, show_default=True)
@_grid
@_results
@data_options
def costs(rounds: int, grid: Path, results: Path, data: str | None, offline: bool) -> None:
    """Measure what each norm costs, into two CSV files, all norms in turns."""
    plan, dataset = Grid.from_file(grid), load(data, offline)
    steps = normalisation_costs.costs(plan.norms, sorted(plan.learning_rates), dataset, rounds)
    results_file.write(results / normalisation_costs.COSTS, Cost, steps)
    latencies = normalisation_costs.latencies(plan.norms, dataset, rounds)
    results_file.write(results / normalisation_costs.LATENCIES, NormLatency, latencies)
    click.echo(f"{machine()}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, one thread", err=True)


@main.command()
@_grid
@_results
def tables(grid: Path, results: Path) -> None:
    """Print the figures as Markdown."""
    for title, text in answers.tables(*_found(grid, results)).items():
        click.echo(f"### {title}\n\n{text}")


@main.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=IMAGES, help="Folder of the pictures.")
@_grid
@_results
def plot(out: Path, grid: Path, results: Path) -> None:
    """Draw the pictures of docs/normalisation.md."""
    from benchmarks.normalisation.plot import pictures

    for name, draw in pictures(*_found(grid, results)).items():
        with replacing(out / name) as temporary:
            draw().savefig(temporary, dpi=110)
        click.echo(out / name)


def _found(grid: Path, results: Path) -> tuple[Study, list[Cost], list[NormLatency]]:
    rows, points = normalisation_results.read(results), normalisation_results.read_curves(results)
    return (
        Study(Grid.from_file(grid), rows, points),
        results_file.read(results / normalisation_costs.COSTS, Cost),
        results_file.read(results / normalisation_costs.LATENCIES, NormLatency),
    )


def _told(row: Row) -> str:
    found = "diverged" if row.held_out_accuracy is None else f"held out {row.held_out_accuracy:.2%}"
    about = f"{row.norm:6} batch {row.batch_size:<4} rate {row.learning_rate:<8g} seed {row.seed:<4}"
    return f"{about} {row.epochs} epochs  {found}  {row.seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
