"""The teachers' logits on augmented images, for distillation (Hinton et al. 2015, arXiv:1503.02531)."""

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
"""Version of the cached logits; it changes when the same network and images give other logits than before."""


class Teacher:
    """Frozen networks that classify all images of an epoch before the student is trained on them.

    If the recipe has augmented copies, the logits of each teacher are cached on disk, for later runs too.

    Args:
        networks: in evaluation mode; float32 ``[batch, 3, S, S]`` in, logits out; on the device of the images. With
            several, their probabilities at the recipe's temperature are averaged.
        recipe: that of the student, resolved.
        note: called with a line when copies have to be classified, and if their logits cannot be cached.
    """

    def __init__(
        self, networks: Sequence[nn.Module], recipe: Recipe, note: Callable[[str], None] = lambda line: None
    ) -> None:
        self._networks, self._recipe, self._note = networks, recipe, note
        self._noted: set[str] = set()
        self._logits_by_path: dict[Path, Tensor] = {}

    def logits(self, images: Tensor, stop: Callable[[], bool] = lambda: False) -> Tensor:
        """The teachers' logits for ``images``.

        Args:
            images: uint8 ``[n, S, S, 3]``.
            stop: called before each batch; True ends the work.

        Returns:
            float16 ``[n, classes]``, on the device of ``images``. With several teachers, these are the logits whose
            softmax at the recipe's temperature is the mean of theirs.

        Raises:
            Interrupted: ``stop`` was true.
        """
        digest = _digest(images)[:32] if self._recipe.augmented_copies else ""
        each = [self._logits(network, images, digest, stop) for network in self._networks]
        if len(each) == 1:
            return each[0]
        temperature = self._recipe.temperature
        probabilities = torch.stack([(logits.float() / temperature).softmax(1) for logits in each]).mean(0)
        return (temperature * probabilities.clamp_min(_LEAST_PROBABILITY).log()).half()

    def _logits(self, network: nn.Module, images: Tensor, digest: str, stop: Callable[[], bool]) -> Tensor:
        """The logits of one teacher, from the cache if the images have a ``digest``."""
        if not digest:
            return self._computed(network, images, stop)
        path = cache_folder() / TEACHERS / self._identity(network, images.device) / f"{digest}.safetensors"
        if path in self._logits_by_path:
            return self._logits_by_path[path]
        try:
            logits = load_file(path)[_LOGITS].to(images.device)
        except (OSError, SafetensorError, KeyError):  # not there yet, or damaged
            copies = self._recipe.augmented_copies
            self._note_once(f"the teacher classifies {copies} augmented copies of the images, each once: slower epochs")
            logits = self._computed(network, images, stop)
            try:
                write_bytes(path, save({_LOGITS: logits.cpu()}), durable=False)
            except CifarEdgeError as error:
                self._note_once(f"the teacher's logits are kept for this run only: {error}")
        self._logits_by_path[path] = logits
        return logits

    def _note_once(self, line: str) -> None:
        if line not in self._noted:
            self._noted.add(line)
            self._note(line)

    def _identity(self, network: nn.Module, device: torch.device) -> str:
        """A digest of all that the logits of one teacher depend on bit for bit, besides the images."""
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
            # Channels last saves a tenth to a third of the time of wide residual networks.
            inputs = pixels_to_input(part).to(memory_format=torch.channels_last)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=self._recipe.precision == "bf16"):
                parts.append(network(inputs).half())
        return torch.cat(parts)


def _digest(*contents: bytes | Tensor) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content if isinstance(content, bytes) else content.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
