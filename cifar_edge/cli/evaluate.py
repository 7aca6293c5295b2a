"""`cifar-edge evaluate`: measure the accuracy of an exported model."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifar_edge.cli import loading
from cifar_edge.cli.completion import complete_model
from cifar_edge.cli.dependencies import needs
from cifar_edge.cli.engine_option import engine_option
from cifar_edge.cli.narrow import text_columns
from cifar_edge.cli.png_option import checked_png
from cifar_edge.cli.value_types import File, Folder
from cifar_edge.cli.verbosity import note, say
from cifar_edge.columns import PAGE, cut, padded, width, wrapped
from cifar_edge.messages import display_name, listed

if TYPE_CHECKING:
    from cifar_edge.data import Dataset
    from cifar_edge.measure.accuracy import Evaluation
    from cifar_edge.measure.unknown import Logits, Unknown

CONFUSIONS = 10
"""Number of most frequent confusions that are listed if the whole matrix is too wide."""
_SHORT_NAME = 4
"""Columns of a class name above the matrix where whole names are too wide; more, if the counts below it need them."""


@click.command("evaluate")
@click.argument("model", metavar="[MODEL]", required=False, shell_complete=complete_model)
@loading.image_folder_options
@click.option(
    "--other",
    metavar="DIR",
    type=Folder(exists=True),
    help="Images of no class: how many of them each threshold refuses.  [default: _other/ in the data]",
)
@click.option(
    "--mistakes",
    metavar="FILE.png",
    type=File(),
    callback=checked_png,
    help="Draw the surest mistakes: the photographs, and for a run, where in them the network saw what it said.",
)
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    model: str | None,
    data: str | None,
    holdout: float | None,
    strict: bool,
    offline: bool,
    other: Path | None,
    mistakes: Path | None,
    engine: str,
    as_json: bool,
) -> None:
    """Measure the accuracy of MODEL on the test images.

    The accuracy is printed with its 95 % interval, then for each class, then the confusion matrix. With --other, a
    table of thresholds on the largest logit follows: how many test images each keeps, how many of DIR it refuses.

    MODEL is a released name (gn-cnn; for one of its files gn-cnn.int8), a run, a folder or an .onnx or .tflite file;
    without it, the model that predict takes. If its run was trained on an image folder, the test images are those of
    that folder, unless --data is given.

    Example: cifar-edge evaluate gn-cnn --data sample
    """
    import numpy as np

    from cifar_edge.data.folder.other import load_other
    from cifar_edge.data.load import DATA_VARIABLE
    from cifar_edge.errors import DataError
    from cifar_edge.measure.accuracy import evaluate
    from cifar_edge.measure.unknown import KEPT_SHARES, measure_unknown
    from cifar_edge.runs.resolve import resolve_model
    from cifar_edge.runs.run import Run
    from cifar_edge.runtime.model import load, run
    from cifar_edge.runtime.quiet import silence_litert
    from cifar_edge.spec import CIFAR10_LABELS

    silence_litert()
    found = resolve_model(model)
    if model is None:
        note(f"model: {found}")
    session, metadata = load(found.path, name=str(found), engine=engine)
    trained = Run(found.path.resolve().parent.parent)  # the export of a run lies in its folder
    reference = trained.summary.data
    on_image_folder = reference is not None and reference.folder is not None
    if not on_image_folder and data is None and not os.environ.get(DATA_VARIABLE) and metadata.labels != CIFAR10_LABELS:
        raise DataError(f"{found} has classes of its own ({listed(metadata.labels)}); give images with --data DIR")
    if mistakes is not None:  # after what can be refused without torch, since its import takes seconds
        with needs("train"):
            import_module("cifar_edge.training.mistakes")
    if reference is not None and on_image_folder:
        dataset = loading.load_unseen(trained.path, reference, data, offline, holdout, strict, metadata.size)
    else:
        dataset = loading.load(data, offline, holdout, strict, metadata.size)
    if dataset.labels != metadata.labels:
        raise DataError(
            f"{found} has other classes ({listed(metadata.labels)}) than {display_name(dataset.name)} "
            f"({listed(dataset.labels)})"
        )
    logits = run(session, dataset.test_images)
    if mistakes is not None:
        scaled = logits / np.float32(metadata.temperature)  # so that the scores are those of predict
        _draw_mistakes(mistakes, dataset, scaled, found.path.name, trained.path if reference is not None else None)
    evaluation = evaluate(logits, dataset.test_labels, dataset.labels)
    refused = None if metadata.threshold is None else float((logits.max(axis=1) < metadata.threshold).mean())
    unknown = None
    if (folder := other or dataset.other) is not None:
        others = load_other(folder, metadata.size, note)
        unknown = measure_unknown(logits, run(session, others), metadata.threshold)
    if as_json:
        about = {"model": str(found.path), "name": metadata.model, "precision": metadata.precision}
        about["data"], about["source"] = dataset.name, dataset.source
        record = about | _record(evaluation)
        if refused is not None:
            record["threshold"] = {"threshold": metadata.threshold, "refused": refused}
        if unknown is not None:
            record["unknown"] = {"kept_share": KEPT_SHARES, **asdict(unknown)}
        say(json.dumps(record, indent=2))
        return
    say(f"model     {found}")
    say(f"data      {display_name(dataset.name)}, {evaluation.accuracy.images:,} test images")
    if refused is not None:
        say(f"unknown   {refused:.1%} of them, below the model's threshold; the accuracy counts their best guesses")
    say(text_report(evaluation, text_columns()))
    if unknown is not None:
        say("\n" + unknown_table(unknown, text_columns()))


def _draw_mistakes(path: Path, dataset: "Dataset", logits: "Logits", title: str, run: Path | None) -> None:
    """Draw the surest mistakes; with maps by the network of ``run``, folded if it can be, as int8 was made of that."""
    from cifar_edge.training.checkpoint import load_network
    from cifar_edge.training.mistakes import draw_misclassified

    network = None
    if run is not None:
        trained = load_network(run)
        network = trained.folded or trained.network
    draw_misclassified(path, dataset, logits, title, network)
    note(f"wrote {display_name(path)}")


def _record(evaluation: "Evaluation") -> dict[str, Any]:
    return {
        "accuracy": asdict(evaluation.accuracy),
        "labels": list(evaluation.labels),
        "recall": [None if math.isnan(value) else value for value in evaluation.recall.tolist()],
        "confusion": evaluation.confusion.tolist(),
    }


def text_report(evaluation: "Evaluation", columns: int = PAGE) -> str:
    """Accuracy, classes and confusions as text, at most ``columns`` wide unless a class name is longer."""
    accuracy = evaluation.accuracy
    lines = [f"accuracy  {accuracy.value:.2%}  (95 % interval {accuracy.low:.2%} to {accuracy.high:.2%})", ""]
    names = [display_name(label) for label in evaluation.labels]
    least = max(_SHORT_NAME, len(str(evaluation.confusion.max())))
    for heads in (names, [cut(name, least, "") for name in names]):
        table = _table(evaluation, names, [padded(head, least, ">") for head in heads])
        if max(map(width, table)) <= columns:
            return "\n".join([*lines, *table, "", "Rows are true classes, columns predicted classes."])
    return "\n".join([*lines, *_table(evaluation, names, []), "", *_confusions(evaluation)])


def unknown_table(unknown: "Unknown", columns: int = PAGE) -> str:
    """How test images and images of no class are told apart by the largest logit, as text."""
    at_kept = unknown.at_kept
    row = "{:<12}{:>8}{:>9}".format
    lines = [(f"{each.threshold:.4g}", f"{each.kept:.1%}", f"{each.refused:.1%}", "") for each in unknown.table]
    if (own := unknown.own) is not None:
        lines.append((f"{own.threshold:.4g}", f"{own.kept:.1%}", f"{own.refused:.1%}", "  the model's own"))
    said = (
        f"{unknown.other:,} images of no class: AUROC {unknown.auroc:.3f}; {at_kept.refused:.1%} are refused where "
        f"{at_kept.kept:.1%} of the test images are kept"
    )
    return "\n".join(
        [
            *wrapped(said, columns, "  "),
            "",
            row("threshold", "kept", "refused"),
            *(row(*cells) + remark for *cells, remark in lines),
        ]
    )


def _table(evaluation: "Evaluation", names: Sequence[str], heads: Sequence[str]) -> list[str]:
    """A line for each class: name, images, recall, and its row of the confusion matrix, as wide as ``heads``.

    Without ``heads`` the matrix is left out.
    """
    widest = max(len("class"), *map(width, names))
    lines = [f"{padded('class', widest)}  images  recall  {' '.join(heads)}".rstrip()]
    for name, counts, recall in zip(names, evaluation.confusion.tolist(), evaluation.recall.tolist(), strict=True):
        shown = "-" if math.isnan(recall) else f"{recall:.1%}"
        cells = [f"{count or '.':>{width(head)}}" for count, head in zip(counts, heads, strict=False)]
        lines.append(f"{padded(name, widest)}  {sum(counts):>6,}  {shown:>6}  {' '.join(cells)}".rstrip())
    return lines


def _confusions(evaluation: "Evaluation") -> list[str]:
    names = [display_name(label) for label in evaluation.labels]
    mistakes = [
        (count, names[true], names[predicted])
        for true, row in enumerate(evaluation.confusion.tolist())
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    worst = sorted(mistakes, key=lambda mistake: -mistake[0])[:CONFUSIONS]
    return [
        "most frequent confusions",
        *(f"{count:>7,}  {true} taken for {predicted}" for count, true, predicted in worst),
    ]
