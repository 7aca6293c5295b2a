"""A log of a run's epochs for TensorBoard (``tensorboard --logdir runs``)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from cifar_edge.runs.epochs import EpochRecord
from cifar_edge.training.callbacks import Callbacks


@contextmanager
def logged(callbacks: Callbacks, folder: Path, epochs: int, accuracy_name: str) -> Iterator[Callbacks]:
    """``callbacks`` that also write the scalars of each epoch to a log in ``folder``, until the context ends.

    An existing log is continued: its entries from the first new epoch onwards are hidden.

    Args:
        callbacks: called as before.
        folder: of the run.
        epochs: of training; those of folding are numbered on from there.
        accuracy_name: "validation" or "test", whichever `EpochRecord.accuracy` is.
    """
    writers: list[SummaryWriter] = []

    def epoch(record: EpochRecord, phase_epochs: int) -> None:
        step = record.epoch + (epochs if record.phase == "fold" else 0)
        if not writers:
            writers.append(SummaryWriter(folder, purge_step=step))
        (writer,) = writers
        writer.add_scalar("loss", record.loss, step)
        writer.add_scalar("accuracy/training", record.train_accuracy, step)
        writer.add_scalar(f"accuracy/{accuracy_name}", record.accuracy, step)
        writer.add_scalar("learning_rate", record.learning_rate, step)
        writer.flush()
        callbacks.epoch(record, phase_epochs)

    try:
        yield replace(callbacks, epoch=epoch)
    finally:
        for writer in writers:  # each has a thread
            writer.close()
