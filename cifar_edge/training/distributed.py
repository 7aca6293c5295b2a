"""Distributed training: processes started by torchrun train one network, each on its share of every batch.

The network is too small to gain from the overlap of `torch.nn.parallel.DistributedDataParallel`. So gradients, loss and
number of correct images are averaged in one call.
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
"""Agreeing on whether to stop costs a message, so it is not done at every step."""


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
        """Which of the ``batch`` images from ``start`` on belong to this process.

        They lie symmetrically, because mixup mixes the first image of a batch with the last, the second with the last
        but one, and so on.

        Raises:
            TrainingError: ``batch`` is not a multiple of twice the number of processes.
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
        """A ``stop`` with the same answer in all processes: true if it is in any. All must call it equally often."""
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
    """This process among those that `joined` joined; alone if there are no others."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return Worker()
    return Worker(torch.distributed.get_rank(), torch.distributed.get_world_size())


def batch_worker(network: nn.Module) -> Worker:
    """This process among those that share batches of ``network``.

    It is alone if the network has a batch norm: its statistics are those of the whole batch, which each process takes.
    """
    return Worker() if any(isinstance(module, nn.BatchNorm2d) for module in network.modules()) else this_worker()


@contextmanager
def joined(device: str) -> Iterator[Callable[[Path], Path]]:
    """Join the processes that torchrun started, if any; yield a function from a run's folder to the one to write to.

    All processes but the first print nothing, and write to a temporary copy of the folder.

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
    torch.distributed.barrier()  # the first process must not change the folder before all have copied it
    return folder if copy is None else copy
