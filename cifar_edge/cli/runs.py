"""`cifar-edge runs`: list the runs under ./runs and their progress."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from cifar_edge.cli.narrow import text_columns
from cifar_edge.cli.verbosity import note, say
from cifar_edge.columns import PAGE, cut, table

if TYPE_CHECKING:
    from cifar_edge.runs.run import RunStatus


@click.command("runs")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the error of each failed run.")
def command(as_json: bool) -> None:
    """List the runs under ./runs and their progress.

    A run is finished, running (a process trains it), failed (its training ended with an error), or else interrupted.
    train --resume goes on with the last two. A finished run shows its test accuracy, after folding if it was folded;
    any other run shows its last validation accuracy, or test accuracy if no images are held out. The age counts from
    the beginning of a run.

    Example: cifar-edge runs
    """
    from cifar_edge.messages import display_name
    from cifar_edge.runs.run import RUNS, damaged_runs, list_runs

    for each in damaged_runs():
        note(f"warning: {display_name(each.path)} is not listed: its summary or state is damaged")
    runs = list_runs()
    if as_json:
        say(json.dumps([_record(run) for run in runs], indent=2))
    elif runs:
        say(text_table(runs, datetime.now(UTC), text_columns()))
    else:
        note(f"no runs under {RUNS}; cifar-edge train makes one")


def _record(run: "RunStatus") -> dict[str, object]:
    return asdict(run) | {"path": str(run.path), "name": run.path.name, "created": run.created.isoformat()}


def text_table(runs: "list[RunStatus]", now: datetime, columns: int = PAGE) -> str:
    """One line a run, 80 columns wide, or several tables for a narrower terminal; longer names are cut."""
    from cifar_edge.messages import display_name

    rows = [("run", "model", "state", "epoch", "accuracy", "age")]
    for run in runs:
        accuracy = "-" if run.accuracy is None else f"{run.accuracy:.2%}"
        epoch = f"{run.epoch}/{run.epochs}"
        name, model = display_name(run.path.name), display_name(run.model)
        rows.append((cut(name, 31), cut(model, 14), run.state, epoch, accuracy, _age(now - run.created)))
    return "\n".join(table(rows, "<32 <15 <11 >8 >9 >5", columns))


def _age(age: timedelta) -> str:
    """A duration, rounded down: ``45s``, ``12m``, ``3h``, ``8d``."""
    seconds = max(0, int(age.total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
