"""Likely wrong labels, for `cifar-edge data --model`: images whose label a model or a run confidently contradicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar_edge.messages import display_name, listed, shell_word

if TYPE_CHECKING:
    from cifar_edge.data import Dataset
    from cifar_edge.runs.out_of_fold import OutOfFold
    from cifar_edge.runtime.model import Model

_NAMED = 20
"""How many images of a side the text has; JSON has all."""


@dataclass(frozen=True, slots=True)
class Judge:
    """What judges the labels of a dataset.

    Attributes:
        name: of the model or run, for people.
        labels: its classes.
        size: height and width of its input.
        model: the loaded file; None for a run that is not exported yet.
        out_of_fold: what the cross-validation of its run said of the training images; empty if there was none.
        run: the folder of the run; that of a moved file may be none.
    """

    name: str
    labels: tuple[str, ...]
    size: int
    model: "Model | None"
    out_of_fold: "Sequence[OutOfFold]"
    run: Path


def judge_of(model: str) -> Judge:
    """The judge that ``model`` means: an exported model with its run, or a run that has been cross-validated.

    Raises:
        ModelError: there is no such model or run, or it is neither exported nor cross-validated.
    """
    from cifar_edge.errors import ModelError
    from cifar_edge.runs.resolve import named, resolve_model
    from cifar_edge.runs.run import Run
    from cifar_edge.runtime.model import load
    from cifar_edge.runtime.quiet import silence_litert

    try:
        found = resolve_model(model)
    except ModelError:
        run = Run(named(model) or Path(model))
        judged = run.out_of_fold() if run.is_trained else []
        if not judged:
            raise
        network = run.network()
        return Judge(display_name(run.path), network.labels, network.size, None, judged, run.path)
    silence_litert()
    loaded = load(found.path, name=str(found))
    run = Run(found.path.resolve().parent.parent)  # the export of a run lies in its folder
    about = loaded.metadata
    return Judge(str(found), about.labels, about.size, loaded, run.out_of_fold(), run.path)


def contradicted(judge: Judge, dataset: "Dataset") -> list[dict[str, Any]]:
    """A record of each image whose label ``judge`` confidently contradicts: test images, then training images.

    An image that was cross-validated is judged by the network that had not seen it, wherever its file lies now.

    Raises:
        DataError: the dataset has other classes.
        ModelError: the run's record of the cross-validation is damaged.
    """
    from cifar_edge.data.dataset import image_digests
    from cifar_edge.errors import DataError, ModelError
    from cifar_edge.measure.label_errors import disagreements, out_of_fold_disagreements
    from cifar_edge.runs.run import OUT_OF_FOLD
    from cifar_edge.runtime.model import run

    if dataset.labels != judge.labels:
        raise DataError(
            f"{judge.name} has other classes ({listed(judge.labels)}) than {display_name(dataset.name)} "
            f"({listed(dataset.labels)})"
        )
    known = {each.sha256 for each in judge.out_of_fold}
    records = []
    sides = (("test", dataset.test_images, dataset.test_labels), ("train", dataset.train_images, dataset.train_labels))
    for side, images, labels in sides:
        digests = image_digests(images)
        positions = {digest: index for index, digest in enumerate(digests) if digest in known}
        try:
            doubted = out_of_fold_disagreements(judge.out_of_fold, positions, labels, dataset.labels)
        except ValueError as error:
            raise ModelError(f"{display_name(judge.run / OUT_OF_FOLD)} is damaged: {error}") from error
        if judge.model is not None:
            by_model = disagreements(run(judge.model.session, images), labels, judge.model.metadata.temperature)
            doubted += [each for each in by_model if digests[each.index] not in positions]
        records += [
            {
                "side": side,
                "index": each.index,
                "file": dataset.names.get(digests[each.index]),
                "label": dataset.labels[each.label],
                "predicted": dataset.labels[each.predicted],
                "score": each.score,
            }
            for each in sorted(doubted, key=lambda each: -each.score)
        ]
    return records


def lines_of(records: Sequence[dict[str, Any]], judge: Judge) -> list[str]:
    """The records as text, at most `_NAMED` of a side, and how more can be found."""
    lines = [f"labels that the model contradicts: {f'{len(records):,}' if records else 'none'}"]
    for side, called in (("test", "test"), ("train", "training")):
        of_side = [each for each in records if each["side"] == side]
        for each in of_side[:_NAMED]:
            name = each["file"] or f"{side} image {each['index']:,}"
            label, predicted = display_name(each["label"]), display_name(each["predicted"])
            lines.append(f"  {called:<8}  {each['score']:6.1%}  {predicted}, not {label}?  {display_name(name)}")
        if len(of_side) > _NAMED:
            lines.append(f"  ... {len(of_side) - _NAMED:,} more {called} images, with --json")
    if not judge.out_of_fold:
        lines.append(
            "  (it agrees with what it was trained on: for training images, train --cross-validate 5 finds more)"
        )
    else:
        right = sum(each.predicted == each.label for each in judge.out_of_fold) / len(judge.out_of_fold)
        lines.append(f"  (training images by networks that had not seen them, which were right on {right:.1%} of them)")
    if judge.model is None:
        lines.append(f"  (training images only; for test images: cifar-edge export {shell_word(str(judge.run))})")
    return lines
