"""What this machine trains on: device, arithmetic, memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cifar_edge.errors import TrainingError
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runtime.cores import cores

DEVICES = ("auto", "cpu", "cuda")


_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""By these a user, or torchrun, says how many threads torch runs."""


def limit_threads() -> None:
    """Let torch run no more threads than this process may use cores, unless the environment says how many.

    Torch minds the affinity, not the quota of a container: with a thread for each core of the host, all of them would
    stand still together for most of the time. It is for commands, whose process is their own.
    """
    if cores() < torch.get_num_threads() and not any(os.environ.get(name) for name in _THREADS):
        torch.set_num_threads(cores())


def choose_device(name: str) -> torch.device:
    """The device of one of `DEVICES`; ``auto`` takes a GPU if there is one.

    Raises:
        TrainingError: ``cuda`` where there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise TrainingError("there is no CUDA device here; leave out --device, or give --device cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def resolve_precision(recipe: Recipe, device: torch.device) -> Recipe:
    """``recipe`` with ``auto`` replaced: bf16 where the hardware multiplies it, else fp32."""
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
    """Tell of memory that runs out, on the CPU or a GPU, in one line.

    Raises:
        TrainingError: it has.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        # On the CPU torch raises a plain RuntimeError.
        if not on_gpu and not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):
            raise
        where = "on the GPU" if on_gpu else "on this machine"
        raise TrainingError(
            f"out of memory {where}; free some, or train anew with a smaller batch_size ({recipe.batch_size})"
        ) from error
