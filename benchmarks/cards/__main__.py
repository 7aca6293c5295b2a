"""The cards of the released models, models/NAME/README.md, written from what is measured.

    pip install -c constraints.txt '.[train]'
    python -m benchmarks.cards [NAME...]

Without NAME all of them. Each must be exported as it is released, see export/README.md. A model takes some minutes,
most of them for corrupted images.
"""

from collections.abc import Mapping

import click
import numpy as np

from benchmarks.cards import measured_sections, released_sections
from benchmarks.cards.facts import Measured, Released, measure, read
from cifar_edge.cli.loading import data_options, load
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.errors import CifarEdgeError
from cifar_edge.files import write_text, zoo

CARD = "README.md"
SECTIONS = (
    "Intended use and limits",
    "Accuracy and size",
    "Layers",
    "Classes",
    "Calibration",
    "Corruptions",
    "Latency",
    "Training",
    "Seeds",
    "Files",
    "Data and licence",
)


def names() -> list[str]:
    """The released models."""
    return sorted(folder.name for folder in (zoo() / "models").iterdir() if folder.is_dir())


def right_of_sample(model: Released, sample: Dataset) -> dict[str, int]:
    """How many of the sample's test images each file takes rightly, by the name of its form."""
    return {
        form.name: int(np.count_nonzero(form.logits(sample.test_images).argmax(axis=1) == sample.test_labels))
        for form in model.forms
        if form.file is not None
    }


def card(model: Released, measured: Measured, right: Mapping[str, int], sample_images: int) -> str:
    """The whole card; ``right`` is what `right_of_sample` gives, of so many images."""
    accuracies = {name: evaluation.accuracy for name, evaluation in measured.evaluations.items()}
    texts = (
        measured_sections.intended_use(model, measured),
        measured_sections.accuracy(model, accuracies)
        + "\n"
        + measured_sections.sample_check(model, right, sample_images),
        released_sections.layers(model),
        measured_sections.classes(model, measured.evaluations[model.deployed.name]),
        measured_sections.calibration(model, measured),
        measured_sections.corruptions(model, measured),
        released_sections.latency(model),
        released_sections.training(model),
        released_sections.seeds(model),
        released_sections.files(model.files),
        released_sections.licence(model),
    )
    written = f"Written by `python -m benchmarks.cards {model.name}` from what it measures: do not edit.\n"
    sections = [f"\n## {title}\n\n{text}" for title, text in zip(SECTIONS, texts, strict=True)]
    return f"# {model.name}\n\n{written}{''.join(sections)}"


@click.command()
@click.argument("models", metavar="[NAME]...", nargs=-1)
@data_options
def main(models: tuple[str, ...], data: str | None, offline: bool) -> None:
    """Measure the released models of these names, and write their cards."""
    try:
        dataset, sample = load(data, offline), load_dataset("sample")
        for model in map(read, models or names()):
            measured_sections.purpose(model)  # an error before minutes of measuring
            measured = measure(model, dataset, lambda line: click.echo(line, err=True))
            text = card(model, measured, right_of_sample(model, sample), len(sample.test_labels))
            write_text(model.folder / CARD, text)
            click.echo(str(model.folder / CARD))
    except CifarEdgeError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
