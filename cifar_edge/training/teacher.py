"""A teacher's logits on augmented images, which a student learns to give (Hinton et al. 2015, arXiv:1503.02531)."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from cifar_edge.data.cache import cache_folder
from cifar_edge.errors import Interrupted
from cifar_edge.files import write_bytes
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.training.recipe import Recipe

_BATCH = 250
_LOGITS = "logits"


class Teacher:
    """A frozen network that classifies the images of a whole epoch at once, before the student sees them.

    Where the recipe has copies, which come again, what it says of them is kept in the cache, for later runs too.

    Args:
        network: float32 ``[batch, 3, 32, 32]`` in, logits out; on the device of the images.
        recipe: of the student, resolved.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        # Channels last: a tenth to a third less time for wide residual networks.
        self._network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self._precision = recipe.precision
        self._memory: Path | None = None
        if recipe.copies:
            identity = _digest(recipe.precision.encode(), *network.state_dict().values())
            self._memory = cache_folder() / "teachers" / identity[:16]

    def logits(self, images: Tensor, stop: Callable[[], bool] = lambda: False) -> Tensor:
        """What it says of ``images``.

        Args:
            images: uint8 ``[n, 32, 32, 3]``.
            stop: asked after each batch.

        Returns:
            float16 ``[n, classes]``, on the device of ``images``.

        Raises:
            Interrupted: ``stop`` said so.
            CifarEdgeError: the cache cannot be written.
        """
        if self._memory is None:
            return self._computed(images, stop)
        path = self._memory / f"{_digest(images)[:32]}.safetensors"
        try:
            return load_file(path)[_LOGITS].to(images.device)
        except (OSError, SafetensorError, KeyError):  # not there yet, or damaged
            logits = self._computed(images, stop)
            write_bytes(path, save({_LOGITS: logits.cpu()}))
            return logits

    @torch.no_grad()
    def _computed(self, images: Tensor, stop: Callable[[], bool]) -> Tensor:
        parts: list[Tensor] = []
        for part in images.split(_BATCH):
            if stop():
                raise Interrupted("interrupted while the teacher classified the images")
            inputs = pixels_to_input(part).to(memory_format=torch.channels_last)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=self._precision == "bf16"):
                parts.append(self._network(inputs).half())
        return torch.cat(parts)


def _digest(*contents: bytes | Tensor) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content if isinstance(content, bytes) else content.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
