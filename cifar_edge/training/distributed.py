"""Several processes that train one network together, as torchrun starts them, each on its share of every batch.

The network is too small for `torch.nn.parallel.DistributedDataParallel` to gain by overlapping: its gradients, with the
loss and the count of what was right, are averaged in one call.
"""

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.distributed
from torch import Tensor, nn

from cifar_edge.errors import TrainingError

_STEPS_BETWEEN_QUESTIONS = 20
"""All processes stop at one step; asking each other costs a message."""


@dataclass(frozen=True, slots=True)
class Worker:
    """This process of a distributed training.

    Attributes:
        rank: its number, from 0; only process 0 writes files and messages.
        world_size: the number of processes.
    """

    rank: int = 0
    world_size: int = 1

    def share(self, start: int, batch: int) -> slice | Tensor:
        """Which of the ``batch`` images from ``start`` on are this process's.

        They lie symmetrically, for mixup mixes the first image of a batch with the last, and so on inwards.

        Raises:
            TrainingError: the batch cannot be shared so.
        """
        if self.world_size == 1:
            return slice(start, start + batch)
        if batch % (2 * self.world_size):
            raise TrainingError(
                f"a batch of {batch} cannot be shared by {self.world_size} processes; "
                f"give a multiple of {2 * self.world_size}"
            )
        size = batch // (2 * self.world_size)
        front = torch.arange(self.rank * size, (self.rank + 1) * size)
        return start + torch.cat([front, batch - 1 - front.flip(0)])

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, in place, by its mean over all processes."""
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        _sum(flat)
        parts = (flat / self.world_size).split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def agreed(self, stop: Callable[[], bool], device: torch.device) -> Callable[[], bool]:
        """``stop``, answered alike in all processes: whether it is true in any. They have to ask equally often."""
        if self.world_size == 1:
            return stop
        asked = 0

        def any_stops() -> bool:
            nonlocal asked
            asked += 1
            if asked % _STEPS_BETWEEN_QUESTIONS:
                return False
            answer = torch.tensor(float(stop()), device=device)
            _sum(answer)
            return answer.item() > 0

        return any_stops


def _sum(tensor: Tensor) -> None:
    try:
        torch.distributed.all_reduce(tensor)
    except RuntimeError as error:
        raise TrainingError("another process of this training has ended") from error


def this_worker() -> Worker:
    """The processes that `joined` joined."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return Worker()
    return Worker(torch.distributed.get_rank(), torch.distributed.get_world_size())


def batch_worker(network: nn.Module) -> Worker:
    """The processes that may share batches of ``network``: this one alone if it has a batch norm.

    The statistics of a batch norm are those of the whole batch, so each process takes all of it.
    """
    return Worker() if any(isinstance(module, nn.BatchNorm2d) for module in network.modules()) else this_worker()


@contextmanager
def joined(device: str) -> Iterator[Callable[[Path], Path]]:
    """Join the processes that torchrun started, if it did; yield what tells which folder stands for that of the run.

    All but the first are silent, and write to a temporary copy of the folder.

    Args:
        device: one of `cifar_edge.training.machine.DEVICES`; on GPUs each process takes its own.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield lambda folder: folder
        return
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        with contextlib.ExitStack() as silence:
            copy = None
            if torch.distributed.get_rank() > 0:
                copy = Path(silence.enter_context(tempfile.TemporaryDirectory()), "run")
                silence.enter_context(contextlib.redirect_stdout(io.StringIO()))
                silence.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield partial(_folder_or_copy, copy)
    finally:
        torch.distributed.destroy_process_group()


def _folder_or_copy(copy: Path | None, folder: Path) -> Path:
    if copy is not None and folder.is_dir():
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".*", "events.*"))
    torch.distributed.barrier()  # the first process leaves the folder as it is until all have it
    return folder if copy is None else copy
