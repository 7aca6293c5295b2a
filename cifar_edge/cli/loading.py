"""The dataset of a command: its options, and loading it with progress on stderr."""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifar_edge.cli.status_line import StatusLine, bar
from cifar_edge.cli.value_types import Share
from cifar_edge.cli.verbosity import note, quiet

if TYPE_CHECKING:
    from cifar_edge.data import Dataset
    from cifar_edge.data.cifar10.transfer import Transfer
    from cifar_edge.runs.dataset import DatasetReference


def data_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--data`` and ``--offline``, as ``data: str | None`` and ``offline: bool``."""
    function = click.option("--offline", is_flag=True, help="Never use the network: fail if the data is not here.")(
        function
    )
    return click.option(
        "--data",
        metavar="DIR",
        help="An image folder, with train/CLASS/ and test/CLASS/; a CSV file with the columns file and label; a folder "
        "or file of CIFAR-10; or 'sample', for the few hundred images in this package. Default: $CIFAR_EDGE_DATA, else "
        "the cache, fetched if missing.",
    )(function)


def image_folder_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`data_options`, and those for image folders: ``holdout: float | None`` and ``strict: bool``."""
    function = click.option(
        "--strict",
        is_flag=True,
        help="Fail if an image cannot be read, or lies in two classes; without it, the image is left out.",
    )(function)
    function = click.option(
        "--holdout",
        type=Share(0.2),
        metavar="SHARE",
        help="For an image folder without train/ and test/: the share of test images, such as 0.2.",
    )(function)
    return data_options(function)


def load(
    data: str | None,
    offline: bool,
    holdout: float | None = None,
    strict: bool = False,
    size: int | None = None,
    source_size: int | None = None,
    split_rule: int | None = None,
    remark: Callable[[str], None] | None = None,
) -> "Dataset":
    """Load the dataset with images of ``size``, None for the default one; ``source_size`` is for resized crops.

    An image folder is split by ``split_rule``, None for today's. What is fetched is reported on stderr, with a bar on a
    terminal; so are lines on the files of an image folder, unless ``remark`` takes them.

    Raises:
        DataError: as `cifar_edge.data.load_dataset`.
    """
    from cifar_edge.data import load_dataset
    from cifar_edge.data.dataset import SPLIT_RULE
    from cifar_edge.runtime.quiet import silence_litert, silence_pillow
    from cifar_edge.spec import IMAGE_SIZE

    silence_pillow()
    silence_litert()
    load_it = partial(
        load_dataset,
        data,
        size=IMAGE_SIZE if size is None else size,
        holdout=holdout,
        strict=strict,
        source_size=source_size,
        split_rule=SPLIT_RULE if split_rule is None else split_rule,
        offline=offline,
        remark=remark,
    )
    if quiet() or not sys.stderr.isatty():
        return load_it(report=note)
    status = StatusLine()

    def progress(transfer: "Transfer") -> None:
        status.show(f"{bar(transfer.done, transfer.total)} {transfer}")

    try:
        return load_it(report=status.line, progress=progress)
    finally:
        status.clear()


def data_command(name: str, folder: Path | None, holdout: float | None) -> str:
    """The command that shows the dataset of that name, or in that folder."""
    from cifar_edge.data.sample import NAME
    from cifar_edge.messages import shell_word

    here = Path.cwd()
    words = ["cifar-edge", "data"]
    if folder is not None:
        words += ["--data", shell_word(str(folder.relative_to(here) if here in folder.parents else folder))]
    elif name == NAME:
        words += ["--data", "sample"]
    if holdout is not None:
        words += ["--holdout", f"{holdout:g}"]
    return " ".join(words)


def load_again(
    reference: "DatasetReference",
    data: str | None,
    offline: bool,
    holdout: float | None,
    strict: bool,
    size: int,
    source_size: int | None = None,
) -> "Dataset":
    """Load the dataset that a network was trained on, or ``data`` instead; a note says if the image folder has changed.

    If it has not, the training has said what there is to say of its files, and one line tells how to see that again.

    Raises:
        DataError: as `cifar_edge.data.load_dataset`; the image folder is no longer where it was; or ``holdout`` is not
            that of the training.
    """
    from cifar_edge.data import location
    from cifar_edge.data.folder.layout import has_classes, is_split
    from cifar_edge.data.reference import change, split_rule_of
    from cifar_edge.errors import DataError
    from cifar_edge.messages import display_name

    data = data_again(reference, data, holdout)
    path = location(data)
    if holdout is None and path is not None and has_classes(path) and not is_split(path):
        holdout = reference.holdout
    remarks: list[str] = []
    try:
        dataset = load(data, offline, holdout, strict, size, source_size, split_rule_of(reference), remarks.append)
    except DataError:
        _note_all(remarks)
        raise
    changed = None if reference.folder is None else change(reference, dataset)
    if reference.folder is None or changed:
        _note_all(remarks)
    elif remarks:
        count = "1 note" if len(remarks) == 1 else f"{len(remarks)} notes"
        command = data_command(dataset.name, dataset.folder, dataset.holdout)
        note(f"{count} on the files of {display_name(dataset.name)}; to see it all: {command}")
    if changed:
        note(f"note: {changed}")
    return dataset


def data_again(reference: "DatasetReference", data: str | None, holdout: float | None) -> str | None:
    """What `load_again` loads: ``data``, or else what a network was trained on. Nothing is read, so it takes no time.

    Raises:
        DataError: it is not there, or no dataset by its name; or ``holdout`` is not that of the training.
    """
    from cifar_edge.data.load import check_location
    from cifar_edge.data.reference import check_holdout
    from cifar_edge.data.sample import NAME
    from cifar_edge.errors import DataError
    from cifar_edge.messages import display_name

    check_holdout(reference, holdout)
    if data is None and reference.folder is not None:
        if not Path(reference.folder).exists():
            raise DataError(
                f"the images it was trained on are no longer in {display_name(reference.folder)}; say where they are "
                "with --data DIR"
            )
        data = reference.folder
    if data is None and reference.name == NAME:
        data = "sample"
    check_location(data)
    return data


def _note_all(lines: Iterable[str]) -> None:
    for line in lines:
        note(line)


def load_unseen(
    run: Path,
    reference: "DatasetReference",
    data: str | None,
    offline: bool,
    holdout: float | None,
    strict: bool,
    size: int,
) -> "Dataset":
    """`load_again`, without the test images that ``run`` was trained on; a line on stderr says how many they are.

    Raises:
        DataError: as `load_again`, or no test image is left.
        ModelError: the run's record of its training images is damaged.
    """
    from cifar_edge.data.folder.trained_on import has_trained_on, without_trained_on
    from cifar_edge.data.reference import change
    from cifar_edge.messages import display_name

    dataset = load_again(reference, data, offline, holdout, strict, size)
    tests, shown = f"test images of {display_name(dataset.name)}", display_name(run)
    tested, left_out = without_trained_on(dataset, run)
    if left_out:
        note(f"left out: {left_out:,} of {len(dataset.test_labels):,} {tests}, which {shown} was trained on")
    elif reference.folder is not None and not has_trained_on(run) and change(reference, dataset):
        note(
            f"note: {shown} is a run of an earlier version, without a record of its training images: {tests} may be "
            "among them"
        )
    return tested
