"""The epochs of a run as TensorBoard shows them: ``tensorboard --logdir runs``."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from cifar_edge.runs.epochs import EpochRecord
from cifar_edge.training.records import Watcher


@contextmanager
def logged(watcher: Watcher, folder: Path, epochs: int) -> Iterator[Watcher]:
    """``watcher``, with the scalars of each epoch written to a log in ``folder`` as well, until the context ends.

    A log that is there goes on: what it holds from the first epoch to come onwards is hidden.

    Args:
        watcher: called as before.
        folder: of the run.
        epochs: of training; those of folding are counted on from there.
    """
    writers: list[SummaryWriter] = []

    def epoch(record: EpochRecord, stage_epochs: int) -> None:
        step = record.epoch + (epochs if record.stage == "fold" else 0)
        if not writers:
            writers.append(SummaryWriter(folder, purge_step=step))
        (writer,) = writers
        writer.add_scalar("loss", record.loss, step)
        writer.add_scalar("accuracy/training", record.train_accuracy, step)
        writer.add_scalar("accuracy/watched", record.accuracy, step)
        writer.add_scalar("learning_rate", record.learning_rate, step)
        writer.flush()
        watcher.epoch(record, stage_epochs)

    try:
        yield replace(watcher, epoch=epoch)
    finally:
        for writer in writers:  # each has a thread
            writer.close()
