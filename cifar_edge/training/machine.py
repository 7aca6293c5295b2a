"""How a training uses this machine: threads, device, precision, memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cifar_edge.errors import TrainingError
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runtime.cores import cores

DEVICES = ("auto", "cpu", "cuda")


_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables by which a user, or torchrun, sets the number of PyTorch's threads."""


def limit_threads() -> None:
    """Let PyTorch run at most as many threads as this process may use cores, unless the environment sets a number.

    PyTorch respects the affinity but not the quota of a container. With a thread for each core of the host, all would
    be throttled most of the time. Only commands call this, since it changes the whole process.
    """
    if cores() < torch.get_num_threads() and not any(os.environ.get(name) for name in _THREADS):
        torch.set_num_threads(cores())


def choose_device(name: str) -> torch.device:
    """The device that ``name``, one of `DEVICES`, stands for; ``auto`` takes a GPU if there is one.

    Raises:
        TrainingError: ``name`` is ``cuda``, but there is no such device.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise TrainingError("there is no CUDA device here; leave out --device, or give --device cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def resolve_precision(recipe: Recipe, device: torch.device) -> Recipe:
    """``recipe`` with precision ``auto`` replaced: bf16 if the hardware multiplies it, else fp32."""
    if recipe.precision != "auto":
        return recipe
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        fast = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return recipe.with_values(precision="bf16" if fast else "fp32")


@contextmanager
def memory_for(recipe: Recipe) -> Iterator[None]:
    """Turn running out of memory, on the CPU or a GPU, into an error of one line.

    Raises:
        TrainingError: the memory was too small.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        # On the CPU PyTorch raises a plain RuntimeError.
        if not on_gpu and not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):
            raise
        where = "on the GPU" if on_gpu else "on this machine"
        raise TrainingError(
            f"out of memory {where}; free some, or train anew with a smaller batch_size ({recipe.batch_size})"
        ) from error
