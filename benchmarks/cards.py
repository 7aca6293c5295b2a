"""The cards of the released models, models/NAME/README.md, written from what is measured.

    pip install -c constraints.txt '.[train]'
    python benchmarks/cards.py [NAME...]

Without NAME all of them. Each must be exported as it is released, see export/README.md; some minutes a model, most of it
for corrupted images.
"""

import click
import numpy as np
from cards_facts import Released, measure, read
from cards_text import card

from cifar_edge.cli.loading import data_options, load
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.errors import CifarEdgeError
from cifar_edge.files import write_text, zoo


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


@click.command()
@click.argument("models", metavar="[NAME]...", nargs=-1)
@data_options
def main(models: tuple[str, ...], data: str | None, offline: bool) -> None:
    """Measure the released models of these names, and write their cards."""
    try:
        dataset, sample = load(data, offline), load_dataset("sample")
        for model in map(read, models or names()):
            measured = measure(model, dataset, lambda line: click.echo(line, err=True))
            text = card(model, measured, right_of_sample(model, sample), len(sample.test_labels))
            write_text(model.folder / "README.md", text)
            click.echo(f"{model.folder / 'README.md'}")
    except CifarEdgeError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
