"""Teachers' logits on augmented images, which a student learns to give (Hinton et al. 2015, arXiv:1503.02531)."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from cifar_edge.data.cache import TEACHERS, cache_folder
from cifar_edge.errors import CifarEdgeError, Interrupted
from cifar_edge.files import write_bytes
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.runs.recipe import Recipe

_BATCH = 250
_LOGITS = "logits"
_LEAST_PROBABILITY = 1e-8
_FORMAT = "1"
"""Of what is kept: another one where the same network and images would give other logits than before."""


class Teacher:
    """Frozen networks that classify the images of a whole epoch at once, before the student sees them.

    Where the recipe has copies, which come again, what each says of them is kept in the cache, for later runs too.

    Args:
        networks: in evaluation mode; float32 ``[batch, 3, S, S]`` in, logits out; on the device of the images. Of
            several the probabilities at the recipe's temperature are averaged.
        recipe: of the student, resolved.
        note: told in a line when copies have to be classified, and where they cannot be kept.
    """

    def __init__(
        self, networks: Sequence[nn.Module], recipe: Recipe, note: Callable[[str], None] = lambda line: None
    ) -> None:
        self._networks, self._recipe, self._note = networks, recipe, note
        self._told: set[str] = set()
        self._kept: dict[Path, Tensor] = {}

    def logits(self, images: Tensor, stop: Callable[[], bool] = lambda: False) -> Tensor:
        """What they say of ``images``.

        Args:
            images: uint8 ``[n, S, S, 3]``.
            stop: asked before each batch.

        Returns:
            float16 ``[n, classes]``, on the device of ``images``. Of several teachers these are the logits whose
            softmax at the recipe's temperature is the mean of theirs.

        Raises:
            Interrupted: ``stop`` said so.
        """
        digest = _digest(images)[:32] if self._recipe.augmented_copies else ""
        said = [self._logits(network, images, digest, stop) for network in self._networks]
        if len(said) == 1:
            return said[0]
        temperature = self._recipe.temperature
        probabilities = torch.stack([(logits.float() / temperature).softmax(1) for logits in said]).mean(0)
        return (temperature * probabilities.clamp_min(_LEAST_PROBABILITY).log()).half()

    def _logits(self, network: nn.Module, images: Tensor, digest: str, stop: Callable[[], bool]) -> Tensor:
        """What one of them says, from the cache where ``digest`` names the images."""
        if not digest:
            return self._computed(network, images, stop)
        path = cache_folder() / TEACHERS / self._identity(network, images.device) / f"{digest}.safetensors"
        if path in self._kept:
            return self._kept[path]
        try:
            logits = load_file(path)[_LOGITS].to(images.device)
        except (OSError, SafetensorError, KeyError):  # not there yet, or damaged
            copies = self._recipe.augmented_copies
            self._tell(f"the teacher classifies {copies} augmented copies of the images, each once: slower epochs")
            logits = self._computed(network, images, stop)
            try:
                write_bytes(path, save({_LOGITS: logits.cpu()}), durable=False)
            except CifarEdgeError as error:
                self._tell(f"what the teacher says is kept for this run only: {error}")
        self._kept[path] = logits
        return logits

    def _tell(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._note(line)

    def _identity(self, network: nn.Module, device: torch.device) -> str:
        """All that the logits of one of them depend on, bit for bit, beside the images."""
        on_gpu = device.type == "cuda"
        machine = torch.cuda.get_device_name() if on_gpu else torch.backends.cpu.get_cpu_capability()
        about = (
            _FORMAT,
            repr(network),
            self._recipe.precision,
            machine,
            torch.__version__,
            torch.get_num_threads(),
        )
        return _digest(repr(about).encode(), *network.state_dict().values())[:16]

    @torch.no_grad()
    def _computed(self, network: nn.Module, images: Tensor, stop: Callable[[], bool]) -> Tensor:
        parts: list[Tensor] = []
        for part in images.split(_BATCH):
            if stop():
                raise Interrupted("interrupted while the teacher classified the images")
            # Channels last: a tenth to a third less time for wide residual networks.
            inputs = pixels_to_input(part).to(memory_format=torch.channels_last)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=self._recipe.precision == "bf16"):
                parts.append(network(inputs).half())
        return torch.cat(parts)


def _digest(*contents: bytes | Tensor) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content if isinstance(content, bytes) else content.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
